"""Quantised operators, their levels carried as scalars: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html."""

from __future__ import annotations

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder, Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused


def _along(node: HubNode, b: Builder, index: int, x: Tensor) -> Tensor:
    """A scale or zero point: a number, or one for each position along the axis."""
    parameter = b.scalar(b.tensor(node.value(index)))
    if parameter.rank == 0 or parameter.shape == (1,):
        return b.reshape(parameter, ())
    axis = node.axis(rank=x.rank)
    if parameter.rank != 1 or parameter.shape[0] != x.shape[axis]:
        raise Refused("blocks of one scale each are not composed")
    return b.reshape(parameter, [parameter.shape[0] if a == axis else 1 for a in range(x.rank)])


@TABLE.lowers("QuantizeLinear")
def quantizelinear_25(node: HubNode, b: Builder) -> Tensor:
    """``clamp(round(x / scale) + zero_point)``, rounding half to even."""
    node.ignore("saturate", "precision", "output_dtype", "axis", "block_size")
    dtype = node.dtype(node.outputs[0])
    if dtype not in ("int8", "uint8", "int16", "uint16"):
        raise Refused(f"levels of type {dtype} are not integers that NNEF has")
    node.approximate("values halfway between two levels: other readers may round them away from zero")
    x = b.tensor(node.value(0))
    level = b.op("round", b.op("div", x, _along(node, b, 1, x)))
    if node.input(2) is not None:
        level = b.op("add", level, _along(node, b, 2, x))
    bounds = np.iinfo(dtype)
    return b.op("clamp", level, b.number(float(bounds.min)), b.number(float(bounds.max)))


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
