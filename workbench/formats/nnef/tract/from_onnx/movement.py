"""Operators that pick, write and sort, which tract has in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.formats.nnef.tract.builder import TractBuilder
from workbench.formats.nnef.tract.from_onnx.arithmetic import standard, whole
from workbench.formats.nnef.tract.from_onnx.table import TABLE
from workbench.hub import HubNode
from workbench.lowering import Refused


def _indices(node: HubNode, b: TractBuilder, index: int, extents: Sequence[int]) -> Tensor:
    """Indices as integer; known ones within the extents, the last axis of which counts them if there are several."""
    known = node.constant(index)
    if known is not None:
        bounds = np.asarray(extents)
        if ((known < -bounds) | (known >= bounds)).any():
            raise Refused(f"an index lies outside of the extents {list(extents)}")
        return b.const(np.where(known < 0, known + bounds, known), "integer")
    return b.integer(b.tensor(node.value(index)))


@TABLE.lowers("Gather")
def gather_13(node: HubNode, b: TractBuilder) -> object:
    """Pick along an axis; negative positions count from the end."""
    known = node.constant(1)
    if known is not None and known.ndim == 0:
        return standard(node, b)  # a slice
    x, axis = b.tensor(node.value(0)), node.axis()
    return b.op("tract_core_gather", x, _indices(node, b, 1, [x.shape[axis]]), axis=axis)


@TABLE.lowers("GatherElements")
def gatherelements_13(node: HubNode, b: TractBuilder) -> Tensor:
    """Each index picks along its own line."""
    x, axis = b.tensor(node.value(0)), node.axis()
    return b.op("tract_core_gather_elements", x, _indices(node, b, 1, [x.shape[axis]]), axis=axis)


@TABLE.lowers("GatherND")
def gathernd_13(node: HubNode, b: TractBuilder) -> object:
    """Each row of indices picks a slice."""
    x, batch = b.tensor(node.value(0)), node.attr_int("batch_dims")
    count = node.shape(node.value(1))[-1]
    indices = _indices(node, b, 1, x.shape[batch : batch + count])
    if indices.data is None:  # tract counts from the front only
        bounds = b.const(
            np.asarray(x.shape[batch : batch + count]).reshape((1,) * (indices.rank - 1) + (count,)), "integer"
        )
        below = b.op("lt", indices, b.const(np.zeros((), np.int64), "integer"))
        indices = b.op("select", below, b.op("add", indices, bounds), indices)
    return b.op("tract_core_gather_nd", x, indices, batch_dims=batch)


_REDUCTIONS = ("none", "add", "mul", "min", "max")


def _scattered(node: HubNode, b: TractBuilder, name: str, extents: Sequence[int], **attributes: Any) -> object:
    reduction = node.attr_string("reduction") or "none"
    if reduction not in _REDUCTIONS:
        raise Refused(f"the reduction {reduction!r} has no counterpart")
    dtype = node.dtype(node.value(0))
    if reduction != "none" and not whole(dtype) and not dtype.startswith("float"):
        return standard(node, b)
    x, updates = b.tensor(node.value(0)), b.tensor(node.value(2))
    made = b.op(name, x, _indices(node, b, 1, extents), updates, reduction=reduction, **attributes)
    return (
        made
        if dtype == "int64" or made.kind != "integer" or reduction in ("none", "min", "max")
        else b.through(made, dtype)
    )


@TABLE.lowers("ScatterElements")
def scatterelements_18(node: HubNode, b: TractBuilder) -> object:
    """Elements are written, or combined with what is there, along an axis."""
    axis = node.axis()
    extents = [b.tensor(node.value(0)).shape[axis]]
    return _scattered(node, b, "tract_core_scatter_elements", extents, axis=axis)


@TABLE.lowers("ScatterND")
def scatternd_18(node: HubNode, b: TractBuilder) -> object:
    """Slices are written, or combined with what is there, at indices of the leading axes."""
    count = node.shape(node.value(1))[-1]
    return _scattered(node, b, "tract_core_scatter_nd", b.tensor(node.value(0)).shape[:count])


@TABLE.lowers("TopK")
def topk_24(node: HubNode, b: TractBuilder) -> list[Tensor]:
    """The ``k`` largest or smallest along an axis, in their order, and where they were; of equal ones the first."""
    node.ignore("sorted")  # sorted is one of the orders that "not sorted" allows
    count = int(node.require_constant(1).reshape(-1)[0])
    if count == 0:
        raise Refused("the result holds no elements, which NNEF cannot say")
    if node.dtype(node.value(0)).startswith(("float", "bfloat")):
        node.approximate("rows with NaN in them are not sorted")
    x = b.tensor(node.value(0))
    return list(b.ops("tract_core_topk", x, k=count, axis=node.axis(), largest=bool(node.attr_int("largest"))))


@TABLE.lowers("Trilu")
def trilu_14(node: HubNode, b: TractBuilder) -> object:
    """One triangle of the last two axes, zeros in the other."""
    x = b.tensor(node.value(0))
    if x.kind == "logical":
        return standard(node, b)
    shift = b.const(node.constant_or(1, np.zeros((), np.int64)).reshape(()), "integer")
    return b.op("tract_core_trilu", x, shift, upper=bool(node.attr_int("upper")))


@TABLE.lowers("Expand")
def expand_13(node: HubNode, b: TractBuilder) -> Tensor:
    """Broadcast to the output's shape."""
    return broadcast_to(b, b.tensor(node.value(0)), node.shape(node.outputs[0]))


def broadcast_to(b: TractBuilder, x: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor with axes of extent 1 repeated, ranks aligned on the right."""
    x = b.with_rank(x, len(shape))
    return x if x.shape == tuple(shape) else b.op("tract_core_broadcast", x, shape=list(shape))


@TABLE.lowers("Pad")
def pad_25(node: HubNode, b: TractBuilder) -> object:
    """A border; integers are not taken for scalars on the way."""
    x = b.tensor(node.value(0))
    crops = (node.require_constant(1) < 0).any()
    if x.kind == "scalar" or (node.attr_string("mode") or "constant") != "constant" or crops or x.rank == 0:
        return standard(node, b)
    pads = [int(pad) for pad in node.require_constant(1).reshape(-1)]
    axes = [int(axis) % x.rank for axis in node.constant_or(3, np.arange(x.rank)).reshape(-1)]
    fill = np.zeros((), np.int64) if node.input(2) is None else node.require_constant(2).reshape(-1)[0]
    padding = [(0, 0)] * x.rank
    for position, axis in enumerate(axes):
        padding[axis] = pads[position], pads[position + len(axes)]
    return framed(b, x, padding, fill)


def framed(b: TractBuilder, x: Tensor, padding: Sequence[tuple[int, int]], fill: object) -> Tensor:
    """Constants on either side of each axis."""
    for axis, (before, after) in enumerate(padding):
        shapes = [[count if a == axis else extent for a, extent in enumerate(x.shape)] for count in (before, after)]
        sides = [b.const(np.full(shape, fill), x.kind) for shape in shapes]
        parts = [part for part in (sides[0], x, sides[1]) if part.shape[axis]]
        x = b.op("concat", parts, axis=axis) if len(parts) > 1 else x
    return x
