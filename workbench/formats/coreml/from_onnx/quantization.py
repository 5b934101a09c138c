"""Quantisation as the arithmetic that defines it: integers of 8 bits are carried by int32."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import NARROW
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused


@lowers("DequantizeLinear", since=25)
def dequantizelinear_25(node: HubNode, t: ProgramTarget) -> Any:
    """(x − zero point) · scale"""
    node.ignore("output_dtype")  # it is the output's
    x, scale = t.var(node.value(0)), t.var(node.value(1))
    along = _along(node)
    whole = x if node.input(2) is None else t.op("sub", x=x, y=t.reshape(t.var(node.value(2)), along))
    return t.op("mul", x=t.cast(whole, t.kind(scale)), y=t.reshape(scale, along))


@lowers("QuantizeLinear", since=25)
def quantizelinear_25(node: HubNode, t: ProgramTarget) -> Any:
    """round(x / scale) + zero point, kept within the integer's range."""
    node.ignore("output_dtype", "saturate", "precision")
    result = node.dtype(node.outputs[0])
    if result not in NARROW:
        raise Refused(f"quantisation to {result}")
    x, along = t.var(node.value(0)), _along(node)
    steps = t.op("round", x=t.op("real_div", x=x, y=t.reshape(t.cast(t.var(node.value(1)), t.kind(x)), along)))
    low, high = NARROW[result]
    if node.input(2) is not None:
        zero: Var = t.cast(t.reshape(t.var(node.value(2)), along), t.kind(x))
        steps = t.op("add", x=steps, y=zero)
    kept = t.op("clip", x=steps, alpha=t.scalar(low, x), beta=t.scalar(high, x))
    return t.cast(kept, "int32")


def _along(node: HubNode) -> tuple[int, ...]:
    """The shape in which scale and zero point broadcast against the data."""
    if node.attr_int("block_size"):
        raise Refused("scales of blocks are not implemented", "use a scale for each channel or tensor")
    scale, rank = node.shape(node.value(1)), node.rank(node.value(0))
    axis = node.axis()
    if int(np.prod(scale)) == 1:
        return (1,) * rank if rank else ()
    return tuple(scale[0] if place == axis else 1 for place in range(rank))
