"""Padding, filling, ranges and bands.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.tensor_operation
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import like
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@mil.lowers("pad")
def pad(op: MilOperation, emit: Emitter) -> ir.Value:
    """``pad`` holds pairs (before, after) for the last dimensions, or for all if it is computed."""
    x = op.value()
    rank = op.rank(x)
    mode = op.choice("mode", _PAD_MODES, "constant")
    known = op.known("pad")
    if known is not None:
        pairs: np.ndarray[Any, Any] = known.reshape(-1, 2).astype(np.int64)
        if len(pairs) > rank:
            raise Refused(f"{len(pairs)} pairs for a tensor of rank {rank}")
        pairs = np.concatenate([np.zeros((rank - len(pairs), 2), dtype=np.int64), pairs])
        amounts = emit.const(pairs.T.reshape(-1))
    else:
        pairs_value = emit.op("Reshape", op.integers(emit, "pad"), emit.const([rank, 2]))
        amounts = emit.op("Reshape", emit.op("Transpose", pairs_value, perm=[1, 0]), emit.const([-1]))
    number = op.number("constant_val", 0.0)
    if mode != "constant" or number == 0:
        return emit.op("Pad", x, amounts, mode=mode)
    return emit.op("Pad", x, amounts, like(emit, number, x), mode=mode)


@mil.lowers("crop")
def crop(op: MilOperation, emit: Emitter) -> ir.Value:
    """Cut ``crop_height`` and ``crop_width`` off the last two dimensions, before and after."""
    x = op.raw()
    (top, bottom), (left, right) = op.ints("crop_height"), op.ints("crop_width")
    far = 2**62
    ends = emit.const([-bottom or far, -right or far])
    return emit.op("Slice", x, emit.const([top, left]), ends, emit.const([-2, -1]))


def _filled(op: MilOperation, emit: Emitter, sizes: ir.Value) -> ir.Value:
    dtype = op.outputs[0].dtype
    value = op.known("value")
    number = np.asarray(0.0 if value is None else value).reshape(())
    return emit.op("Expand", emit.const(number, "float32" if dtype == "float16" else dtype), sizes)


@mil.lowers("fill")
def fill(op: MilOperation, emit: Emitter) -> ir.Value:
    """A tensor of ``shape`` with ``value`` everywhere."""
    return _filled(op, emit, op.integers(emit, "shape"))


@mil.lowers("fill_like", since=16)
def fill_like(op: MilOperation, emit: Emitter) -> ir.Value:
    """A tensor of another's shape with ``value`` everywhere."""
    return _filled(op, emit, emit.op("Shape", op.raw("ref_tensor")))


@mil.lowers("range_1d")
def range_1d(op: MilOperation, emit: Emitter) -> ir.Value:
    """``start``, ``start + step``, … before ``end``."""
    start, end, step = (emit.op("Squeeze", op.value(name)) for name in ("start", "end", "step"))
    return emit.op("Range", start, end, step)


@mil.lowers("band_part")
def band_part(op: MilOperation, emit: Emitter) -> ir.Value:
    """The innermost matrix with zeros outside ``lower`` diagonals below and ``upper`` above the main one."""
    return band(emit, op.value(), op.integer("lower", -1), op.integer("upper", -1))


def band(emit: Emitter, x: ir.Value, lower: int, upper: int) -> ir.Value:
    """Zeros outside the diagonals; a negative number keeps that side whole."""
    rows = emit.op("Squeeze", emit.op("Shape", x, start=-2, end=-1))
    columns = emit.op("Squeeze", emit.op("Shape", x, start=-1))
    row = emit.op("Unsqueeze", emit.op("Range", emit.const(0), rows, emit.const(1)), emit.const([1]))
    column = emit.op("Range", emit.const(0), columns, emit.const(1))
    below = emit.op("Sub", row, column)  # how far below the main diagonal
    inside = emit.const(True)
    if lower >= 0:
        inside = emit.op("And", inside, emit.op("LessOrEqual", below, emit.const(lower)))
    if upper >= 0:
        inside = emit.op("And", inside, emit.op("GreaterOrEqual", below, emit.const(-upper)))
    if x.dtype is ir.DataType.BOOL:
        return emit.op("And", x, inside)
    return emit.op("Where", inside, x, like(emit, 0, x))
