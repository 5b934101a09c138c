"""Gathering and scattering by index.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.scatter_gather
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from workbench.formats.coreml.tensors import like, rank_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused

_NOWHERE = 2**31 - 1


def _indices(op: MilOperation, emit: Emitter) -> ir.Value:
    """``indices`` as int64.

    With ``validate_indices`` (iOS 17) a negative one is an error at run time, as every one that is too large; without,
    what it means is not defined.
    """
    indices = op.integers(emit, "indices")
    known = op.known("indices")
    if not op.flag("validate_indices", False) or (known is not None and not (known < 0).any()):
        return indices
    return emit.op("Where", emit.op("Less", indices, emit.const(0)), emit.const(_NOWHERE), indices)


@mil.lowers("gather")
def gather(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x`` at ``indices`` along ``axis``; the first ``batch_dims`` dimensions of both go together."""
    x, indices = op.raw(), _indices(op, emit)
    axis, batch = op.integer("axis", 0), op.integer("batch_dims", 0)
    if batch == 0:
        return emit.op("Gather", x, indices, axis=axis)
    rank, inner = op.rank(x), op.rank(indices) - batch
    axis, batch = axis % rank, batch % op.rank(indices)
    if axis < batch:
        raise Refused(f"axis {axis} lies within the {batch} batch dimensions")
    order = [*range(batch), axis, *range(batch, axis), *range(axis + 1, rank)]
    moved = x if axis == batch else emit.op("Transpose", x, perm=order)
    found = emit.op("GatherND", moved, emit.op("Unsqueeze", indices, emit.const([-1])), batch_dims=batch)
    between = axis - batch  # dimensions that GatherND leaves behind the gathered ones
    if not between:
        return found
    back = [*range(batch), *range(batch + inner, batch + inner + between), *range(batch, batch + inner)]
    return emit.op("Transpose", found, perm=[*back, *range(batch + inner + between, inner + rank - 1)])


@mil.lowers("gather_along_axis")
def gather_along_axis(op: MilOperation, emit: Emitter) -> ir.Value:
    """``numpy.take_along_axis``"""
    return emit.op("GatherElements", op.raw(), _indices(op, emit), axis=op.integer("axis", 0))


@mil.lowers("gather_nd")
def gather_nd(op: MilOperation, emit: Emitter) -> ir.Value:
    """Slices of ``x`` at the index tuples in the last dimension of ``indices``."""
    batch = op.integer("batch_dims", 0)
    return emit.op("GatherND", op.raw(), _indices(op, emit), batch_dims=batch)


MODES = {"update": "none", "add": "add", "sub": "add", "mul": "mul", "div": "mul", "max": "max", "min": "min"}

Scatter = Callable[[ir.Value, ir.Value, str], ir.Value]


def scattered(emit: Emitter, data: ir.Value, updates: ir.Value, mode: str, scatter: Scatter) -> ir.Value:
    """Apply a mode; ``scatter`` makes the node of data, updates and ONNX's reduction."""
    if mode == "sub":
        updates = emit.op("Neg", updates)
    if mode == "div":
        ones = emit.op("Expand", like(emit, 1, data), emit.op("Shape", data))
        return emit.op("Div", data, scatter(ones, updates, "mul"))
    return scatter(data, updates, MODES[mode])


def spread_indices(
    emit: Emitter, rank: int, indices: ir.Value, updates: ir.Value, axis: int
) -> tuple[ir.Value, ir.Value]:
    """Indices of any shape as those of ScatterElements: one for each update, both of the rank of the data."""
    inner = rank_of(indices)
    if inner != 1:  # make one dimension of the indices, in the updates too
        before, after = emit.op("Shape", updates, start=0, end=axis), emit.op("Shape", updates, start=axis + inner)
        updates = emit.op("Reshape", updates, emit.op("Concat", before, emit.const([-1]), after, axis=0))
        indices = emit.op("Reshape", indices, emit.const([-1]))
    others = [other for other in range(rank) if other != axis]
    aligned = emit.op("Unsqueeze", indices, emit.const(others)) if others else indices
    return emit.op("Expand", aligned, emit.op("Shape", updates)), updates


def _mode(op: MilOperation) -> str:
    mode = op.text("mode", "add")
    if mode not in MODES:
        raise Refused(f"mode = {mode!r} is not known")
    return mode


@mil.lowers("scatter")
def scatter(op: MilOperation, emit: Emitter) -> ir.Value:
    """``data`` with ``updates`` at ``indices`` along ``axis``; updates: data's shape, with that of indices at axis."""
    data, mode = op.value("data"), _mode(op)
    rank = op.rank(data)
    axis = op.integer("axis", 0) % rank
    indices, updates = spread_indices(emit, rank, _indices(op, emit), op.value("updates"), axis)
    return scattered(
        emit, data, updates, mode,
        lambda data, values, how: emit.op("ScatterElements", data, indices, values, axis=axis, reduction=how),
    )  # fmt: skip


@mil.lowers("scatter_along_axis")
def scatter_along_axis(op: MilOperation, emit: Emitter) -> ir.Value:
    """The inverse of ``gather_along_axis``, with a mode."""
    indices, axis = _indices(op, emit), op.integer("axis", 0)
    return scattered(
        emit, op.value("data"), op.value("updates"), _mode(op),
        lambda data, values, how: emit.op("ScatterElements", data, indices, values, axis=axis, reduction=how),
    )  # fmt: skip


@mil.lowers("scatter_nd")
def scatter_nd(op: MilOperation, emit: Emitter) -> ir.Value:
    """``data`` with ``updates`` at the index tuples in the last dimension of ``indices``."""
    indices = _indices(op, emit)
    return scattered(
        emit, op.value("data"), op.value("updates"), _mode(op),
        lambda data, values, reduction: emit.op("ScatterND", data, indices, values, reduction=reduction),
    )  # fmt: skip


@mil.lowers("one_hot")
def one_hot(op: MilOperation, emit: Emitter) -> ir.Value:
    """``on_value`` where a new dimension's index is the element, ``off_value`` elsewhere; -1 is nowhere."""
    indices, axis = op.integers(emit, "indices"), op.integer("axis", -1)
    size = emit.op("Squeeze", op.integers(emit, "one_hot_vector_size"))
    rank = op.rank(indices) + 1
    axis %= rank
    places = emit.op("Range", emit.const(0), size, emit.const(1))
    behind = list(range(1, rank - axis))
    places = emit.op("Unsqueeze", places, emit.const(behind)) if behind else places
    hit = emit.op("Equal", emit.op("Unsqueeze", indices, emit.const([axis])), places)
    dtype = op.outputs[0].dtype
    wide = "float32" if dtype == "float16" else dtype
    on, off = op.known("on_value"), op.known("off_value")
    return emit.op(
        "Where", hit, emit.const(1 if on is None else on.reshape(()), wide),
        emit.const(0 if off is None else off.reshape(()), wide),
    )  # fmt: skip


@mil.lowers("non_zero")
def non_zero(op: MilOperation, emit: Emitter) -> ir.Value:
    """The index tuples of the elements that are not zero: [N, rank]."""
    return emit.op("Transpose", emit.op("NonZero", op.value()), perm=[1, 0])
