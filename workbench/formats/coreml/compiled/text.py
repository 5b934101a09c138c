"""MIL text (``model.mil``) → ``MILSpec.Program``; nothing of the text is executed.

    program(1.3)
    [buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]
    {
        func main<ios18>(tensor<fp32, [2]> x) {
                fp32 two = const()[name = string("two"), val = fp32(0x1p+1)];
                tensor<fp32, [2]> y = mul(x = x, y = two)[name = string("y")];
            } -> (y);
    }

Apple publishes no grammar. The one that is read here was inferred from compiled models of coremlc 3402 to 3600; what it
does not know is an error that names file, line and column. Blocks of control flow are read in the form of a function's
body, behind the operation that owns them.
"""

from __future__ import annotations

from typing import Any

from workbench import limits
from workbench.formats.coreml.compiled.tokens import DEEPEST, Tokens
from workbench.formats.coreml.compiled.values import Values

_FIRST_RELEASE = 10  # CoreML5 is the operator set of iOS 15
_LATEST = {"ios19": "CoreML9", "ios26": "CoreML9"}  # iOS 26 was 19 before its release


class TextReader:
    """Reads one text.

    Args:
        text: the file's content.
        where: what messages call the file.

    Raises:
        ModelError: not UTF-8, or not this syntax; the message starts with ``where:line:column``.
        LimitError: longer, or nested deeper, than :mod:`workbench.limits` allows.
    """

    def __init__(self, text: bytes, where: str) -> None:
        self._tokens = Tokens(text, where)
        self._values = Values(self._tokens)
        self._operations = 0

    def program(self, into: Any) -> dict[str, Any]:
        """Read the whole text into a ``MILSpec.Program``.

        Returns:
            function → its attributes, as a message that is no part of the program.
        """
        tokens = self._tokens
        tokens.expect("program")
        tokens.expect("(")
        if not tokens.next[:1].isdigit():
            tokens.expected("a version")
        if tokens.next.partition(".")[0] != "1":
            tokens.wrong(f"the text is of version {tokens.next[:20]}; only versions 1.x are known.")
        tokens.at += 1
        tokens.expect(")")
        into.version = 1
        self._attributes(into.attributes)
        tokens.expect("{")
        found: dict[str, Any] = {}
        while not tokens.accept("}"):
            tokens.expect("func")
            self._function(into, found)
        if tokens.next:
            tokens.expected("the end of the file")
        if not found:
            tokens.wrong("the program has no function.")
        return found

    def _function(self, program: Any, found: dict[str, Any]) -> None:
        tokens = self._tokens
        name = tokens.name("a function's name")
        if name in found:
            tokens.wrong(f"there are two functions {name!r}.", tokens.at - 1)
        function = program.functions[name]
        tokens.expect("<")
        function.opset = _opset(tokens.name("an operator set"))
        tokens.expect(">")
        self._parameters(function.inputs)
        found[name] = type(function)()
        self._attributes(found[name].attributes)
        self._body(function.block_specializations[function.opset], 0)
        tokens.accept(";")

    def _parameters(self, into: Any) -> None:
        """``(type name, type name)``."""
        tokens = self._tokens
        tokens.expect("(")
        while not tokens.accept(")"):
            if len(into):
                tokens.expect(",")
            self._declared(into.add(), "an input's name")

    def _declared(self, into: Any, what: str) -> None:
        into.type.CopyFrom(self._values.type())
        into.name = self._tokens.name(what)

    def _body(self, block: Any, depth: int) -> None:
        """``{ operations } -> (outputs)``."""
        tokens = self._tokens
        if depth > DEEPEST:
            tokens.wrong(f"blocks are nested deeper than {DEEPEST}.", limit=True)
        tokens.expect("{")
        while not tokens.accept("}"):
            self._operation(block.operations.add(), depth)
        tokens.expect("->")
        tokens.expect("(")
        while not tokens.accept(")"):
            if len(block.outputs):
                tokens.expect(",")
            block.outputs.append(tokens.name("an output's name"))

    def _operation(self, operation: Any, depth: int) -> None:
        """``type name, type name = operator(arguments)[attributes];``, or less where there is no output."""
        tokens = self._tokens
        self._operations += 1
        if self._operations > limits.current.nodes:
            limits.check("nodes", self._operations, f"{tokens.place()}, operations")
        if tokens.after != "(":
            self._declared(operation.outputs.add(), "an output's name")
            while tokens.accept(","):
                self._declared(operation.outputs.add(), "an output's name")
            tokens.expect("=")
        operation.type = tokens.name("an operator")
        self._arguments(operation.inputs)
        self._attributes(operation.attributes)
        while tokens.next not in (";", "}", ""):
            self._block(operation.blocks.add(), depth + 1)
            tokens.accept(",")
        if operation.blocks:
            tokens.accept(";")
        else:
            tokens.expect(";")

    def _block(self, block: Any, depth: int) -> None:
        """A block of control flow: a name if it has one, its inputs if it has any, and its body."""
        tokens = self._tokens
        if tokens.next not in ("{", "("):
            tokens.name("';' or a block")
        if tokens.next == "(":
            self._parameters(block.inputs)
        self._body(block, depth)

    def _arguments(self, into: Any) -> None:
        """``(name = binding, name = (binding, binding))``."""
        tokens = self._tokens
        tokens.expect("(")
        first = True
        while not tokens.accept(")"):
            if not first:
                tokens.expect(",")
            first = False
            arguments = into[self._key(into, "a parameter")].arguments
            if not tokens.accept("("):
                self._binding(arguments.add())
                continue
            while not tokens.accept(")"):
                if len(arguments):
                    tokens.expect(",")
                self._binding(arguments.add())

    def _binding(self, into: Any) -> None:
        if self._values.is_type():
            self._values.value(into.value)
        else:
            into.name = self._tokens.name("a name or a value")

    def _attributes(self, into: Any) -> None:
        """``[name = value, name = value]``, or nothing."""
        tokens = self._tokens
        if not tokens.accept("["):
            return
        first = True
        while not tokens.accept("]"):
            if not first:
                tokens.expect(",")
            first = False
            self._values.value(into[self._key(into, "an attribute")])

    def _key(self, taken: Any, what: str) -> str:
        tokens = self._tokens
        name = tokens.name(f"{what}'s name")
        if name in taken:
            tokens.wrong(f"{what} {name!r} is given twice.", tokens.at - 1)
        tokens.expect("=")
        return name


def _opset(word: str) -> str:
    """The protobuf's name of an operator set; one that is not known keeps its word, and is refused with it."""
    if word in _LATEST:
        return _LATEST[word]
    number = word.removeprefix("ios")
    if number != word and number.isdecimal() and len(number) == 2 and int(number) > _FIRST_RELEASE:
        return f"CoreML{int(number) - _FIRST_RELEASE}"
    return word
