"""Quantisation as the arithmetic that defines it: the integers are carried by int32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import NARROW
from workbench.formats.coreml.from_onnx.shape import sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused


@lowers("DequantizeLinear", since=25)
def dequantizelinear_25(node: HubNode, t: ProgramTarget) -> Any:
    """(x − zero point) · scale"""
    node.ignore("output_dtype")  # it is the output's
    x, scale = t.var(node.value(0)), _spread(node, t, 1)
    whole = x if node.input(2) is None else t.op("sub", x=x, y=_spread(node, t, 2))
    return t.op("mul", x=t.cast(whole, t.kind(scale)), y=scale)


@lowers("QuantizeLinear", since=25)
def quantizelinear_25(node: HubNode, t: ProgramTarget) -> Any:
    """round(x / scale) + zero point, kept within the integer's range."""
    node.ignore("output_dtype", "saturate", "precision")
    result = node.dtype(node.outputs[0])
    if result not in NARROW:
        raise Refused(f"quantisation to {result}")
    x = t.cast(t.var(node.value(0)), "fp32") if node.dtype(node.value(0)) == "int32" else t.var(node.value(0))
    steps = t.op("round", x=t.op("real_div", x=x, y=t.cast(_spread(node, t, 1), t.kind(x))))
    low, high = NARROW[result]
    if node.input(2) is not None:
        zero = t.cast(_spread(node, t, 2), t.kind(x))
        steps = t.op("add", x=steps, y=zero)
    kept = t.op("clip", x=steps, alpha=t.scalar(low, x), beta=t.scalar(high, x))
    return t.cast(kept, "int32")


def _spread(node: HubNode, t: ProgramTarget, index: int) -> Var:
    """Scale or zero point in a shape that broadcasts against the data: one number, one an axis, or one a block."""
    value, data = node.value(index), node.shape(node.value(0))
    own, axis, block = node.shape(value), node.axis(), node.attr_int("block_size")
    if int(np.prod(own)) == 1:
        return t.reshape(t.var(value), (1,) * len(data) if data else ())
    if len(own) == 1 and not block:
        return t.reshape(t.var(value), [own[0] if place == axis else 1 for place in range(len(data))])
    if not block:
        raise Refused(f"scales of shape {list(own)} without the size of their blocks")
    constant = node.constant(index)
    if constant is not None:
        repeated = np.repeat(constant, block, axis=axis)
        return t.const(repeated.take(range(data[axis]), axis=axis), value.name or "scales")
    before, after = math.prod(own[:axis]), math.prod(own[axis + 1 :])
    blocks = t.op("tile", x=t.reshape(t.var(value), (before * own[axis], 1, after)), reps=[1, block, 1])
    whole = t.reshape(blocks, (before, own[axis] * block, after))
    kept = sliced(t, whole, [range(before), range(data[axis]), range(after)])
    return t.reshape(kept, data)
