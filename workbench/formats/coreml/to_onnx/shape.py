"""Operators that rearrange elements and ask for shapes. They move elements in their own dtype.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.tensor_transformation
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded, rank_of, shape_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused


@mil.lowers("reshape")
def reshape(op: MilOperation, emit: Emitter) -> ir.Value:
    """Zeros take over the input's size and one -1 is inferred, as in ONNX's Reshape."""
    x, shape = op.raw(), op.known("shape")
    if shape is not None and 0 in shape and shape.size != op.rank(x):
        raise Refused(f"shape {shape.tolist()} has zeros but another rank than the input")
    return emit.op("Reshape", x, _sizes(op, emit))


def _sizes(op: MilOperation, emit: Emitter) -> ir.Value:
    """The parameter ``shape``, a constant where it is known."""
    shape = op.known("shape")
    return op.integers(emit, "shape") if shape is None else emit.const(shape.reshape(-1).tolist())


@mil.lowers("reshape", since=17)
def reshape_17(op: MilOperation, emit: Emitter) -> ir.Value:
    """A zero takes over the input's size that is as far from the last dimension; where there is none it is one."""
    x, shape = op.raw(), op.known("shape")
    if shape is None or 0 not in shape:
        return emit.op("Reshape", x, _sizes(op, emit))
    pieces, rank = [], op.rank(x)
    for at, size in enumerate(shape.reshape(-1).tolist()):
        axis = at - shape.size + rank
        taken = size == 0 and axis >= 0
        pieces.append(emit.op("Shape", x, start=axis, end=axis + 1) if taken else emit.const([size or 1]))
    return emit.op("Reshape", x, emit.op("Concat", *pieces, axis=0))


@mil.lowers("reshape_like", since=16)
def reshape_like(op: MilOperation, emit: Emitter) -> ir.Value:
    """The new shape is made of slices of the shapes of other tensors."""
    begins, ends, masks = (_each(op, name) for name in ("begins", "ends", "end_masks"))
    pieces = [
        emit.op("Shape", reference, start=begin, end=None if mask else end)
        for reference, begin, end, mask in zip(op.raws("ref_tensors"), begins, ends, masks, strict=True)
    ]
    return emit.op("Reshape", op.raw(), emit.op("Concat", *pieces, axis=0))


def _each(op: MilOperation, name: str) -> list[int]:
    """A tuple of constants."""
    return [int(array.reshape(-1)[0]) for array in op.arrays(name)]


@mil.lowers("expand_dims")
def expand_dims(op: MilOperation, emit: Emitter) -> ir.Value:
    """New dimensions of size 1 at ``axes`` of the result."""
    return emit.op("Unsqueeze", op.raw(), emit.const(list(op.ints("axes"))))


@mil.lowers("squeeze")
def squeeze(op: MilOperation, emit: Emitter) -> ir.Value:
    """Without the dimensions ``axes``, or without all of size 1."""
    x = op.raw()
    if op.has("axes"):
        return emit.op("Squeeze", x, emit.const(list(op.ints("axes"))))
    return emit.op("Squeeze", x, emit.const([axis for axis, size in enumerate(op.shape(x)) if size == 1]))


@mil.lowers("flatten2d")
def flatten2d(op: MilOperation, emit: Emitter) -> ir.Value:
    """All dimensions before ``axis`` become one, and all from it on."""
    return emit.op("Flatten", op.raw(), axis=op.integer("axis", 1))


@mil.lowers("transpose")
def transpose(op: MilOperation, emit: Emitter) -> ir.Value:
    """Dimensions in the order ``perm``, which may count from the end."""
    x = op.raw()
    rank = op.rank(x)
    return emit.op("Transpose", x, perm=[axis % rank for axis in op.ints("perm")])


@mil.lowers("shape")
def shape(op: MilOperation, emit: Emitter) -> ir.Value:
    """The sizes of ``x`` as int32."""
    return emit.op("Shape", op.raw())


@mil.lowers("tile")
def tile(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x`` repeated ``reps`` times along each dimension."""
    return emit.op("Tile", op.value(), op.integers(emit, "reps"))


@mil.lowers("concat")
def concat(op: MilOperation, emit: Emitter) -> ir.Value:
    """Joined along ``axis``; ``interleave`` takes one slice of each in turn."""
    values, axis = op.raws(), op.integer("axis")
    if op.rank(values[0]) == 0:  # numbers are joined into a vector
        values = [emit.op("Unsqueeze", value, emit.const([0])) for value in values]
    if op.flag("interleave", False) and len(values) > 1:
        return interleaved(emit, values, axis)
    return emit.op("Concat", *values, axis=axis)


def interleaved(emit: Emitter, values: list[ir.Value], axis: int) -> ir.Value:
    """Joined along ``axis``, one slice of each in turn."""
    sizes = list(shape_of(values[0]))
    axis %= len(sizes)
    stacked = stacked_along(emit, values, axis + 1)
    sizes[axis] *= len(values)
    return emit.op("Reshape", stacked, emit.const(sizes))


def stacked_along(emit: Emitter, values: list[ir.Value], axis: int) -> ir.Value:
    """Joined along a new dimension."""
    return emit.op("Concat", *(emit.op("Unsqueeze", value, emit.const([axis])) for value in values), axis=axis)


@mil.lowers("stack")
def stack(op: MilOperation, emit: Emitter) -> ir.Value:
    """Joined along a new dimension ``axis``."""
    return stacked_along(emit, op.raws(), op.integer("axis"))


@mil.lowers("split")
def split(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """Cut along ``axis`` into parts of ``split_sizes``, or into ``num_splits`` equal ones."""
    axis = op.integer("axis")
    count = len(op.outputs)
    op.ignore("num_splits")  # the number of outputs says the same
    if op.has("split_sizes"):
        return emit.ops("Split", op.raw(), emit.const(list(op.ints("split_sizes"))), outputs=count, axis=axis)
    return emit.ops("Split", op.raw(), outputs=count, axis=axis, num_outputs=count)


@mil.lowers("depth_to_space")
def depth_to_space(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C, H, W] → [N, C / b², H b, W b]; the channels are ordered (row, column, channel)."""
    return emit.op("DepthToSpace", op.value(), blocksize=op.integer("block_size"), mode="DCR")


@mil.lowers("pixel_shuffle")
def pixel_shuffle(op: MilOperation, emit: Emitter) -> ir.Value:
    """As ``depth_to_space``, but the channels are ordered (channel, row, column)."""
    return emit.op("DepthToSpace", op.value(), blocksize=op.integer("upscale_factor"), mode="CRD")


@mil.lowers("space_to_depth")
def space_to_depth(op: MilOperation, emit: Emitter) -> ir.Value:
    """The inverse of ``depth_to_space``."""
    return emit.op("SpaceToDepth", op.value(), blocksize=op.integer("block_size"))


@mil.lowers("pixel_unshuffle", since=16)
def pixel_unshuffle(op: MilOperation, emit: Emitter) -> ir.Value:
    """The inverse of ``pixel_shuffle``."""
    x, factor = op.raw(), op.integer("downscale_factor")
    n, c, h, w = op.shape(x)
    blocks = emit.op("Reshape", x, emit.const([n, c, h // factor, factor, w // factor, factor]))
    moved = emit.op("Transpose", blocks, perm=[0, 1, 3, 5, 2, 4])
    return emit.op("Reshape", moved, emit.const([n, c * factor * factor, h // factor, w // factor]))


@mil.lowers("space_to_batch")
def space_to_batch(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C, H, W]; each of the b₁ b₂ grids of pixels becomes a batch, the first grid's batches first."""
    x, (b1, b2) = op.value(), op.ints("block_shape")
    top, bottom, left, right = op.ints("paddings")
    n, c, h, w = op.shape(x)
    h, w = h + top + bottom, w + left + right
    x = emit.op("Pad", x, emit.const([0, 0, top, left, 0, 0, bottom, right]))
    blocks = emit.op("Reshape", x, emit.const([n, c, h // b1, b1, w // b2, b2]))
    moved = emit.op("Transpose", blocks, perm=[3, 5, 0, 1, 2, 4])
    return emit.op("Reshape", moved, emit.const([n * b1 * b2, c, h // b1, w // b2]))


@mil.lowers("batch_to_space")
def batch_to_space(op: MilOperation, emit: Emitter) -> ir.Value:
    """The inverse of ``space_to_batch``."""
    x, (b1, b2) = op.raw(), op.ints("block_shape")
    top, bottom, left, right = op.ints("crops")
    n, c, h, w = op.shape(x)
    blocks = emit.op("Reshape", x, emit.const([b1, b2, n // (b1 * b2), c, h, w]))
    moved = emit.op("Transpose", blocks, perm=[2, 3, 4, 0, 5, 1])
    whole = emit.op("Reshape", moved, emit.const([n // (b1 * b2), c, h * b1, w * b2]))
    starts, ends = emit.const([top, left]), emit.const([h * b1 - bottom, w * b2 - right])
    return emit.op("Slice", whole, starts, ends, emit.const([2, 3]))


@mil.lowers("sliding_windows")
def sliding_windows(op: MilOperation, emit: Emitter) -> ir.Value:
    """All windows of ``size`` along ``axis``, in a new dimension behind it."""
    x, size, stride = op.raw(), op.integer("size"), op.integer("stride", 1)
    sizes = op.shape(x)
    axis = op.integer("axis") % len(sizes)
    count = (sizes[axis] - size) // stride + 1
    bounded(count * size, "the windows of sliding_windows")
    indices = [[start * stride + step for step in range(size)] for start in range(count)]
    return emit.op("Gather", x, emit.const(indices), axis=axis)


@mil.lowers("reverse")
def reverse(op: MilOperation, emit: Emitter) -> ir.Value:
    """Backwards along ``axes``, or along all dimensions."""
    x = op.raw()
    axes = list(op.ints("axes", range(op.rank(x))))
    count = len(axes)
    if not axes:
        return emit.op("Identity", x)
    first, last = emit.const([-1] * count), emit.const([-(2**62)] * count)
    return emit.op("Slice", x, first, last, emit.const(axes), emit.const([-1] * count))


@mil.lowers("reverse_sequence")
def reverse_sequence(op: MilOperation, emit: Emitter) -> ir.Value:
    """The first ``lengths[b]`` elements along ``seq_axis`` backwards, for each b of ``batch_axis``."""
    return reversed_sequences(
        emit, op.raw(), op.integers(emit, "lengths"), op.integer("seq_axis", 0), op.integer("batch_axis", 0)
    )


def reversed_sequences(emit: Emitter, x: ir.Value, lengths: ir.Value, time: int, batch: int) -> ir.Value:
    """The first elements along ``time`` backwards, as many as ``lengths`` says for each of ``batch``."""
    rank = rank_of(x)
    time, batch = time % rank, batch % rank
    if time == batch:
        raise Refused("the axes of sequence and batch are the same")
    order = [time, batch, *(axis for axis in range(rank) if axis not in (time, batch))]
    moved = emit.op("Transpose", x, perm=order)
    result = emit.op("ReverseSequence", moved, lengths, time_axis=0, batch_axis=1)
    return emit.op("Transpose", result, perm=[order.index(axis) for axis in range(rank)])
