"""Operations that move data; sizes may be numbers, symbols, or tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.shapes import slice_bounds
from workbench.formats.nnef.to_onnx.movement import padded
from workbench.formats.nnef.to_onnx.node import rank_of, reshape, shape_of
from workbench.formats.nnef.tract.extents import is_symbolic
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast, datum_type, dtype_of
from workbench.hub import Emitter
from workbench.lowering import Refused

_INT64_MAX = 2**63 - 1


def _column(e: Emitter, sizes: list[int] | ir.Value) -> ir.Value:
    return e.const(np.asarray(sizes, np.int64)) if isinstance(sizes, list) else sizes


def _named(value: ir.Value, start: int, sizes: object) -> ir.Value:
    """The value with its open sizes called as the text calls them."""
    if value.shape is not None and isinstance(sizes, list) and is_symbolic(sizes):
        dims: list[Any] = list(value.shape)
        for axis, size in enumerate(sizes, start):
            if axis < len(dims) and not isinstance(dims[axis], int) and (is_symbolic(size) or size > 0):
                dims[axis] = str(size) if is_symbolic(size) else size
        value.shape = ir.Shape(dims)
    return value


@TABLE.lowers("reshape")
def reshape_op(node: TractNode, e: Emitter) -> ir.Value:
    """Some of the axes in another shape; 0 keeps a size, -1 takes what is left."""
    x, shape = node.tensor("input"), node.sizes("shape")
    start, count = node.attr("axis_start"), node.attr("axis_count")
    rank = rank_of(x)
    end = rank if count == -1 else start + count
    if start == 0 and end == rank:
        whole = reshape(e, x, shape) if isinstance(shape, list) else e.op("Reshape", x, shape)
        return _named(whole, 0, node.operation.arguments["shape"])
    before = e.op("Shape", x, start=0, end=start)
    after = e.op("Shape", x, start=end, end=rank)
    middle = _column(e, shape)
    if isinstance(shape, list) and 0 in shape:
        kept = shape_of(x)
        middle = e.const([kept[start + i] if size == 0 else size for i, size in enumerate(shape)])
    made = e.op("Reshape", x, e.op("Concat", before, middle, after, axis=0))
    return _named(made, start, node.operation.arguments["shape"])


@TABLE.lowers("slice")
def slice_op(node: TractNode, e: Emitter) -> ir.Value:
    """A range of each axis, then every so many of it; a negative stride begins at the end of the range."""
    x, axes = node.tensor("input"), node.attr("axes")
    strides = node.attr("stride") or [1] * len(axes)
    begins, ends = node.operation.arguments["begin"], node.operation.arguments["end"]
    simple = not is_symbolic([begins, ends]) and all(type(item) is int for item in [*_items(begins), *_items(ends)])
    if not simple:
        return _between(e, x, axes, _column(e, node.sizes("begin")), _column(e, node.sizes("end")), strides)
    for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        extent = x.shape[axis] if x.shape is not None else None
        if begin == 0 and end == 0:
            raise Refused(f"axis {axis} is sliced from 0 to 0, where versions of tract differ")
        if isinstance(extent, int):
            begin, end = slice_bounds(extent, begin, end, 1)
        elif end == 0:
            end = _INT64_MAX
        x = _between(e, x, [axis], e.const([begin]), e.const([end]), [stride])
    return x


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _between(
    e: Emitter, x: ir.Value, axes: list[int], begins: ir.Value, ends: ir.Value, strides: list[int]
) -> ir.Value:
    part = e.op("Slice", x, begins, ends, e.const(axes), e.const([max(stride, 1) for stride in strides]))
    for axis, stride in zip(axes, strides, strict=True):
        if stride < 0:
            part = e.op("Slice", part, e.const([-1]), e.const([-_INT64_MAX]), e.const([axis]), e.const([stride]))
    return part


@TABLE.lowers("tract_core_dyn_slice")
def dyn_slice(node: TractNode, e: Emitter) -> ir.Value:
    """From ``start`` to ``end``; ``len`` says how long that is."""
    bounds = [e.op("Reshape", node.as_integers(node.tensor(name)), e.const([-1])) for name in ("start", "end")]
    return e.op("Slice", node.tensor("input"), *bounds, e.const([node.attr("axis")]))


@TABLE.lowers("tract_core_downsample")
def downsample(node: TractNode, e: Emitter) -> ir.Value:
    """Every ``stride``-th position, from ``modulo`` on."""
    x, axis, stride = node.tensor("input"), node.attr("axis"), node.attr("stride")
    begin, end = (node.attr("modulo"), _INT64_MAX) if stride > 0 else (-1, -_INT64_MAX)
    return e.op("Slice", x, e.const([begin]), e.const([end]), e.const([axis]), e.const([stride]))


@TABLE.lowers("tile")
def tile(node: TractNode, e: Emitter) -> ir.Value:
    """Repeat along each axis."""
    return e.op("Tile", node.tensor("input"), _column(e, node.sizes("repeats")))


@TABLE.lowers("tract_core_broadcast")
def broadcast(node: TractNode, e: Emitter) -> ir.Value:
    """To the shape; axes of size 1 are repeated."""
    made = e.op("Expand", node.tensor("input"), _column(e, node.sizes("shape")))
    return _named(made, 0, node.operation.arguments["shape"])


@TABLE.lowers("concat", "stack")
def concat(node: TractNode, e: Emitter) -> ir.Value:
    """Join along an axis, or a new one, in the dtype of the first."""
    values, axis = node.tensors("values"), node.attr("axis")
    values = [cast(e, value, dtype_of(values[0])) for value in values]
    if node.name == "stack":
        values = [e.op("Unsqueeze", value, e.const([axis])) for value in values]
    return e.op("Concat", *values, axis=axis)


@TABLE.lowers("pad")
def pad(node: TractNode, e: Emitter) -> ir.Value:
    """A border; tract calls the one that repeats the edge ``replicated``."""
    x, border = node.tensor("input"), node.attr("border")
    fill = e.const(np.asarray(node.attr("value")), dtype_of(x))
    return padded(e, x, node.attr("padding"), "replicate" if border == "replicated" else border, fill)


@TABLE.lowers("tract_core_gather")
def gather(node: TractNode, e: Emitter) -> ir.Value:
    """Pick along an axis; negative positions count from the end."""
    found = e.op("Gather", node.tensor("input"), node.as_integers(node.tensor("indices")), axis=node.attr("axis"))
    datum = node.attr("datum_type")
    return cast(e, found, datum_type(datum)) if datum else found


@TABLE.lowers("tract_core_gather_elements")
def gather_elements(node: TractNode, e: Emitter) -> ir.Value:
    """Each index picks along its own line."""
    indices = node.as_integers(node.tensor("indices"))
    return e.op("GatherElements", node.tensor("input"), indices, axis=node.attr("axis"))


@TABLE.lowers("tract_core_gather_nd")
def gather_nd(node: TractNode, e: Emitter) -> ir.Value:
    """Each row of indices picks a slice."""
    indices = node.as_integers(node.tensor("indices"))
    return e.op("GatherND", node.tensor("input"), indices, batch_dims=node.attr("batch_dims"))


@TABLE.lowers("tract_core_scatter_elements", "tract_core_scatter_nd")
def scatter(node: TractNode, e: Emitter) -> ir.Value:
    """Updates written at indices, or combined with what is there."""
    x, updates = node.tensor("input"), node.tensor("updates")
    wide = np.promote_types(dtype_of(x), dtype_of(updates)).name
    inputs = cast(e, x, wide), node.as_integers(node.tensor("indices")), cast(e, updates, wide)
    if node.name == "tract_core_scatter_nd":
        return e.op("ScatterND", *inputs, reduction=node.attr("reduction"))
    return e.op("ScatterElements", *inputs, axis=node.attr("axis"), reduction=node.attr("reduction"))


@TABLE.lowers("tract_core_trilu")
def trilu(node: TractNode, e: Emitter) -> ir.Value:
    """One triangle of the last two axes."""
    return e.op("Trilu", node.tensor("input"), node.as_integers(node.tensor("k")), upper=int(node.attr("upper")))


@TABLE.lowers("tract_core_one_hot")
def one_hot(node: TractNode, e: Emitter) -> ir.Value:
    """``value_on`` where the position is the index."""
    values = e.const(np.asarray([node.attr("value_off"), node.attr("value_on")]), "float32")
    return e.op("OneHot", node.tensor("input"), e.const([node.attr("dim")]), values, axis=node.attr("axis"))


@TABLE.lowers("tract_core_range")
def arange(node: TractNode, e: Emitter) -> ir.Value:
    """``start``, ``start + step``, … below ``end``."""
    bounds = [node.tensor(name) for name in ("start", "end", "step")]
    made = e.op("Range", *(e.op("Reshape", value, e.const(np.zeros(0, np.int64))) for value in bounds))
    given = node.operation.arguments
    return _named(made, 0, [given["end"]]) if (given["start"], given["step"]) == (0, 1) else made


@TABLE.lowers("tract_core_shape_of")
def shape(node: TractNode, e: Emitter) -> ir.Value:
    """The sizes of a tensor."""
    return e.op("Shape", node.tensor("input"))
