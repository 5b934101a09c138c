"""Syntax trees and flat graphs → NNEF text; deterministic, one assignment a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from workbench.errors import SaveError
from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import literal_value, standard_operations
from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef, Value
from workbench.formats.nnef.tract.extents import is_symbolic

_SUBSCRIPTED, _UNARY, _POWER, _PRODUCT, _SUM, _COMPARISON, _LOGICAL, _IN, _SELECT = range(9, 0, -1)
_LEVELS = {
    "^": _POWER,
    "*": _PRODUCT,
    "/": _PRODUCT,
    "+": _SUM,
    "-": _SUM,
    **dict.fromkeys(("<", ">", "<=", ">=", "==", "!="), _COMPARISON),
    "&&": _LOGICAL,
    "||": _LOGICAL,
    "in": _IN,
}


def format_float(value: float) -> str:
    """The shortest decimal that reads back as the same double; infinity as a decimal beyond the range of floats.

    Raises:
        SaveError: the value is not a number, which NNEF text cannot say.
    """
    if math.isnan(value):
        raise SaveError("NNEF text has no literal for NaN.")
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    text = repr(float(value))
    return text if "." in text or "e" in text else f"{text}.0"


def format_string(value: str) -> str:
    """A quoted string. Raises :class:`SaveError` if it holds both kinds of quotes (NNEF has no escapes)."""
    for quote in "'\"":
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise SaveError(f"NNEF text cannot hold a string with both kinds of quotes: {value[:40]!r}.")


def format_value(value: Value) -> str:
    """A bound argument as NNEF text."""
    if isinstance(value, TensorRef):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, str):
        return format_string(value)
    if is_symbolic(value) and not isinstance(value, list | tuple):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    return f"({', '.join(map(format_value, value))})"


def print_graph(graph: NnefGraph, custom: Mapping[str, sx.Fragment] | None = None) -> str:
    """A flat graph as the text of ``graph.nnef``. Raises :class:`SaveError` for values that text cannot hold."""
    declared = {**standard_operations(), **(custom or {})}
    lines = ["version 1.0;", ""]
    lines += [f"extension {' '.join(words)};" for words in graph.extensions]
    lines += ["" for _ in graph.extensions[:1]]
    lines.append(f"graph {graph.name}({', '.join(graph.inputs)}) -> ({', '.join(graph.outputs)})")
    lines.append("{")
    lines += [f"    {print_operation(operation, declared[operation.name])}" for operation in graph.operations]
    return "\n".join([*lines, "}", ""])


def print_operation(operation: NnefOperation, declaration: sx.Fragment) -> str:
    """One assignment. Tensor arguments are positional, attributes named; attributes at their default are left out."""
    positional: list[str] = []
    named: list[str] = []
    skipped = False
    for parameter in declaration.parameters:
        value = operation.arguments[parameter.name]
        if parameter.default is not None and _same(value, literal_value(parameter.default)):
            skipped = True
        elif skipped or _is_attribute(parameter.type):
            named.append(f"{parameter.name} = {format_value(value)}")
        else:
            positional.append(format_value(value))
    dtype = f"<{operation.dtype}>" if operation.dtype and _wants_dtype(declaration) else ""
    results = ", ".join(format_value(value) for value in operation.results.values())
    return f"{results} = {operation.name}{dtype}({', '.join([*positional, *named])});"


def _same(value: Value, default: Value) -> bool:
    return type(value) is type(default) and bool(value == default)


def _wants_dtype(declaration: sx.Fragment) -> bool:
    """Whether the type cannot be told from the arguments (external, variable, constant, cast)."""
    if declaration.generic_default is not None:
        return True
    return not any("?" in str(parameter.type) for parameter in declaration.parameters)


def _is_attribute(kind: sx.Type) -> bool:
    if isinstance(kind, sx.ArrayOf):
        return _is_attribute(kind.item)
    if isinstance(kind, sx.TupleOf):
        return all(_is_attribute(item) for item in kind.items)
    return isinstance(kind, sx.Primitive)


def print_document(document: sx.Document) -> str:
    """A syntax tree as text; parsing it again gives an equal tree."""
    lines = [f"version {document.version[0]}.{document.version[1]};", ""]
    lines += [f"extension {' '.join(extension.words)};" for extension in document.extensions]
    for fragment in document.fragments:
        lines += [*_fragment_lines(fragment), ""]
    graph = document.graph
    lines.append(f"graph {graph.name}({', '.join(graph.inputs)}) -> ({', '.join(graph.outputs)})")
    return "\n".join([*lines, *_body_lines(graph.body), ""])


def _fragment_lines(fragment: sx.Fragment) -> list[str]:
    generic = f"<?{f' = {fragment.generic_default}' if fragment.generic_default else ''}>" if fragment.generic else ""
    parameters = ", ".join(
        f"{parameter.name}: {parameter.type}"
        + (f" = {print_expression(parameter.default)}" if parameter.default is not None else "")
        for parameter in fragment.parameters
    )
    results = ", ".join(f"{result.name}: {result.type}" for result in fragment.results)
    head = f"fragment {fragment.name}{generic}({parameters}) -> ({results})"
    return [f"{head};"] if fragment.body is None else [head, *_body_lines(fragment.body)]


def _body_lines(body: Iterable[sx.Assignment]) -> list[str]:
    lines = (f"    {print_expression(line.target)} = {print_expression(line.value)};" for line in body)
    return ["{", *lines, "}"]


def print_expression(expression: sx.Expression, level: int = 0) -> str:
    """An expression, in parentheses where its own level is below ``level``."""
    text, own = _printed(expression)
    return f"({text})" if own < level else text


def _printed(expression: sx.Expression) -> tuple[str, int]:
    show = print_expression
    match expression:
        case sx.Literal(value):
            return format_value(value), _UNARY if isinstance(value, int | float) and value < 0 else _SUBSCRIPTED
        case sx.Identifier(name):
            return name, _SUBSCRIPTED
        case sx.Array(items):
            return f"[{', '.join(map(show, items))}]", _SUBSCRIPTED
        case sx.Tuple(items):
            return f"({', '.join(map(show, items))})", _SUBSCRIPTED
        case sx.Subscript(sequence, begin, end, is_range):
            ends = [show(bound) if bound is not None else "" for bound in (begin, end)]
            return f"{show(sequence, _SUBSCRIPTED)}[{':'.join(ends) if is_range else ends[0]}]", _SUBSCRIPTED
        case sx.Unary(operator, operand):
            return f"{operator}{show(operand, _UNARY)}", _UNARY
        case sx.Binary(operator, left, right):
            own = _LEVELS[operator]
            return f"{show(left, own)} {operator} {show(right, own + 1)}", own
        case sx.Select(condition, true_value, false_value):
            parts = show(true_value, _SELECT + 1), show(condition), show(false_value)
            return f"{parts[0]} if {parts[1]} else {parts[2]}", _SELECT
        case sx.Comprehension(loops, condition, item):
            iterations = ", ".join(f"{show(target)} in {show(iterable, _IN)}" for target, iterable in loops)
            accepted = f" if {show(condition)}" if condition is not None else ""
            return f"[for {iterations}{accepted} yield {show(item)}]", _SUBSCRIPTED
        case sx.Builtin(name, argument):
            return f"{name}({show(argument)})", _SUBSCRIPTED
        case sx.Invocation(target, dtype, arguments):
            texts = (f"{a.name} = {show(a.value)}" if a.name else show(a.value) for a in arguments)
            return f"{target}{f'<{dtype}>' if dtype else ''}({', '.join(texts)})", _SUBSCRIPTED
