"""What convolutions and pools share: the arithmetic of windows that slide over the spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from workbench.document import Dim
from workbench.formats.coreml.to_onnx.table import MilOperation
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

Pads = list[tuple[int, int]]
"""Elements before and after, by spatial dimension."""


@dataclass(frozen=True)
class Window:
    """A window by spatial dimension, all sequences of the same length."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Elements from the window's first to its last, holes included."""
        return tuple((kernel - 1) * dilation + 1 for kernel, dilation in zip(self.kernel, self.dilations, strict=True))


def spatial(op: MilOperation, x: ir.Value) -> tuple[Dim, ...]:
    """The sizes of the spatial dimensions of x: [N, C, …]."""
    dims = dims_of(x)
    if dims is None:
        raise Refused(f"the rank of {x.name!r} is not known")
    return dims[2:]


def window_of(op: MilOperation, kernel: Sequence[int]) -> Window:
    """The window that the parameters ``strides`` and ``dilations`` state, for a kernel."""
    ones = [1] * len(kernel)
    return Window(tuple(kernel), op.ints("strides", ones), op.ints("dilations", ones))


def padding(op: MilOperation, window: Window, sizes: Sequence[Dim], default: str = "valid") -> Pads:
    """Elements padded before and after, by spatial dimension, as ``pad_type`` and ``pad`` state them.

    Raises:
        Refused: ``same`` padding of a size that is only known at run time.
    """
    kind = op.text("pad_type", default)
    pad = op.ints("pad", [0, 0] * len(window.kernel))
    if kind == "valid":
        return [(0, 0)] * len(window.kernel)
    if kind == "custom":
        return [(pad[2 * index], pad[2 * index + 1]) for index in range(len(window.kernel))]
    if kind not in ("same", "same_lower"):
        raise Refused(f"pad_type = {kind!r} is not known")
    totals = [
        same_total(size, stride, extent)
        for size, stride, extent in zip(sizes, window.strides, window.extents, strict=True)
    ]
    return [split_total(total, lower=kind == "same_lower") for total in totals]


def same_total(size: Dim, stride: int, extent: int) -> int:
    if stride == 1:
        return extent - 1
    if not isinstance(size, int):
        raise Refused("'same' padding of a size that is only known at run time", "fix the input shapes")
    return max((-(-size // stride) - 1) * stride + extent - size, 0)


def split_total(total: int, *, lower: bool = False) -> tuple[int, int]:
    """Halve a padding; the odd element goes behind, or before with ``lower``."""
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


def onnx_pads(pads: Sequence[tuple[int, int]]) -> list[int]:
    """ONNX's order: all beginnings, then all ends."""
    return [before for before, _ in pads] + [after for _, after in pads]


def ceiling(sizes: Sequence[Dim], window: Window, pads: Pads) -> Pads:
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


def average(emit: Emitter, x: ir.Value, window: Window, stated: Pads, pads: Pads, *, exclude: bool) -> ir.Value:
    """The mean of each window.

    Args:
        stated: padding whose zeros count, unless ``exclude``.
        pads: the padding in all. What only the ceiling adds never counts, so ``stated`` is then laid on beforehand.
    """
    if not exclude and pads != stated:
        x = emit.op("Pad", x, emit.const(onnx_pads([(0, 0), (0, 0), *stated])))
        pads = [(0, whole[1] - part[1]) for whole, part in zip(pads, stated, strict=True)]
        exclude = True
    return emit.op(
        "AveragePool", x, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads),
        count_include_pad=int(not exclude),
    )  # fmt: skip
