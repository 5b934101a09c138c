"""Operations on shapes (NNEF 1.0.5, section 4.4), and the declarations of tensors (4.1)."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.formats.nnef.shapes import reshaped, slice_bounds
from workbench.formats.nnef.to_onnx.node import TABLE, NnefNode, rank_of, reshape, scalar_const, shape_of
from workbench.hub import Emitter
from workbench.lowering import Refused

_INT64_MAX, _INT64_MIN = 2**63 - 1, -(2**63)


@TABLE.lowers("constant")
def constant(node: NnefNode, e: Emitter) -> ir.Value:
    """A constant of the shape; one value fills it."""
    values = np.asarray(node.attr("value"), dtype=node.dtype(node.operation.dtype))
    shape = tuple(node.attr("shape"))
    limits.check("folded_elements", math.prod(shape), "elements of a constant")
    return e.const(np.full(shape, values[0]) if values.size == 1 else values.reshape(shape))


@TABLE.lowers("update")
def update(node: NnefNode, e: Emitter) -> ir.Value:
    """The new value, which the engine makes an output too (docs/decisions/007)."""
    return e.op("Identity", node.tensor("value"))


@TABLE.lowers("reshape")
def reshape_op(node: NnefNode, e: Emitter) -> ir.Value:
    """Reshape some of the axes; 0 keeps an extent, -1 takes what is left."""
    x, shape = node.tensor("input"), node.attr("shape")
    start, count = node.attr("axis_start"), node.attr("axis_count")
    if start == 0 and count == -1:
        return reshape(e, x, shape)
    return reshape(e, x, reshaped(shape_of(x), shape, start, count))


@TABLE.lowers("transpose")
def transpose(node: NnefNode, e: Emitter) -> ir.Value:
    """Permute the leading axes; those not named stay where they are."""
    axes = node.attr("axes")
    return e.op("Transpose", node.tensor("input"), perm=[*axes, *range(len(axes), rank_of(node.tensor("input")))])


@TABLE.lowers("concat")
def concat(node: NnefNode, e: Emitter) -> ir.Value:
    """Join along an axis."""
    return e.op("Concat", *node.tensors("values"), axis=node.attr("axis"))


@TABLE.lowers("stack")
def stack(node: NnefNode, e: Emitter) -> ir.Value:
    """Join along a new axis."""
    axis = e.const([node.attr("axis")])
    return e.op("Concat", *(e.op("Unsqueeze", value, axis) for value in node.tensors("values")), axis=node.attr("axis"))


@TABLE.lowers("split")
def split(node: NnefNode, e: Emitter) -> list[list[ir.Value]]:
    """Cut along an axis in the given ratios."""
    value, axis, ratios = node.tensor("value"), node.attr("axis"), node.attr("ratios")
    unit = shape_of(value)[axis] // sum(ratios)
    sizes = e.const([unit * ratio for ratio in ratios])
    return [e.ops("Split", value, sizes, outputs=len(ratios), axis=axis)]


@TABLE.lowers("unstack")
def unstack(node: NnefNode, e: Emitter) -> list[list[ir.Value]]:
    """Cut along an axis into slices without that axis."""
    value, axis = node.tensor("value"), node.attr("axis")
    count = shape_of(value)[axis]
    parts = e.ops("Split", value, e.const([1] * count), outputs=count, axis=axis)
    return [[e.op("Squeeze", part, e.const([axis])) for part in parts]]


@TABLE.lowers("slice")
def slice_op(node: NnefNode, e: Emitter) -> ir.Value:
    """A range of each axis; ``end = 0`` means the end where the stride is 1."""
    x, axes = node.tensor("input"), node.attr("axes")
    strides = node.attr("stride") or [1] * len(axes)
    begins, ends = [], []
    for axis, begin, end, stride in zip(axes, node.attr("begin"), node.attr("end"), strides, strict=True):
        extent = x.shape[axis] if x.shape is not None else None
        if isinstance(extent, int):
            first, last = slice_bounds(extent, begin, end, stride)
            begins.append(first)
            ends.append(_INT64_MIN if last < 0 else last)
        elif stride < 0:
            raise Refused(f"axis {axis} is sliced backwards and its extent is not fixed")
        else:
            begins.append(begin)
            ends.append(_INT64_MAX if end == 0 and stride == 1 else end)
    return e.op("Slice", x, e.const(begins), e.const(ends), e.const(axes), e.const(strides)) if axes else x


@TABLE.lowers("squeeze")
def squeeze(node: NnefNode, e: Emitter) -> ir.Value:
    """Remove axes of extent 1."""
    axes = node.attr("axes")
    return e.op("Squeeze", node.tensor("input"), e.const(axes)) if axes else node.tensor("input")


@TABLE.lowers("unsqueeze")
def unsqueeze(node: NnefNode, e: Emitter) -> ir.Value:
    """Insert axes of extent 1."""
    axes = node.attr("axes")
    return e.op("Unsqueeze", node.tensor("input"), e.const(axes)) if axes else node.tensor("input")


@TABLE.lowers("tile")
def tile(node: NnefNode, e: Emitter) -> ir.Value:
    """Repeat along each axis."""
    return e.op("Tile", node.tensor("input"), e.const(node.attr("repeats")))


@TABLE.lowers("gather")
def gather(node: NnefNode, e: Emitter) -> ir.Value:
    """Pick slices along an axis."""
    return e.op("Gather", node.tensor("input"), node.tensor("indices"), axis=node.attr("axis"))


@TABLE.lowers("pad")
def pad(node: NnefNode, e: Emitter) -> ir.Value:
    """Add a border; see :func:`padded`."""
    fill = scalar_const(node, e, node.attr("value"))
    return padded(e, node.tensor("input"), node.attr("padding"), node.attr("border"), fill)


def padded(
    e: Emitter, x: ir.Value, padding: list[tuple[int, int]], border: str, fill: ir.Value | None = None
) -> ir.Value:
    """Add a border to every axis.

    ``constant`` fills, ``replicate`` repeats the edge, ``reflect`` mirrors without the edge, ``reflect-even`` with it.

    Raises:
        Refused: another border mode.
    """
    if all(pair == (0, 0) for pair in padding):
        return x
    if border == "reflect-even":
        return _mirrored(e, x, padding)
    modes = {"constant": "constant", "replicate": "edge", "reflect": "reflect"}
    if border not in modes:
        raise Refused(f"the border mode {border!r} is not one of constant, replicate, reflect, reflect-even")
    pads = e.const([before for before, _ in padding] + [after for _, after in padding])
    return e.op("Pad", x, pads, fill if border == "constant" else None, mode=modes[border])


def _mirrored(e: Emitter, x: ir.Value, padding: list[tuple[int, int]]) -> ir.Value:
    for axis, (before, after) in enumerate(padding):
        if (before, after) != (0, 0):
            extent = shape_of(x)[axis]
            limits.check("folded_elements", extent + before + after, "positions of a mirrored border")
            positions = np.arange(-before, extent + after) % (2 * extent)
            indices = np.where(positions < extent, positions, 2 * extent - 1 - positions)
            x = e.op("Gather", x, e.const(indices), axis=axis)
    return x
