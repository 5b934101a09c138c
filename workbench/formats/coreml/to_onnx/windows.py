"""What convolutions and pools share: the arithmetic of windows that slide over the spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from workbench.document import Dim
from workbench.formats.coreml.tensors import like, rank_of, shape_of
from workbench.formats.coreml.to_onnx.table import MilOperation
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

Pads = list[tuple[int, int]]
"""Elements before and after, by spatial dimension."""


@dataclass(frozen=True)
class Computed:
    """Padding by sizes that are only known at run time: elements before and after, int64 ``[n]`` by dimension."""

    before: ir.Value
    after: ir.Value


Padding = Pads | Computed


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


def spatial(x: ir.Value, window: Window) -> tuple[Dim, ...]:
    """The sizes of the dimensions that the window slides over, the last ones."""
    count = len(window.kernel)
    return shape[-count:] if (shape := dims_of(x)) is not None else (None,) * count


def window_of(op: MilOperation, kernel: Sequence[int]) -> Window:
    """The window that the parameters ``strides`` and ``dilations`` state, for a kernel."""
    ones = [1] * len(kernel)
    return Window(tuple(kernel), op.ints("strides", ones), op.ints("dilations", ones))


def padding(op: MilOperation, emit: Emitter, x: ir.Value, window: Window) -> Padding:
    """The padding that ``pad_type`` and ``pad`` state."""
    kind = op.text("pad_type", "valid")
    pad = op.ints("pad", [0, 0] * len(window.kernel))
    if kind == "valid":
        return [(0, 0)] * len(window.kernel)
    if kind == "custom":
        return [(pad[2 * index], pad[2 * index + 1]) for index in range(len(window.kernel))]
    if kind not in ("same", "same_lower"):
        raise Refused(f"pad_type = {kind!r} is not known")
    return same(emit, x, window, lower=kind == "same_lower")


def same(emit: Emitter, x: ir.Value, window: Window, *, lower: bool = False) -> Padding:
    """Padding with which there are ``ceil(size / stride)`` windows; of an odd number one more is behind, or before."""
    totals = []
    for size, stride, extent in zip(spatial(x, window), window.strides, window.extents, strict=True):
        if stride == 1:
            totals.append(extent - 1)
        elif isinstance(size, int):
            totals.append(max((-(-size // stride) - 1) * stride + extent - size, 0))
    if len(totals) == len(window.kernel):
        return [split_total(total, lower=lower) for total in totals]
    sizes, strides, one = _sizes(emit, x, window), emit.const(list(window.strides)), emit.const(1)
    steps = emit.op("Div", emit.op("Sub", sizes, one), strides)
    covered = emit.op("Add", emit.op("Mul", steps, strides), emit.const(list(window.extents)))
    total = emit.op("Max", emit.op("Sub", covered, sizes), emit.const(0))
    less = emit.op("Div", total, emit.const(2))
    more = emit.op("Sub", total, less)
    return Computed(more, less) if lower else Computed(less, more)


def _sizes(emit: Emitter, x: ir.Value, window: Window) -> ir.Value:
    return emit.op("Shape", x, start=-len(window.kernel))


def _computed(emit: Emitter, pads: Padding) -> Computed:
    if isinstance(pads, Computed):
        return pads
    return Computed(emit.const([before for before, _ in pads]), emit.const([after for _, after in pads]))


def laid(emit: Emitter, x: ir.Value, pads: Padding, fill: float = 0.0) -> tuple[ir.Value, list[int]]:
    """What ONNX's ``pads`` say of a padding; one that they cannot say is laid around the tensor beforehand."""
    if not isinstance(pads, Computed):
        return x, onnx_pads(pads)
    (count,) = shape_of(pads.before)
    zeros = emit.const([0] * (rank_of(x) - count))
    amounts = emit.op("Concat", zeros, pads.before, zeros, pads.after, axis=0)
    return emit.op("Pad", x, amounts, like(emit, fill, x)), [0] * (2 * count)


def split_total(total: int, *, lower: bool = False) -> tuple[int, int]:
    """Halve a padding; the odd element goes behind, or before with ``lower``."""
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


def onnx_pads(pads: Sequence[tuple[int, int]]) -> list[int]:
    """ONNX's order: all beginnings, then all ends."""
    return [before for before, _ in pads] + [after for _, after in pads]


def ceiling(emit: Emitter, x: ir.Value, window: Window, stated: Padding) -> Padding:
    """Padding with which rounding down gives what ``ceil_mode`` gives by rounding up.

    A last window that would begin in the padding behind is dropped, as in PyTorch.
    """
    found = []
    known = [size for size in spatial(x, window) if isinstance(size, int)]
    if isinstance(stated, Computed) or len(known) < len(window.kernel):
        return _ceiling_at_run_time(emit, x, window, stated)
    for size, kernel, stride, (before, after) in zip(known, window.kernel, window.strides, stated, strict=True):
        count = -(-(size + before + after - kernel) // stride) + 1
        if (count - 1) * stride >= size + before:
            if not before + after:
                raise Refused("ceil_mode makes a window that lies outside the tensor")
            count -= 1
        found.append((before, max((count - 1) * stride + kernel - size - before, 0)))
    return found


def _ceiling_at_run_time(emit: Emitter, x: ir.Value, window: Window, stated: Padding) -> Computed:
    for index, (step, width) in enumerate(zip(window.strides, window.kernel, strict=True)):
        if step > width and (isinstance(stated, Computed) or not sum(stated[index])):
            raise Refused("ceil_mode may make a window that lies outside the tensor", "fix the input shapes")
    pads, one = _computed(emit, stated), emit.const(1)
    strides, kernel = emit.const(list(window.strides)), emit.const(list(window.kernel))
    size = emit.op("Add", _sizes(emit, x, window), pads.before)
    span = emit.op("Sub", emit.op("Add", size, pads.after), kernel)
    steps = emit.op("Div", emit.op("Sub", emit.op("Add", span, strides), one), strides)
    beyond = emit.op("GreaterOrEqual", emit.op("Mul", steps, strides), size)
    steps = emit.op("Sub", steps, emit.op("Cast", beyond, to=ir.DataType.INT64.value))
    covered = emit.op("Add", emit.op("Mul", steps, strides), kernel)
    return Computed(pads.before, emit.op("Max", emit.op("Sub", covered, size), emit.const(0)))


def average(emit: Emitter, x: ir.Value, window: Window, stated: Padding, pads: Padding, *, exclude: bool) -> ir.Value:
    """The mean of each window.

    Args:
        stated: padding whose zeros count, unless ``exclude``.
        pads: the padding in all. What only the ceiling adds never counts, so ``stated`` is then laid on beforehand.
    """
    if isinstance(stated, Computed) or isinstance(pads, Computed):
        return _average_at_run_time(emit, x, window, stated, pads, exclude)
    if not exclude and pads != stated:
        x = emit.op("Pad", x, emit.const(onnx_pads([(0, 0), (0, 0), *stated])))
        pads = [(0, whole[1] - part[1]) for whole, part in zip(pads, stated, strict=True)]
        exclude = True
    return emit.op(
        "AveragePool", x, kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads),
        count_include_pad=int(not exclude),
    )  # fmt: skip


def _average_at_run_time(
    emit: Emitter, x: ir.Value, window: Window, stated: Padding, pads: Padding, exclude: bool
) -> ir.Value:
    """The mean over the window, divided by the share of the window that counts."""

    def mean(value: ir.Value) -> ir.Value:
        return emit.op("AveragePool", value, kernel_shape=window.kernel, strides=window.strides)

    inner, whole = _computed(emit, stated), _computed(emit, pads)
    found = mean(laid(emit, x, whole)[0])
    if not exclude and pads is stated:
        return found
    shape = emit.op("Concat", emit.const([1, 1]), _sizes(emit, x, window), axis=0)
    counted = emit.op("Expand", like(emit, 1.0, x), shape)
    if not exclude:
        counted = laid(emit, counted, inner, 1.0)[0]
        behind = emit.op("Sub", whole.after, inner.after)
        whole = Computed(emit.const([0] * len(window.kernel)), behind)
    return emit.op("Div", found, mean(laid(emit, counted, whole)[0]))
