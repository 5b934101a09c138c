"""Types and typed values of MIL text → ``MILSpec.ValueType`` and ``MILSpec.Value``.

A type is a word (``fp32``, ``string``), ``tensor<fp32, [1, ?]>``, ``state<…>``, ``list<…, n>``, ``tuple<…>`` or
``dict<…, …>``. A value is a type and, in parentheses, a literal of that type (arrays nested as the shape says, floats
in hexadecimal) or where in a weight file it stands. Which field of the protobuf an element goes to follows coremltools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.compiled.elements import DTYPES, fill
from workbench.formats.coreml.compiled.tokens import DEEPEST, Tokens

_COMPOSED = ("tensor", "state", "list", "tuple", "dict")


class Values:
    """Reads types and values from the tokens of one text."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._mil = toolkit.mil_pb2()
        self._known: dict[str, Any] = {}

    # -- types --------------------------------------------------------------------------------------------------

    def is_type(self) -> bool:
        """Whether a type comes next, rather than a name that is spelt like one."""
        word, after = self._tokens.next, self._tokens.after
        if word in DTYPES:
            return after not in (",", ")", "=", "]")
        return (word.startswith("tensor") and word.endswith(">")) or (word in _COMPOSED and after == "<")

    def type(self, depth: int = 0) -> Any:
        """Take a type.

        Raises:
            ModelError: what stands there is none.
        """
        tokens = self._tokens
        word = tokens.next
        if word in self._known:
            tokens.at += 1
            return self._known[word]
        if depth > DEEPEST:
            tokens.wrong(f"types are nested deeper than {DEEPEST}.", limit=True)
        made = self._mil.ValueType()
        if word in DTYPES:
            made.tensorType.dataType = DTYPES[word]
        elif word.startswith("tensor") and word.endswith(">"):
            self._tensor(word, made.tensorType)
        elif word in _COMPOSED[1:] and tokens.after == "<":
            return self._composed(made, depth)
        else:
            tokens.expected("a type")
        tokens.at += 1
        self._known[word] = made
        return made

    def _tensor(self, word: str, made: Any) -> None:
        """``tensor<fp32, [1, ?]>``, as one token."""
        dtype, _, shape = word[word.index("<") + 1 : word.rindex("]")].partition(",")
        if dtype.strip() not in DTYPES:
            self._tokens.wrong(f"the dtype {dtype.strip()!r} is not known.")
        made.dataType = DTYPES[dtype.strip()]
        sizes = shape.strip()[1:].strip()
        dims = [size.strip() for size in sizes.split(",")] if sizes else []
        made.rank = len(dims)
        for size in dims:
            if size == "?":
                made.dimensions.add().unknown.variadic = False
            elif size.isdecimal() and len(size) <= 18:
                made.dimensions.add().constant.size = int(size)
            else:
                self._tokens.wrong(f"the shape [{sizes[:60]}] is not a list of sizes.")

    def _composed(self, made: Any, depth: int) -> Any:
        tokens = self._tokens
        word = tokens.take()
        tokens.expect("<")
        if word == "state":
            made.stateType.wrappedType.CopyFrom(self.type(depth + 1))
        elif word == "list":
            made.listType.type.CopyFrom(self.type(depth + 1))
            tokens.expect(",")
            if tokens.accept("?"):
                made.listType.length.unknown.variadic = False
            else:
                made.listType.length.constant.size = tokens.size()
        elif word == "dict":
            made.dictionaryType.keyType.CopyFrom(self.type(depth + 1))
            tokens.expect(",")
            made.dictionaryType.valueType.CopyFrom(self.type(depth + 1))
        else:
            made.tupleType.types.add().CopyFrom(self.type(depth + 1))
            while tokens.accept(","):
                made.tupleType.types.add().CopyFrom(self.type(depth + 1))
        tokens.expect(">")
        return made

    # -- values -------------------------------------------------------------------------------------------------

    def value(self, into: Any) -> None:
        """Take ``type(literal)`` or ``type(BLOBFILE(path = …, offset = …))`` into a ``MILSpec.Value``."""
        tokens = self._tokens
        into.type.CopyFrom(self.type())
        tokens.expect("(")
        if tokens.next == "BLOBFILE" and tokens.after == "(":
            self._blob(into)
        else:
            self._literal(into)
        tokens.expect(")")

    def _blob(self, into: Any) -> None:
        tokens = self._tokens
        tokens.at += 2
        found: dict[str, Any] = {}
        while not tokens.accept(")"):
            if found:
                tokens.expect(",")
            key = tokens.next
            if key not in ("path", "offset") or key in found:
                tokens.expected("'path' or 'offset', each once")
            tokens.at += 1
            tokens.expect("=")
            found[key] = self._mil.Value()
            self.value(found[key])
        path: Sequence[str] = found["path"].immediateValue.tensor.strings.values if "path" in found else ()
        offset = found["offset"].immediateValue.tensor if "offset" in found else self._mil.TensorValue()
        numbers = [*offset.longInts.values, *offset.ints.values]
        if len(path) != 1 or len(numbers) != 1 or numbers[0] < 0:
            tokens.wrong("a BLOBFILE has a path, one string, and an offset, one integer.", tokens.at - 1)
        into.blobFileValue.fileName = path[0]
        into.blobFileValue.offset = numbers[0]

    def _literal(self, into: Any) -> None:
        """Take a literal of the type that ``into`` has already."""
        kind = into.type.WhichOneof("type")
        if kind == "tensorType":
            fill(into.immediateValue.tensor, into.type.tensorType, self._tokens)
        elif kind == "listType":
            self._items(into.immediateValue.list, into.type.listType.type, "[", "]")
        elif kind == "tupleType":
            self._tuple(into)
        elif kind == "dictionaryType":
            self._dictionary(into)
        else:
            self._tokens.wrong("a state has no literal.")

    def _items(self, into: Any, type_: Any, opening: str, closing: str) -> None:
        tokens = self._tokens
        into.SetInParent()
        tokens.expect(opening)
        while not tokens.accept(closing):
            if len(into.values):
                tokens.expect(",")
            self._typed(into.values.add(), type_)

    def _tuple(self, into: Any) -> None:
        tokens = self._tokens
        tokens.expect("(")
        for index, type_ in enumerate(into.type.tupleType.types):
            if index:
                tokens.expect(",")
            self._typed(into.immediateValue.tuple.values.add(), type_)
        tokens.expect(")")

    def _dictionary(self, into: Any) -> None:
        tokens = self._tokens
        types = into.type.dictionaryType
        into.immediateValue.dictionary.SetInParent()
        tokens.expect("{")
        while not tokens.accept("}"):
            if len(into.immediateValue.dictionary.values):
                tokens.expect(",")
            pair = into.immediateValue.dictionary.values.add()
            tokens.expect("{")
            self._typed(pair.key, types.keyType)
            tokens.expect(",")
            self._typed(pair.value, types.valueType)
            tokens.expect("}")

    def _typed(self, into: Any, type_: Any) -> None:
        into.type.CopyFrom(type_)
        self._literal(into)
