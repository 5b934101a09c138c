"""Quantised operators, their levels carried as scalars: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.integers import bits_of, range_of
from workbench.formats.nnef.from_onnx.precision import FLOATS, rounded
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.formats.nnef.levels import OPERATION, linear
from workbench.hub import HubNode, constant_of
from workbench.lowering import Refused


def _along(node: HubNode, b: Builder, index: int, x: Tensor) -> Tensor:
    """A scale or zero point: a number, or one for each position along the axis."""
    parameter = b.scalar(b.tensor(node.value(index)))
    if parameter.rank == 0 or parameter.shape == (1,):
        return b.reshape(parameter, ())
    axis = node.axis(rank=x.rank)
    if parameter.rank == x.rank and parameter.rank > 1:  # one for each block along the axis
        size = node.attr_int("block_size")
        places = np.arange(x.shape[axis]) // size
        return b.op("gather", parameter, b.const(places, "integer"), axis=axis)
    if parameter.rank != 1 or parameter.shape[0] != x.shape[axis]:
        raise Refused(f"the scale's shape {list(parameter.shape)} does not fit")
    return b.reshape(parameter, [parameter.shape[0] if a == axis else 1 for a in range(x.rank)])


@TABLE.lowers("QuantizeLinear")
def quantizelinear_25(node: HubNode, b: Builder) -> Tensor:
    """``clamp(round(x / scale) + zero_point)``, rounding half to even."""
    node.ignore("precision", "output_dtype", "axis", "block_size")
    dtype, saturate = node.dtype(node.outputs[0]), bool(node.attr_int("saturate"))
    x = b.scalar(b.tensor(node.value(0)))
    if dtype in FLOATS:
        level = b.op("div", x, _along(node, b, 1, x))
        if node.input(2) is not None:
            level = b.op("add", level, _along(node, b, 2, x))
        return rounded(b, level, dtype, saturate)
    if bits_of(dtype) > 16:
        raise Refused(f"levels of type {dtype} are not exact as scalars")
    node.approximate("values halfway between two levels: other readers may round them away from zero")
    level = b.op("round", b.op("div", x, _along(node, b, 1, x)))
    if node.input(2) is not None:
        level = b.op("add", level, _along(node, b, 2, x))
    low, high = range_of(dtype)
    return b.op("clamp", level, b.number(float(low)), b.number(float(high)))


@TABLE.lowers("DequantizeLinear")
def dequantizelinear_25(node: HubNode, b: Builder) -> Tensor:
    """``(x - zero_point) · scale``; behind a QuantizeLinear of the same levels both are one emulated quantisation."""
    node.ignore("output_dtype", "axis", "block_size")
    emulated = _emulated(node, b)
    if emulated is not None:
        return emulated
    x = b.scalar(b.tensor(node.value(0)))
    if node.dtype(node.value(0)) == "int32" and b.tensor(node.value(0)).data is None:
        node.approximate("levels beyond 2^24 in magnitude are rounded")
    if node.input(2) is not None:
        x = b.op("sub", x, _along(node, b, 2, x))
    return b.op("mul", x, _along(node, b, 1, x))


def _emulated(node: HubNode, b: Builder) -> Tensor | None:
    """A tensor rounded to levels that are known: one operation, and a line of ``graph.quant`` for its result."""
    levels = node.value(0)
    quantize = levels.producer()
    if not b.quantizes or quantize is None or quantize.op_type != "QuantizeLinear" or quantize.domain:
        return None
    dtype = node.dtype(levels)
    parameters = [[_one(value) for value in inputs] for inputs in (quantize.inputs[1:], node.node.inputs[1:])]
    if dtype in FLOATS or bits_of(dtype) not in (8, 16) or parameters[0] != parameters[1] or None in parameters[0]:
        return None
    scale, point = (*parameters[0], 0)[:2]
    source = quantize.inputs[0]
    if source is None or not scale or node.dtype(node.outputs[0]) != b.scalar_dtype:
        return None
    entry = linear(
        bits=bits_of(dtype), signed=not dtype.startswith("u"), scale=float(scale), zero_point=int(point or 0)
    )
    given = {name: value for name, value in entry.arguments.items() if name not in ("zero_point", "scale")}
    zero = b.const(entry.arguments["zero_point"], "integer")
    made = b.op(OPERATION, b.scalar(b.tensor(source)), zero, b.number(entry.arguments["scale"]), **given)
    b.quantized[made] = entry
    return made


def _one(value: ir.Value | None) -> float | None:
    """The number in a constant of one element."""
    array = None if value is None or value.const_value is None else constant_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
