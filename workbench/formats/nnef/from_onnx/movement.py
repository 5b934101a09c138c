"""Operators that move data: https://onnx.ai/onnx/operators/."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench import limits
from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.tensor import Tensor, kind_of
from workbench.hub import HubNode
from workbench.lowering import Refused

_LARGEST = 1 << 24  # comparisons


@TABLE.lowers("Reshape", "Flatten")
def reshape(node: HubNode, b: Builder) -> Tensor:
    """To the shape that the output has."""
    node.ignore("allowzero", "axis")  # the output's shape is known
    return b.reshape(b.tensor(node.value(0)), node.shape(node.outputs[0]))


@TABLE.lowers("Squeeze")
def squeeze_24(node: HubNode, b: Builder) -> Tensor:
    """Remove axes of extent 1."""
    x = b.tensor(node.value(0))
    given = node.constant_or(1, np.asarray([axis for axis, extent in enumerate(x.shape) if extent == 1]))
    axes = sorted(int(axis) % x.rank for axis in given.reshape(-1))
    return b.op("squeeze", x, axes=axes) if axes else x


@TABLE.lowers("Unsqueeze")
def unsqueeze_24(node: HubNode, b: Builder) -> Tensor:
    """Insert axes of extent 1."""
    x, given = b.tensor(node.value(0)), node.require_constant(1)
    rank = x.rank + given.size
    axes = sorted(int(axis) % rank for axis in given.reshape(-1))
    return b.op("unsqueeze", x, axes=axes) if axes else x


@TABLE.lowers("Transpose")
def transpose_24(node: HubNode, b: Builder) -> Tensor:
    """Permute; the default reverses."""
    x = b.tensor(node.value(0))
    return b.transpose(x, node.attr_ints("perm") or tuple(reversed(range(x.rank))))


@TABLE.lowers("Concat")
def concat_13(node: HubNode, b: Builder) -> Tensor:
    """Join along an axis."""
    axis = node.axis()
    given = [b.tensor(value) for value in node.inputs if value is not None]
    values = [value for value in given if 0 not in value.shape] or given  # what is empty adds nothing
    if len({value.kind for value in values}) > 1:
        values = [b.scalar(value) for value in values]
    return b.op("concat", values, axis=axis)


@TABLE.lowers("Split")
def split_18(node: HubNode, b: Builder) -> list[Tensor]:
    """Cut along an axis."""
    node.ignore("num_outputs")
    if node.input(1) is not None:
        node.require_constant(1)  # the sizes are those of the outputs
    x, axis = b.tensor(node.value(0)), node.axis()
    sizes = [node.shape(value)[axis] for value in node.outputs]
    held = [size for size in sizes if size]
    parts = iter(b.ops("split", x, axis=axis, ratios=held, count=len(held)) if len(held) > 1 else [x])
    shape = list(x.shape)
    return [
        next(parts) if size else b.const(np.zeros([*shape[:axis], 0, *shape[axis + 1 :]]), x.kind) for size in sizes
    ]


@TABLE.lowers("Slice")
def slice_13(node: HubNode, b: Builder) -> Tensor:
    """Ranges of axes, steps of either sign."""
    x = b.tensor(node.value(0))
    starts, ends = (node.require_constant(index).reshape(-1).tolist() for index in (1, 2))
    axes = node.constant_or(3, np.arange(len(starts))).reshape(-1).tolist()
    steps = node.constant_or(4, np.ones(len(starts), np.int64)).reshape(-1).tolist()
    return sliced(b, x, [axis % x.rank for axis in axes], starts, ends, steps)


def sliced(
    b: Builder, x: Tensor, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> Tensor:
    """Python's slices on axes; those that keep everything are left out."""
    kept: list[tuple[int, int, int, int]] = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = x.shape[axis]
        first, last, stride = slice(_bounded(start), _bounded(end), step).indices(extent)
        if len(range(first, last, stride)) == 0:
            raise Refused(f"axis {axis} would have extent 0, which NNEF cannot say")
        if (first, last, stride) == (0, extent, 1):
            continue
        if stride < 0 and last < 0:
            last = -extent - 1  # before the first
        kept.append((axis, first, 0 if last == extent and stride == 1 else last, stride))
    if not kept:
        return x
    lists = [list(column) for column in zip(*kept, strict=True)]
    strides = lists[3] if set(lists[3]) != {1} else []
    return b.op("slice", x, axes=lists[0], begin=lists[1], end=lists[2], stride=strides)


def _bounded(value: int) -> int:
    return max(min(int(value), 2**62), -(2**62))


@TABLE.lowers("Expand")
def expand_13(node: HubNode, b: Builder) -> Tensor:
    """Broadcast to the output's shape, by repeating."""
    return tiled_to(b, b.tensor(node.value(0)), node.shape(node.outputs[0]))


def tiled_to(b: Builder, x: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor broadcast to a shape."""
    x = b.with_rank(x, len(shape))
    repeats = [wanted // extent for wanted, extent in zip(shape, x.shape, strict=True)]
    return x if all(repeat == 1 for repeat in repeats) else b.op("tile", x, repeats=repeats)


@TABLE.lowers("Tile")
def tile_13(node: HubNode, b: Builder) -> Tensor:
    """Repeat along each axis."""
    return b.op("tile", b.tensor(node.value(0)), repeats=node.require_constant(1).reshape(-1))


@TABLE.lowers("Gather")
def gather_13(node: HubNode, b: Builder) -> Tensor:
    """Pick along an axis: one known position by slicing, several by gather; negative positions count from the end."""
    x, axis = b.tensor(node.value(0)), node.axis()
    extent = x.shape[axis]
    indices = node.constant(1)
    if indices is None:
        positions = wrapped(b, b.tensor(node.value(1)), extent)
        return b.op("gather", x, positions, axis=axis)
    if (indices < -extent).any() or (indices >= extent).any():
        raise Refused(f"an index lies outside of the extent {extent}")
    known = np.where(indices < 0, indices + extent, indices)
    if known.ndim == 0:
        part = sliced(b, x, [axis], [int(known)], [int(known) + 1], [1])
        return b.op("squeeze", part, axes=[axis])
    return b.op("gather", x, b.const(known, "integer"), axis=axis)


def wrapped(b: Builder, indices: Tensor, extent: int) -> Tensor:
    """Computed indices with the negative ones counted from the end (exact, or refused)."""
    if extent > b.whole:
        raise Refused(f"indices into an extent of {extent} are not exact as scalars")
    number = b.scalar(indices)
    negative = b.op("lt", number, b.number(0.0))
    return b.integer(b.op("select", negative, b.op("add", number, b.number(float(extent))), number))


def _followed(node: HubNode, b: Builder, index: int) -> NDArray[Any]:
    """A constant input, or one that became constant here (the cast of a constant to the type of a tensor)."""
    array = b.tensor(node.value(index)).array
    return node.require_constant(index) if array is None else array


@TABLE.lowers("GatherElements")
def gatherelements_13(node: HubNode, b: Builder) -> Tensor:
    """Each index picks along its own line: every position is compared with it, and the one that is equal is kept."""
    x, indices, axis = operand(node, b, node.value(0)), b.tensor(node.value(1)), node.axis()
    extent = x.shape[axis]
    if math.prod(indices.shape) * extent > _LARGEST:
        raise Refused("too many positions would be compared")
    if indices.array is not None and ((indices.array < -extent) | (indices.array >= extent)).any():
        raise Refused(f"an index lies outside of the extent {extent}")
    others = [a for a in range(x.rank) if a != axis]
    x = sliced(b, x, others, [0] * len(others), [indices.shape[a] for a in others], [1] * len(others))
    number = b.scalar(wrapped(b, indices, extent)) if indices.array is None else b.const(indices.array % extent)
    number = b.reshape(number, (*number.shape[: axis + 1], 1, *number.shape[axis + 1 :]))
    positions = b.const(np.arange(extent).reshape([-1 if a == axis + 1 else 1 for a in range(x.rank + 1)]))
    lines = b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))
    picked = b.op("select", b.op("eq", number, positions), lines, b.number(0.0))
    found = b.op("squeeze", b.op("sum_reduce", picked, axes=[axis + 1]), axes=[axis + 1])
    return b.like(found, node.outputs[0])


@TABLE.lowers("Pad")
def pad_25(node: HubNode, b: Builder) -> Tensor:
    """A border, cropping where it is negative."""
    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
    mode = node.attr_string("mode") or "constant"
    if mode not in modes:
        raise Refused(f"the mode {mode!r} has no counterpart")
    x = b.tensor(node.value(0))
    kind = x.kind
    pads = [int(pad) for pad in node.require_constant(1).reshape(-1)]
    axes = [int(axis) % x.rank for axis in node.constant_or(3, np.arange(x.rank)).reshape(-1)]
    fill = 0.0 if node.input(2) is None else float(_followed(node, b, 2).reshape(-1)[0])
    before, after = [0] * x.rank, [0] * x.rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = pads[position], pads[position + len(axes)]
    cropped = (
        [max(-amount, 0) for amount in before],
        [extent - max(-amount, 0) for extent, amount in zip(x.shape, after, strict=True)],
    )
    x = sliced(b, x, range(x.rank), *cropped, [1] * x.rank)
    pairs = [(max(p, 0), max(q, 0)) for p, q in zip(before, after, strict=True)]
    if all(pair == (0, 0) for pair in pairs):
        return x
    extra = 2 if x.rank < 3 else 0  # readers take apart batch and channels, and pad what comes after them
    x = b.with_rank(b.scalar(x), x.rank + extra)
    x = b.op("pad", x, padding=[(0, 0)] * extra + pairs, border=modes[mode], value=fill)
    x = b.op("squeeze", x, axes=[0, 1]) if extra else x
    return b.like(x, node.outputs[0]) if kind != "scalar" else x


@TABLE.lowers("DepthToSpace")
def depthtospace_13(node: HubNode, b: Builder) -> Tensor:
    """Channels into blocks of pixels."""
    x, block = b.tensor(node.value(0)), node.attr_int("blocksize")
    n, c, h, w = x.shape
    inner = c // block**2
    if node.attr_string("mode") == "CRD":
        split, order = (n, inner, block, block, h, w), (0, 1, 4, 2, 5, 3)
    else:
        split, order = (n, block, block, inner, h, w), (0, 3, 4, 1, 5, 2)
    return b.reshape(b.transpose(b.reshape(x, split), order), (n, inner, h * block, w * block))


@TABLE.lowers("SpaceToDepth")
def spacetodepth_13(node: HubNode, b: Builder) -> Tensor:
    """Blocks of pixels into channels."""
    x, block = b.tensor(node.value(0)), node.attr_int("blocksize")
    n, c, h, w = x.shape
    parts = b.reshape(x, (n, c, h // block, block, w // block, block))
    return b.reshape(b.transpose(parts, (0, 3, 5, 1, 2, 4)), (n, c * block**2, h // block, w // block))


@TABLE.lowers("Trilu")
def trilu_14(node: HubNode, b: Builder) -> Tensor:
    """One triangle of the last two axes, zeros in the other."""
    x = b.tensor(node.value(0))
    shift = int(node.constant_or(1, np.zeros((), np.int64)).reshape(-1)[0])
    limits.check("folded_elements", math.prod(x.shape[-2:]), "elements of a constant mask")
    ones = np.ones(x.shape[-2:], bool)
    mask = np.triu(ones, shift) if node.attr_int("upper") else np.tril(ones, shift)
    zero = b.const(0, x.kind)
    condition, x, zero = b.aligned(b.const(mask, "logical"), x, zero)
    return b.op("select", condition, x, zero)


@TABLE.lowers("EyeLike")
def eyelike_22(node: HubNode, b: Builder) -> Tensor:
    """Ones on a diagonal; of the input only the shape counts."""
    node.ignore("dtype")  # repeated in the output's dtype
    rows, columns = node.shape(node.outputs[0])
    limits.check("folded_elements", rows * columns, "elements of a constant matrix")
    eye = np.eye(rows, columns, node.attr_int("k"), np.int64)
    return b.const(eye, kind_of(node.dtype(node.outputs[0])))


@TABLE.lowers("OneHot")
def onehot_11(node: HubNode, b: Builder) -> Tensor:
    """The on-value where the position is the index (negative indices count from the end), else the off-value."""
    depth = int(node.require_constant(1).reshape(-1)[0])
    off, on = (b.reshape(b.const(value), ()) for value in node.require_constant(2).reshape(-1))
    axis = node.axis(rank=len(node.shape(node.outputs[0])))
    indices = b.tensor(node.value(0))
    number = b.scalar(indices)
    number = b.op("select", b.op("lt", number, b.number(0.0)), b.op("add", number, b.number(float(depth))), number)
    number = b.op("unsqueeze", number, axes=[axis])
    positions = np.arange(depth).reshape([depth if a == axis else 1 for a in range(number.rank)])
    chosen = b.op("select", b.op("eq", number, b.const(positions)), on, off)
    return b.like(chosen, node.outputs[0])
