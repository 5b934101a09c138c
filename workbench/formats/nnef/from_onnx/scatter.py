"""Operators that pick or write at indices of several axes: https://onnx.ai/onnx/operators/onnx__ScatterND.html.

Indices that are constants say for each element of the result where it comes from, one gather. Computed ones are
compared with every position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.movement import sliced, wrapped
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused

_LARGEST = 1 << 22  # comparisons


def _linear(b: Builder, indices: Tensor, extents: Sequence[int]) -> Tensor:
    """``[count, len(extents)]`` indices as positions ``[count]`` in the axes flattened, as integer."""
    if math.prod(extents) > b.whole:
        raise Refused(f"positions among {math.prod(extents):,} elements are not exact as scalars")
    if indices.array is not None:
        _check(indices.array, extents)
        known = np.where(indices.array < 0, indices.array + np.asarray(extents), indices.array)
        return b.const(np.ravel_multi_index(tuple(known.T), tuple(extents)), "integer")
    total: Tensor | None = None
    for axis, extent in enumerate(extents):
        part = b.reshape(sliced(b, indices, [1], [axis], [axis + 1], [1]), (indices.shape[0],))
        step = b.op("mul", b.scalar(wrapped(b, part, extent)), b.number(float(math.prod(extents[axis + 1 :]))))
        total = step if total is None else b.op("add", total, step)
    assert total is not None
    return b.integer(total)


def _check(indices: NDArray[Any], extents: Sequence[int]) -> None:
    bounds = np.asarray(extents)
    if ((indices < -bounds) | (indices >= bounds)).any():
        raise Refused(f"an index lies outside of the extents {list(extents)}")


@TABLE.lowers("GatherND")
def gathernd_13(node: HubNode, b: Builder) -> Tensor:
    """Positions in the flattened axes, those of the batch included, then one gather."""
    x, indices, batch = b.tensor(node.value(0)), b.tensor(node.value(1)), node.attr_int("batch_dims")
    count = indices.shape[-1]
    rows = b.reshape(indices, (math.prod(indices.shape[:-1]), count))
    inner, lead = x.shape[batch : batch + count], math.prod(x.shape[:batch])
    positions = _linear(b, rows, inner)
    if batch:
        if lead * math.prod(inner) > b.whole:
            raise Refused(f"positions among {lead * math.prod(inner):,} elements are not exact as scalars")
        starts = np.repeat(np.arange(lead), rows.shape[0] // lead) * math.prod(inner)
        positions = b.integer(b.op("add", b.scalar(positions), b.const(starts)))
    flat = b.reshape(x, (lead * math.prod(inner), *x.shape[batch + count :]))
    return b.reshape(b.op("gather", flat, positions, axis=0), node.shape(node.outputs[0]))


@TABLE.lowers("ReverseSequence")
def reversesequence_10(node: HubNode, b: Builder) -> Tensor:
    """In each row of the batch the first so many moments backwards."""
    x, batch, time = b.tensor(node.value(0)), node.attr_int("batch_axis"), node.attr_int("time_axis")
    if {batch, time} != {0, 1}:
        raise Refused(f"the axes {batch} and {time} are not the first two")
    shape = [1, 1]
    shape[batch] = x.shape[batch]
    lengths = b.reshape(b.scalar(b.tensor(node.value(1))), shape)
    rows, columns = np.meshgrid(np.arange(x.shape[0]), np.arange(x.shape[1]), indexing="ij")
    moments, own = (rows, columns) if time == 0 else (columns, rows)
    now = b.const(moments)
    ends = b.op("sub", lengths, b.number(1.0))
    source = b.op("select", b.op("lt", now, lengths), b.op("sub", ends, now), now)
    if time == 0:
        places = b.op("add", b.op("mul", source, b.number(float(x.shape[1]))), b.const(own))
    else:
        places = b.op("add", source, b.const(own * x.shape[1]))
    count = x.shape[0] * x.shape[1]
    if count > b.whole:
        raise Refused(f"positions among {count:,} moments are not exact as scalars")
    flat = b.reshape(x, (count, *x.shape[2:]))
    return b.reshape(b.op("gather", flat, b.integer(b.reshape(places, (count,))), axis=0), x.shape)


@TABLE.lowers("ScatterND")
def scatternd_18(node: HubNode, b: Builder) -> Tensor:
    """Slices are written at positions in the flattened leading axes."""
    reduction = node.attr_string("reduction") or "none"
    data, indices, updates = _operands(node, b, reduction)
    count = indices.shape[-1]
    extents, rest = data.shape[:count], math.prod(data.shape[count:])
    number = math.prod(indices.shape[:-1])
    positions = _linear(b, b.reshape(indices, (number, count)), extents)
    lines, new = b.reshape(data, (math.prod(extents), rest)), b.reshape(updates, (number, rest))
    made = _scattered(b, lines, b.reshape(positions, (number, 1)), new, reduction)
    return b.reshape(made, data.shape)


@TABLE.lowers("ScatterElements")
def scatterelements_18(node: HubNode, b: Builder) -> Tensor:
    """Elements are written along an axis, each line at its own positions; what lies beyond the indices stays."""
    reduction, axis = node.attr_string("reduction") or "none", node.axis()
    data, indices, updates = _operands(node, b, reduction)
    order = [axis, *(a for a in range(data.rank) if a != axis)]
    moved, places, new = (b.transpose(value, order) for value in (data, indices, updates))
    extent, number, sizes = moved.shape[0], places.shape[0], places.shape[1:]
    inner = list(range(1, data.rank))
    own = sliced(b, moved, inner, [0] * len(inner), sizes, [1] * len(inner)) if inner else moved
    width = math.prod(sizes)
    if places.array is not None:
        _check(places.array, [extent])
        flat = b.const(places.array.reshape(number, width) % extent, "integer")
    else:
        flat = wrapped(b, b.reshape(places, (number, width)), extent)
    made = _scattered(b, b.reshape(own, (extent, width)), flat, b.reshape(new, (number, width)), reduction)
    made = b.reshape(made, own.shape)
    for place in reversed(inner):  # put back what was cut off, the last axis first
        if made.shape[place] < moved.shape[place]:
            ends = [made.shape[a] for a in inner]
            starts = [0] * len(inner)
            starts[place - 1], ends[place - 1] = made.shape[place], moved.shape[place]
            made = b.op("concat", [made, sliced(b, moved, inner, starts, ends, [1] * len(inner))], axis=place)
    return b.transpose(made, [order.index(a) for a in range(data.rank)])


def _operands(node: HubNode, b: Builder, reduction: str) -> tuple[Tensor, Tensor, Tensor]:
    """Data, indices, updates; as scalars where they are computed with."""
    moved = reduction == "none" and node.constant(1) is not None
    data, updates = (b.tensor(node.value(i)) if moved else operand(node, b, node.value(i)) for i in (0, 2))
    if data.kind != updates.kind:
        data, updates = b.scalar(data), b.scalar(updates)
    return data, b.tensor(node.value(1)), updates


_REDUCED = {"add": ("sum_reduce", "add"), "max": ("max_reduce", "max"), "min": ("min_reduce", "min")}


def _scattered(b: Builder, data: Tensor, positions: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """``[extent, width]`` data with ``[number, width]`` updates at positions ``[number, width]`` or ``[number, 1]``."""
    (extent, width), number = data.shape, updates.shape[0]
    if positions.array is not None and reduction == "none":
        source = np.arange(extent * width).reshape(extent, width)
        fresh = np.arange(number * width).reshape(number, width) + extent * width
        source[np.broadcast_to(positions.array, fresh.shape), np.arange(width)] = fresh
        both = b.op("concat", [b.reshape(data, (extent * width,)), b.reshape(updates, (number * width,))], axis=0)
        return b.reshape(b.op("gather", both, b.const(source.reshape(-1), "integer"), axis=0), data.shape)
    if extent * number * width > _LARGEST:
        raise Refused("too many positions would be compared")
    places = b.const(np.arange(extent).reshape(extent, 1, 1))
    hits = b.op("eq", places, b.reshape(b.scalar(positions), (1, *positions.shape)))  # [extent, number, width or 1]
    lines = b.reshape(updates, (1, number, width))
    if reduction == "mul":
        factors = b.op("select", hits, lines, b.number(1.0))
        product = data
        for index in range(number):
            part = b.reshape(sliced(b, factors, [1], [index], [index + 1], [1]), (extent, width))
            product = b.op("mul", product, part)
        return product
    old = b.reshape(data, (extent, 1, width))
    name, join = _REDUCED.get(reduction, _REDUCED["add"])
    if reduction in ("max", "min"):
        found = b.op(name, b.op("select", hits, lines, old), axes=[1])
        return b.reshape(b.op(join, found, old), data.shape)
    total = b.op(name, b.op("select", hits, lines, b.number(0.0)), axes=[1])
    if reduction == "add":
        return b.reshape(b.op(join, old, total), data.shape)
    written = b.op("any_reduce", hits, axes=[1])
    return b.reshape(b.op("select", written, total, old), data.shape)
