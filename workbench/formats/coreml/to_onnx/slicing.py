"""Slices, and the update of a slice.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS15.tensor_transformation.slice_by_index
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_FAR = 2**62  # beyond every size: ONNX clamps it


@mil.lowers("slice_by_index")
def slice_by_index(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x[begin:end:stride]``, with masks that open an end, or take one element and drop the dimension."""
    x = op.raw()
    rank = op.rank(x)
    stride = _strides(op, rank)
    squeezed = op.ints("squeeze_mask", [0] * rank)
    starts, ends = _starts(op, emit, stride, squeezed), _ends(op, emit, stride, squeezed)
    axes = emit.const(list(range(rank)))
    result = emit.op("Slice", x, starts, ends, axes, emit.const(stride))
    dropped = [axis for axis in range(rank) if squeezed[axis]]
    return emit.op("Squeeze", result, emit.const(dropped)) if dropped else result


def _strides(op: MilOperation, rank: int) -> list[int]:
    """A dropped dimension steps by one, whatever its stride says."""
    squeezed = op.ints("squeeze_mask", [0] * rank)
    return [1 if drop else step for step, drop in zip(op.ints("stride", [1] * rank), squeezed, strict=True)]


def _starts(op: MilOperation, emit: Emitter, stride: list[int], squeezed: tuple[int, ...]) -> ir.Value:
    masks = op.ints("begin_mask", [0] * len(stride))
    opened = [0 if step > 0 else _FAR for step in stride]
    known = op.known("begin")
    if known is not None:
        begins = [int(item) for item in known.reshape(-1)]
        return emit.const([far if mask else begin for begin, mask, far in zip(begins, masks, opened, strict=True)])
    begin = op.integers(emit, "begin")
    return emit.op("Where", emit.const(masks, "bool"), emit.const(opened), begin) if any(masks) else begin


def _ends(op: MilOperation, emit: Emitter, stride: list[int], squeezed: tuple[int, ...]) -> ir.Value:
    masks = op.ints("end_mask", [0] * len(stride))
    opened = [_FAR if step > 0 else -_FAR for step in stride]
    begin, end = op.known("begin"), op.known("end")
    if begin is not None and end is not None:
        rows = zip(begin.reshape(-1), end.reshape(-1), masks, squeezed, opened, strict=True)
        return emit.const(
            [(int(first) + 1 or _FAR) if drop else far if mask else int(last) for first, last, mask, drop, far in rows]
        )
    result = op.integers(emit, "end")
    if any(masks):
        result = emit.op("Where", emit.const(masks, "bool"), emit.const(opened), result)
    if any(squeezed):
        first = op.integers(emit, "begin")
        next_one = emit.op("Add", first, emit.const(1))
        at_end = emit.op("Equal", next_one, emit.const(0))  # -1 is the last element: there is no end behind it but far
        next_one = emit.op("Where", at_end, emit.const(_FAR), next_one)
        result = emit.op("Where", emit.const(squeezed, "bool"), next_one, result)
    return result


@mil.lowers("slice_by_size")
def slice_by_size(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x[begin:begin + size]``; a size of -1 takes all that is left."""
    x = op.raw()
    axes = emit.const(list(range(op.rank(x))))
    begin, size = op.known("begin"), op.known("size")
    if begin is not None and size is not None:
        starts = [int(item) for item in begin.reshape(-1)]
        counts = [int(item) for item in size.reshape(-1)]
        stops = [_FAR if count == -1 else (start + count or _FAR) for start, count in zip(starts, counts, strict=True)]
        return emit.op("Slice", x, emit.const(starts), emit.const(stops), axes)
    first, count = op.integers(emit, "begin"), op.integers(emit, "size")
    rest = emit.op("Equal", count, emit.const(-1))
    last = emit.op("Where", rest, emit.const(_FAR), emit.op("Add", first, count))
    return emit.op("Slice", x, first, last, axes)


@mil.lowers("slice_update", since=18)
def slice_update(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x`` with ``x[begin:end:stride] = update``."""
    x = op.value()
    sizes = dims_of(x) or ()
    if all(isinstance(size, int) for size in sizes) and op.known("begin") is not None and op.known("end") is not None:
        positions = _fixed_positions(op, emit, op.shape(x))
    else:
        positions = _positions(op, emit, x)
    flat, update = emit.op("Reshape", x, emit.const([-1])), emit.op("Reshape", op.value("update"), emit.const([-1]))
    return emit.op("Reshape", emit.op("ScatterElements", flat, positions, update), emit.op("Shape", x))


def _fixed_positions(op: MilOperation, emit: Emitter, sizes: tuple[int, ...]) -> ir.Value:
    """The places of the slice in the flattened tensor: int64 [N]."""
    count = bounded(math.prod(sizes), "the positions of slice_update")
    return emit.const(np.arange(count).reshape(sizes)[_slices(op, len(sizes))].reshape(-1))


def _positions(op: MilOperation, emit: Emitter, x: ir.Value) -> ir.Value:
    """As :func:`_fixed_positions`, of a slice or a shape that is only known at run time: the places are sliced."""
    rank = op.rank(x)
    places = emit.op("Range", emit.const(0), emit.op("Size", x), emit.const(1))
    places = emit.op("Reshape", places, emit.op("Shape", x))
    stride, squeezed = _strides(op, rank), op.ints("squeeze_mask", [0] * rank)
    starts, ends = _starts(op, emit, stride, squeezed), _ends(op, emit, stride, squeezed)
    sliced = emit.op("Slice", places, starts, ends, emit.const(list(range(rank))), emit.const(stride))
    return emit.op("Reshape", sliced, emit.const([-1]))


def _slices(op: MilOperation, rank: int) -> tuple[slice | int, ...]:
    """The slice as numpy writes it."""
    begins, ends = op.ints("begin"), op.ints("end")
    if not len(begins) == len(ends) == rank:
        raise Refused("'begin' and 'end' do not have one element for each dimension")
    strides = op.ints("stride", [1] * rank)
    open_begin, open_end = op.ints("begin_mask", [0] * rank), op.ints("end_mask", [0] * rank)
    squeezed = op.ints("squeeze_mask", [0] * rank)
    return tuple(
        begins[axis]
        if squeezed[axis]
        else slice(None if open_begin[axis] else begins[axis], None if open_end[axis] else ends[axis], strides[axis])
        for axis in range(rank)
    )
