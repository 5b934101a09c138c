"""Pooling over windows.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.pool
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.to_onnx.windows import (
    Pads,
    Window,
    average,
    ceiling,
    onnx_pads,
    padding,
    spatial,
    window_of,
)
from workbench.hub import Emitter
from workbench.lowering import Refused

_WAY_OUT = "fix the input shapes"


def _pool(op: MilOperation) -> tuple[ir.Value, Window, Pads, Pads | None]:
    """Input, window, stated padding, and the padding with what the ceiling of the output size adds behind.

    That is ``None`` if the ceiling is of a size that is only known at run time.
    """
    x = op.value()
    window = window_of(op, op.ints("kernel_sizes"))
    sizes = spatial(op, x)
    pads = padding(op, window, sizes)
    if not op.flag("ceil_mode", False):
        return x, window, pads, pads
    if all(isinstance(size, int) for size in sizes):
        return x, window, pads, ceiling(sizes, window, pads)
    if any(stride > kernel for stride, kernel in zip(window.strides, window.kernel, strict=True)):
        raise Refused("ceil_mode with strides beyond the window, of a size that is only known at run time", _WAY_OUT)
    return x, window, pads, None


@mil.lowers("max_pool")
def max_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The maximum of each window; padding never wins."""
    x, window, stated, pads = _pool(op)
    dynamic = pads is None
    edges = onnx_pads(stated if pads is None else pads)
    return emit.op("MaxPool", x, kernel_shape=window.kernel, strides=window.strides, pads=edges, ceil_mode=int(dynamic))


@mil.lowers("avg_pool")
def avg_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The mean of each window; padded zeros count unless ``exclude_padding_from_average``."""
    x, window, stated, pads = _pool(op)
    if pads is None:
        raise Refused("ceil_mode of a size that is only known at run time", _WAY_OUT)
    return average(emit, x, window, stated, pads, exclude=op.flag("exclude_padding_from_average", False))


@mil.lowers("l2_pool")
def l2_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The square root of the sum of squares of each window."""
    x, window, _, pads = _pool(op)
    if pads is None:
        raise Refused("ceil_mode of a size that is only known at run time", _WAY_OUT)
    return emit.op("LpPool", x, p=2, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads))
