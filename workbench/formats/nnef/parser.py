"""NNEF text → syntax tree, by an LALR(1) grammar (``grammar.lark``); nothing of the text is executed.

The text comes from a stranger: its size and its nesting are bounded before the grammar sees it, the height of every
expression while the tree is built. Whatever is wrong with it is a :class:`~workbench.errors.ModelError` that names
file, line, column, what was expected and what was found.

Where the Khronos reference parser and the specification differ, the specification is followed: a unary operator binds
tighter than any binary one (the reference parser reads ``-x + 1`` as ``-(x + 1)``).
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

import lark

from workbench import limits
from workbench.errors import LimitError, ModelError
from workbench.formats.nnef import syntax as sx

_BRACKETS = re.compile(r"#[^\r\n]*|'[^']*'|\"[^\"]*\"|[(\[{]|[)\]}]")
_LARGEST_INTEGER = 2**63 - 1

_READABLE = {
    "$END": "the end of the file",
    "IDENTIFIER": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "TYPE_ARGUMENT": "a type in angle brackets",
}


def parse_document(text: str | bytes, where: str = "graph.nnef") -> sx.Document:
    """Parse a whole ``graph.nnef``.

    Raises:
        ModelError: not UTF-8, or not NNEF's syntax; the message starts with ``where:line:column``.
        LimitError: longer than ``text_bytes`` or nested deeper than ``nesting`` of :mod:`workbench.limits`.
    """
    document: sx.Document = _parse(text, where, "document")
    return document


def parse_declarations(text: str | bytes, where: str = "stdlib.nnef") -> tuple[sx.Fragment, ...]:
    """Parse a list of fragment declarations. Raises as :func:`parse_document`."""
    fragments: tuple[sx.Fragment, ...] = _parse(text, where, "declarations")
    return fragments


def parse_quantization_lines(text: str | bytes, where: str = "graph.quant") -> tuple[sx.QuantizationLine, ...]:
    """Parse the lines of ``graph.quant``. Raises as :func:`parse_document`."""
    lines: tuple[sx.QuantizationLine, ...] = _parse(text, where, "quantization")
    return lines


def located(where: str, position: sx.Position, message: str) -> str:
    """``file:line:column: message``."""
    return f"{where}:{position.line}:{position.column}: {message}" if position.line else f"{where}: {message}"


def _parse(text: str | bytes, where: str, start: str) -> Any:
    source = _decoded(text, where)
    _check_nesting(source, where)
    try:
        return _grammar().parse(source, start=start)
    except lark.exceptions.UnexpectedInput as error:
        raise ModelError(_explained(error, source, where)) from None
    except _Misformed as error:
        kind = LimitError if error.limit else ModelError
        raise kind(located(where, error.position, str(error))) from None


def _decoded(text: str | bytes, where: str) -> str:
    limits.check("text_bytes", len(text), f"{where}, size in bytes")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        raise ModelError(f"{where}:{line}:{column}: the text is not UTF-8 (byte {text[error.start]:#04x}).") from None


def _check_nesting(text: str, where: str) -> None:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        character = match[0][0]
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    limits.check("nesting", deepest, f"{where}, nesting of brackets")


@functools.cache
def _grammar() -> lark.Lark:
    text = resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return lark.Lark(
        text,
        parser="lalr",
        lexer="basic",  # keywords are reserved everywhere, as in the reference parser
        start=["document", "declarations", "quantization"],
        transformer=_Builder(),
        maybe_placeholders=True,
        cache=False,
    )


def _explained(error: lark.exceptions.UnexpectedInput, text: str, where: str) -> str:
    if isinstance(error, lark.exceptions.UnexpectedToken):
        expected = error.accepts or error.expected
        at_end = error.token.type == "$END"
        found = "the end of the file" if at_end else _shown(str(error.token))
        line, column = _end_of(text) if at_end else (error.line, error.column)
    else:
        expected = set()  # the lexer knows only that no token begins like this
        line, column = error.line, error.column
        found = f"character {_shown(text[error.pos_in_stream or 0 : (error.pos_in_stream or 0) + 1])}"
    wanted = sorted(_readable(name) for name in expected)
    hint = f"expected {', '.join(wanted[:12])}{', …' if len(wanted) > 12 else ''}; found {found}"
    if not wanted:
        hint = f"expected a name, number, string or operator; found {found}"
    return located(where, sx.Position(max(line, 1), max(column, 1)), hint + ".")


def _end_of(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _readable(terminal: str) -> str:
    if terminal in _READABLE:
        return _READABLE[terminal]
    for definition in _grammar().terminals:
        if definition.name == terminal and isinstance(definition.pattern, lark.lexer.PatternStr):
            return f"'{definition.pattern.value}'"
    return terminal.lower()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


class _Misformed(Exception):
    """The grammar accepts it, but it still cannot be read; ``limit`` if a limit is the reason."""

    def __init__(self, message: str, position: sx.Position, limit: bool = False) -> None:
        super().__init__(message)
        self.position = position
        self.limit = limit


def _at(token: lark.Token) -> sx.Position:
    return sx.Position(token.line or 0, token.column or 0)


def _height(position: sx.Position, *below: Any) -> int:
    """One more than the highest of the expressions below, within the limit."""
    height = 1 + max((node.depth for node in below if node is not None), default=0)
    if height > limits.current.nesting:
        raise _Misformed(
            f"an expression is nested deeper than the limit nesting = {limits.current.nesting}; "
            f"{limits.way_out('nesting')}.",
            position,
            limit=True,
        )
    return height


class _Builder(lark.Transformer[lark.Token, Any]):
    """Builds the syntax tree while parsing. Each method receives the children of the rule of its name."""

    # declarations

    def document(self, parts: list[Any]) -> sx.Document:
        version, *middle, graph = parts
        words = [part for part in middle if isinstance(part, tuple)]
        extensions = tuple(extension for group in words for extension in group)
        fragments = tuple(part for part in middle if isinstance(part, sx.Fragment))
        return sx.Document(version, extensions, fragments, graph)

    def declarations(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    quantization = declarations

    def version(self, parts: list[Any]) -> list[int]:
        text = str(parts[0])
        if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{0,4}", text):
            raise _Misformed(f"the version {_shown(text)} is not of the form major.minor.", _at(parts[0]))
        version = [int(part or 0) for part in text.split(".")]
        if version != [1, 0]:
            raise _Misformed(f"NNEF {text} cannot be read; the version must be 1.0.", _at(parts[0]))
        return version

    def extension(self, parts: list[Any]) -> tuple[sx.Extension, ...]:
        position = _at(parts[0])
        groups: list[list[str]] = [[]]
        for word in map(str, parts[1:]):
            if word == ",":
                groups.append([])
            else:
                groups[-1].append(word)
        return tuple(sx.Extension(tuple(group), position) for group in groups if group)

    def fragment(self, parts: list[Any]) -> sx.Fragment:
        keyword, name, argument, parameters, results, body = parts
        generic, default = argument is not None, None
        if generic:
            if not argument.startswith("?"):
                raise _Misformed(f"fragment {name} must be declared with <?>, not <{argument}>.", _at(keyword))
            default = argument.partition("=")[2] or None
        return sx.Fragment(str(name), generic, default, parameters, results, body, _at(keyword))

    def type_argument(self, parts: list[Any]) -> str | None:
        return re.sub(r"\s", "", str(parts[0])[1:-1]) if parts else None

    def parameters(self, parts: list[Any]) -> tuple[sx.Parameter, ...]:
        return tuple(part for part in parts if part is not None)

    def parameter(self, parts: list[Any]) -> sx.Parameter:
        name, kind, default = parts
        return sx.Parameter(str(name), kind, default, _at(name))

    def default(self, parts: list[Any]) -> Any:
        return parts[0]

    bound = default

    def results(self, parts: list[Any]) -> tuple[sx.Result, ...]:
        return tuple(parts)

    def result(self, parts: list[Any]) -> sx.Result:
        return sx.Result(str(parts[0]), parts[1])

    def body(self, parts: list[Any]) -> tuple[sx.Assignment, ...]:
        return tuple(parts)

    def no_body(self, parts: list[Any]) -> None:
        return None

    def graph(self, parts: list[Any]) -> sx.Graph:
        keyword, name, inputs, outputs, *body = parts
        return sx.Graph(str(name), inputs, outputs, tuple(body), _at(keyword))

    def names(self, parts: list[Any]) -> tuple[str, ...]:
        return tuple(str(part) for part in parts if part is not None)

    inputs = names

    def quantization_line(self, parts: list[Any]) -> sx.QuantizationLine:
        return sx.QuantizationLine(str(parts[0])[1:-1], parts[1])

    # types

    def primitive(self, parts: list[Any]) -> sx.Primitive:
        return sx.Primitive(str(parts[0]) if parts else "?")

    def tensor(self, parts: list[Any]) -> sx.TensorOf:
        if len(parts) == 2:
            return sx.TensorOf(None)
        dtype = self.type_argument(parts)
        if dtype is None or "=" in dtype:
            raise _Misformed(f"tensor<{dtype}> is not a type.", _at(parts[0]))
        return sx.TensorOf(dtype)

    def array_type(self, parts: list[Any]) -> sx.ArrayOf:
        return sx.ArrayOf(parts[0])

    def tuple_type(self, parts: list[Any]) -> sx.Type:
        return sx.TupleOf(tuple(parts)) if len(parts) > 1 else parts[0]

    # assignments and expressions

    def assignment(self, parts: list[Any]) -> sx.Assignment:
        return sx.Assignment(parts[0], parts[2])

    def targets(self, parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        return sx.Tuple(tuple(parts), parts[0].position, _height(parts[0].position, *parts))

    def number(self, parts: list[Any]) -> sx.Literal:
        text, position = str(parts[0]), _at(parts[0])
        if "." in text or "e" in text or "E" in text:
            return sx.Literal(float(text), position)
        if len(text) > 25 or int(text) > _LARGEST_INTEGER:
            raise _Misformed(f"the integer {_shown(text)} does not fit into 64 bits.", position)
        return sx.Literal(int(text), position)

    def string(self, parts: list[Any]) -> sx.Literal:
        return sx.Literal(str(parts[0])[1:-1], _at(parts[0]))

    def true(self, parts: list[Any]) -> sx.Literal:
        return sx.Literal(True, _at(parts[0]))

    def false(self, parts: list[Any]) -> sx.Literal:
        return sx.Literal(False, _at(parts[0]))

    def identifier(self, parts: list[Any]) -> sx.Identifier:
        return sx.Identifier(str(parts[0]), _at(parts[0]))

    def array(self, parts: list[Any]) -> sx.Array:
        items = tuple(part for part in parts[1:] if part is not None)
        return sx.Array(items, _at(parts[0]), _height(_at(parts[0]), *items))

    def tuple_value(self, parts: list[Any]) -> Any:
        if len(parts) == 2:
            return parts[1]
        items = tuple(parts[1:])
        return sx.Tuple(items, _at(parts[0]), _height(_at(parts[0]), *items))

    def subscript(self, parts: list[Any]) -> sx.Subscript:
        sequence, index = parts
        height = _height(sequence.position, sequence, index)
        return sx.Subscript(sequence, index, None, False, sequence.position, height)

    def range(self, parts: list[Any]) -> sx.Subscript:
        sequence, begin, end = parts
        height = _height(sequence.position, sequence, begin, end)
        return sx.Subscript(sequence, begin, end, True, sequence.position, height)

    def unary(self, parts: list[Any]) -> Any:
        operator, operand = parts
        position = _at(operator)
        value = operand.value if isinstance(operand, sx.Literal) else None
        if str(operator) == "-" and isinstance(value, int | float) and not isinstance(value, bool):
            return sx.Literal(-value, position)
        return sx.Unary(str(operator), operand, position, _height(position, operand))

    def binary(self, parts: list[Any]) -> sx.Binary:
        left, operator, right = parts
        return sx.Binary(str(operator), left, right, left.position, _height(_at(operator), left, right))

    def select(self, parts: list[Any]) -> sx.Select:
        true_value, condition, false_value = parts
        height = _height(true_value.position, *parts)
        return sx.Select(condition, true_value, false_value, true_value.position, height)

    def comprehension(self, parts: list[Any]) -> sx.Comprehension:
        bracket, *rest = parts
        item, condition = rest[-1], rest[-2]
        loops = tuple(rest[:-2])
        below = [part for loop in loops for part in loop]
        height = _height(_at(bracket), item, condition, *below)
        return sx.Comprehension(loops, condition, item, _at(bracket), height)

    def loop(self, parts: list[Any]) -> tuple[Any, Any]:
        return parts[0], parts[2]

    def builtin(self, parts: list[Any]) -> sx.Builtin:
        return sx.Builtin(str(parts[0]), parts[1], _at(parts[0]), _height(_at(parts[0]), parts[1]))

    def invocation(self, parts: list[Any]) -> sx.Invocation:
        name, dtype, *rest = parts
        arguments = tuple(part for part in rest if part is not None)
        if dtype is not None and "=" in dtype:
            raise _Misformed(f"<{dtype}> belongs into a declaration, not into an invocation.", _at(name))
        height = _height(_at(name), *(argument.value for argument in arguments))
        return sx.Invocation(str(name), dtype, arguments, _at(name), height)

    def named(self, parts: list[Any]) -> sx.Argument:
        return sx.Argument(str(parts[0]), parts[2])

    def positional(self, parts: list[Any]) -> sx.Argument:
        return sx.Argument(None, parts[0])
