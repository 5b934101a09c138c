"""``graph.quant``: how the quantised tensors of a graph are to be read (NNEF 1.0.5, section 5, "Quantization")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workbench.errors import ModelError
from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import Mismatch, bind, literal_value, standard_operations
from workbench.formats.nnef.graph import Value
from workbench.formats.nnef.parser import located, parse_quantization_lines
from workbench.formats.nnef.printer import format_string, format_value


@dataclass(frozen=True)
class Quantization:
    """The quantisation of one tensor: an operation of the ``…_quantize`` family and its arguments but the tensor.

    A number may be an array (of arrays) instead: one for each place along the tensor's leading axes.
    """

    operation: str
    arguments: dict[str, Value]


def parse_quantization(text: str | bytes, where: str = "graph.quant") -> dict[str, Quantization]:
    """Tensor name → quantisation.

    Raises:
        ModelError: a syntax error, an unknown operation, arguments that do not fit, a tensor named twice.
    """
    found: dict[str, Quantization] = {}
    for line in parse_quantization_lines(text, where):
        call = line.invocation
        declaration = standard_operations().get(call.target)
        if declaration is None or not call.target.endswith("_quantize"):
            raise ModelError(located(where, call.position, f"{call.target} is not a quantisation operation."))
        if line.tensor in found:
            raise ModelError(located(where, call.position, f"the tensor {line.tensor!r} is given twice."))
        own = sx.Fragment(call.target, False, None, declaration.parameters[1:], declaration.results, None)
        try:
            arguments = [(argument.name, literal_value(argument.value)) for argument in call.arguments]
            alike = [(name, _first(value)) for name, value in arguments]
            bound, _ = bind(own, alike, call.dtype, {})
            given = {name or own.parameters[place].name: value for place, (name, value) in enumerate(arguments)}
            arrays = {name: value for name, value in given.items() if isinstance(value, list)}
            bound.update({name: _array(own, name, value) for name, value in arrays.items()})
        except Mismatch as mismatch:
            raise ModelError(located(where, call.position, f"{line.tensor!r}: {mismatch}.")) from None
        if not 1 <= bound["bits"] <= 64:
            raise ModelError(located(where, call.position, f"{line.tensor!r}: bits = {bound['bits']}, it is 1 to 64."))
        found[line.tensor] = Quantization(call.target, bound)
    return found


def _first(value: Value) -> Value:
    """The first element of nested arrays."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


def _array(operation: sx.Fragment, name: str, value: Value) -> Value:
    """One number for each place along the tensor's leading axes, where the operation takes a tensor.

    Raises:
        Mismatch: another parameter, other elements than numbers, or arrays of different lengths.
    """
    kind = next(parameter.type for parameter in operation.parameters if parameter.name == name)
    if not isinstance(kind, sx.TensorOf):
        raise Mismatch(f"argument '{name}' of {operation.name} is an array, it takes one {kind}")
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "if" or (kind.dtype == "integer" and array.dtype.kind == "f"):
        raise Mismatch(f"the array '{name}' of {operation.name} holds something else than {kind.dtype}s in equal rows")
    return (array if kind.dtype == "integer" else array.astype(np.float64)).tolist()


def print_quantization(entries: Mapping[str, Quantization]) -> str:
    """The text of ``graph.quant``, one line a tensor, in the order given."""
    lines = []
    for tensor, entry in entries.items():
        arguments = ", ".join(f"{name} = {format_value(value)}" for name, value in entry.arguments.items())
        lines.append(f"{format_string(tensor)}: {entry.operation}({arguments});\n")
    return "".join(lines)
