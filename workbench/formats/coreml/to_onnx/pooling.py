"""Pooling over windows.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.pool
"""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.to_onnx.windows import (
    Computed,
    Padding,
    Window,
    average,
    ceiling,
    laid,
    onnx_pads,
    padding,
    window_of,
)
from workbench.hub import Emitter


def _pool(op: MilOperation, emit: Emitter) -> tuple[ir.Value, Window, Padding, Padding]:
    """Input, window, stated padding, and the padding with what the ceiling of the output size adds behind."""
    x = op.value()
    window = window_of(op, op.ints("kernel_sizes"))
    stated = padding(op, emit, x, window)
    return x, window, stated, ceiling(emit, x, window, stated) if op.flag("ceil_mode", False) else stated


@mil.lowers("max_pool")
def max_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The maximum of each window; padding never wins."""
    x, window, stated, pads = _pool(op, emit)
    within = all(stride <= kernel for stride, kernel in zip(window.strides, window.kernel, strict=True))
    common: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.strides}
    if isinstance(pads, Computed) and not isinstance(stated, Computed) and within:  # ONNX's rounding up is the same
        return emit.op("MaxPool", x, pads=onnx_pads(stated), ceil_mode=1, **common)
    x, edges = laid(emit, x, pads, -math.inf)
    return emit.op("MaxPool", x, pads=edges, **common)


@mil.lowers("avg_pool")
def avg_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The mean of each window; padded zeros count unless ``exclude_padding_from_average``."""
    x, window, stated, pads = _pool(op, emit)
    return average(emit, x, window, stated, pads, exclude=op.flag("exclude_padding_from_average", False))


@mil.lowers("l2_pool")
def l2_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The square root of the sum of squares of each window."""
    x, window, _, pads = _pool(op, emit)
    x, edges = laid(emit, x, pads)
    return emit.op("LpPool", x, p=2, kernel_shape=window.kernel, strides=window.strides, pads=edges)
