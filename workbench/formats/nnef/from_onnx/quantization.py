"""Quantised operators, their levels carried as scalars: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html."""

from __future__ import annotations

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder, Tensor
from workbench.formats.nnef.from_onnx.integers import bits_of, range_of
from workbench.formats.nnef.from_onnx.precision import FLOATS, rounded
from workbench.hub import HubNode
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
    """``(x - zero_point) · scale``."""
    node.ignore("output_dtype", "axis", "block_size")
    x = b.scalar(b.tensor(node.value(0)))
    if node.dtype(node.value(0)) == "int32" and b.tensor(node.value(0)).data is None:
        node.approximate("levels beyond 2^24 in magnitude are rounded")
    if node.input(2) is not None:
        x = b.op("sub", x, _along(node, b, 2, x))
    return b.op("mul", x, _along(node, b, 1, x))
