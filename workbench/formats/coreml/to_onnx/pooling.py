"""Pooling over windows.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.pool
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from workbench.document import Dim
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.to_onnx.windows import Window, onnx_pads, padding, spatial, window_of
from workbench.hub import Emitter
from workbench.lowering import Refused

Pads = list[tuple[int, int]]


def _pool(op: MilOperation) -> tuple[ir.Value, Window, Pads, Pads]:
    """Input, window, stated padding, and the padding with what the ceiling of the output size adds behind."""
    x = op.value()
    window = window_of(op, op.ints("kernel_sizes"))
    sizes = spatial(op, x)
    pads = padding(op, window, sizes)
    if not op.flag("ceil_mode", False):
        return x, window, pads, pads
    return x, window, pads, _ceiling(sizes, window, pads)


def _ceiling(sizes: Sequence[Dim], window: Window, pads: Pads) -> Pads:
    """Padding with which rounding down gives what ``ceil_mode`` gives by rounding up.

    A last window that would begin in the padding behind is dropped, as in PyTorch.
    """
    result = []
    for size, kernel, stride, (before, after) in zip(sizes, window.kernel, window.strides, pads, strict=True):
        if not isinstance(size, int):
            raise Refused("ceil_mode with a size that is only known at run time", "fix the input shapes")
        count = -(-(size + before + after - kernel) // stride) + 1
        if (count - 1) * stride >= size + before:
            if not before + after:
                raise Refused("ceil_mode makes a window that lies outside the tensor")
            count -= 1
        result.append((before, max((count - 1) * stride + kernel - size - before, 0)))
    return result


@mil.lowers("max_pool")
def max_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The maximum of each window; padding never wins."""
    x, window, _, pads = _pool(op)
    return emit.op("MaxPool", x, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads))


@mil.lowers("avg_pool")
def avg_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The mean of each window; padded zeros count unless ``exclude_padding_from_average``.

    What only the ceiling adds never counts, so stated padding is then laid on beforehand.
    """
    x, window, stated, pads = _pool(op)
    count = not op.flag("exclude_padding_from_average", False)
    if count and pads != stated:
        edges = [(0, 0), (0, 0), *stated]
        x = emit.op("Pad", x, emit.const(onnx_pads(edges)))
        pads = [(0, after - before) for (_, after), (_, before) in zip(pads, stated, strict=True)]
        count = False
    return emit.op(
        "AveragePool", x, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads),
        count_include_pad=int(count),
    )  # fmt: skip


@mil.lowers("l2_pool")
def l2_pool(op: MilOperation, emit: Emitter) -> ir.Value:
    """The square root of the sum of squares of each window."""
    x, window, _, pads = _pool(op)
    return emit.op("LpPool", x, p=2, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads))
