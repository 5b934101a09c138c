"""Quantisation: by MIL's ``quantize`` and ``dequantize``, which iOS17 has for bytes, where the scale is a constant.

Elsewhere it is the arithmetic that defines it. Either way the integers are carried by int32; a cast that nothing reads
goes again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import NARROW
from workbench.formats.coreml.from_onnx.slicing import entire, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.formats.coreml.toolkit import mil
from workbench.hub import HubNode
from workbench.lowering import Refused

IOS17 = 8
"""Specification version that came with iOS17."""

_BYTES = ("int8", "uint8")


@lowers("DequantizeLinear", since=25)
def dequantizelinear_25(node: HubNode, t: ProgramTarget) -> Any:
    """(x − zero point) · scale"""
    node.ignore("output_dtype")  # it is the output's
    stored = _stored(t.var(node.value(0)))
    known = None if stored is None else _parameters(node, t, stored.dtype)
    if known is not None and node.dtype(node.value(1)) == node.dtype(node.outputs[0]):
        return t.op("dequantize", input=stored, **known)
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
    known = _parameters(node, t, mil().types.string_to_builtin(result)) if result in _BYTES else None
    if known is not None and node.dtype(node.value(0)) == node.dtype(node.value(1)) and node.rank(node.value(0)):
        stored = t.op("quantize", input=t.var(node.value(0)), output_dtype=result, **known)
        t.tensors[stored.name] = node.outputs[0].name or ""
        return t.cast(stored, "int32")
    x = t.cast(t.var(node.value(0)), "fp32") if node.dtype(node.value(0)) == "int32" else t.var(node.value(0))
    steps = t.op("round", x=t.op("real_div", x=x, y=t.cast(_spread(node, t, 1), t.kind(x))))
    low, high = NARROW[result]
    if node.input(2) is not None:
        zero = t.cast(_spread(node, t, 2), t.kind(x))
        steps = t.op("add", x=steps, y=zero)
    kept = t.op("clip", x=steps, alpha=t.scalar(low, x), beta=t.scalar(high, x))
    return t.cast(kept, "int32")


def _stored(x: Var) -> Var | None:
    """The bytes that the value is carried for, if the program has them."""
    made = x.op is not None and x.op.op_type == "cast"
    return x.op.x if made and x.op.x.op is not None and x.op.x.op.op_type == "quantize" else None


def _parameters(node: HubNode, t: ProgramTarget, kind: Any) -> dict[str, Any] | None:
    """Scale, zero point and axis as MIL has them for bytes of this type; ``None`` where it has no form for them."""
    scale, zero = node.constant(1), node.constant(2)
    if t.specification < IOS17 or scale is None or scale.ndim > 1 or node.attr_int("block_size"):
        return None
    if scale.dtype.name not in ("float32", "float16") or (node.input(2) is not None and zero is None):
        return None
    vector = scale.size > 1
    found = {"scale": scale if vector else scale.reshape(-1)[0]}
    if zero is not None and zero.any():
        points = zero.astype(mil().types.nptype_from_builtin(kind))
        found["zero_point"] = points if vector else points.reshape(-1)[0]
    return {**found, "axis": np.int32(node.axis())} if vector else found


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
    kept = sliced(t, whole, [entire(before), entire(data[axis]), entire(after)])
    return t.reshape(kept, data)
