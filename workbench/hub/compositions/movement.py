"""Operators that put elements elsewhere, and small determinants."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_LARGEST = 6
"""Rows of the largest determinant: it takes n · 2ⁿ⁻¹ products."""


@composes("Col2Im", since=18)
def col2im_18(node: HubNode, emit: Emitter) -> Any:
    """[N, C · block, L] → [N, C, *image]: overlapping blocks are added, which is a transposed convolution.

    The kernel is of ones and zeros: exact for finite data.
    """
    k, x = Kit(emit), node.value(0)
    image, block = ([int(size) for size in node.require_constant(index)] for index in (1, 2))
    count = len(image)
    strides, dilations = (node.attr_ints(name) or (1,) * count for name in ("strides", "dilations"))
    pads = node.attr_ints("pads") or (0,) * 2 * count
    spare = [
        size + pads[axis] + pads[axis + count] - (dilations[axis] * (block[axis] - 1) + 1)
        for axis, size in enumerate(image)
    ]
    places = [extra // stride + 1 for extra, stride in zip(spare, strides, strict=True)]
    (batch, rows, _), taps = dims(x), math.prod(block)
    kernel = np.tile(np.eye(taps, dtype=np.float32).reshape(taps, 1, *block), (rows // taps, *(1,) * (count + 1)))
    data = k.reshape(x, (batch, rows, *places))
    left = [extra % stride for extra, stride in zip(spare, strides, strict=True)]
    return k(
        "ConvTranspose", data, kernel.astype(dtype(x)), group=rows // taps, strides=list(strides),
        dilations=list(dilations), pads=list(pads), output_padding=left,
    )  # fmt: skip


@composes("MaxUnpool", since=22)
def maxunpool_22(node: HubNode, emit: Emitter) -> Any:
    """Elements go where the pool took them from; with a larger ``output_shape`` zeros follow along each axis."""
    k, x = Kit(emit), node.value(0)
    kernel = node.attr_ints("kernel_shape") or ()
    strides, pads = node.attr_ints("strides") or (1,) * len(kernel), node.attr_ints("pads") or (0,) * 2 * len(kernel)
    sizes = [
        (size - 1) * strides[axis] - pads[axis] - pads[axis + len(kernel)] + kernel[axis]
        for axis, size in enumerate(dims(x)[2:])
    ]
    whole = (*dims(x)[:2], *sizes)
    zeros = np.zeros(math.prod(whole), dtype=dtype(x))
    made = k("ScatterElements", zeros, k.reshape(node.value(1), (-1,)), k.reshape(x, (-1,)), axis=0)
    made = k.reshape(made, whole)
    if node.input(2) is None:
        return made
    more = [int(size) - own for size, own in zip(node.require_constant(2), whole, strict=True)]
    if min(more) < 0:
        raise Refused(f"output_shape is smaller than {list(whole)}, which the pool was of")
    return k("Pad", made, [0] * len(more) + more) if any(more) else made


@composes("TensorScatter", since=24)
def tensorscatter_24(node: HubNode, emit: Emitter) -> Any:
    """Write ``update`` into the cache along an axis, from ``write_indices`` [batch] on; ``circular`` wraps around."""
    k, cache, update = Kit(emit), node.value(0), node.value(1)
    shape = dims(cache)
    axis = node.axis()
    size, count = shape[axis], dims(update)[axis]
    circular = node.attr_string("mode") == "circular"
    aligned = [1] * len(shape)
    aligned[axis] = size
    places: ir.Value = emit.const(np.arange(size, dtype=np.int64).reshape(aligned))
    if node.input(2) is not None:
        places = k("Sub", places, k.reshape(node.value(2), (shape[0], *(1,) * (len(shape) - 1))))
    if circular:
        places = k("Mod", places, size)
    written = k("Less", places, count)
    if not circular:
        written = k("And", written, k("GreaterOrEqual", places, 0))
    chosen = k("Expand", k("Clip", places, 0, count - 1), list(shape))
    return k("Where", written, k("GatherElements", update, chosen, axis=axis), cache)


@composes("CenterCropPad", since=18)
def centercroppad_18(node: HubNode, emit: Emitter) -> Any:
    """Cut or fill with zeros on both sides to the sizes: ⌊difference / 2⌋ at the beginning."""
    k, x = Kit(emit), node.value(0)
    shape = dims(x)
    axes = node.attr_ints("axes")
    axes = tuple(range(len(shape))) if axes is None else tuple(axis % len(shape) for axis in axes)
    before, after = [0] * len(shape), [0] * len(shape)
    found = x
    for axis, size in zip(axes, (int(size) for size in node.require_constant(1)), strict=True):
        spare = shape[axis] - size
        if spare > 0:
            found = k.take(found, axis, spare // 2, spare // 2 + size)
        elif spare < 0:
            before[axis], after[axis] = -spare // 2, -spare - (-spare // 2)
    return k("Pad", found, [*before, *after]) if any(before + after) else k("Identity", found)


@composes("Compress", since=11)
def compress_11(node: HubNode, emit: Emitter) -> Any:
    """Elements where the condition holds are gathered."""
    k, x = Kit(emit), node.value(0)
    axis, condition = node.attr_int("axis", None), node.constant(1)
    if condition is not None:
        places = emit.const(np.flatnonzero(condition).astype(np.int64))
    elif emit.open_shapes is not None and emit.open_shapes.measures:
        places = k("Squeeze", k("NonZero", node.value(1)), [0])
    else:
        raise Refused("how many elements it keeps depends on values at run time", "make the condition a constant")
    if axis is None:
        return k("Gather", k.reshape(x, (-1,)), places, axis=0)
    return k("Gather", x, places, axis=axis)


@composes("Det", since=22)
def det_22(node: HubNode, emit: Emitter) -> Any:
    """[*, n, n] → [*], n at most 6: expanded along the rows, each minor computed once."""
    k, x = Kit(emit), node.value(0)
    *batch, _, size = dims(x)
    if size > _LARGEST:
        raise Refused(f"a determinant of {size} rows would take {size * 2 ** (size - 1):,} products")
    flat = k.reshape(x, (math.prod(batch), size * size))

    def element(row: int, column: int) -> ir.Value:
        place = row * size + column
        return k.take(flat, 1, place, place + 1)

    minors: dict[tuple[int, ...], ir.Value] = {(column,): element(size - 1, column) for column in range(size)}
    for count in range(2, size + 1):
        row = size - count
        minors = {
            columns: _expanded(k, [element(row, column) for column in columns], minors, columns)
            for columns in itertools.combinations(range(size), count)
        }
    return k("Reshape", minors[tuple(range(size))], list(batch))


def _expanded(
    k: Kit, row: list[ir.Value], minors: dict[tuple[int, ...], ir.Value], columns: tuple[int, ...]
) -> ir.Value:
    total: ir.Value | None = None
    for place, element in enumerate(row):
        term = k("Mul", element, minors[columns[:place] + columns[place + 1 :]])
        total = term if total is None else k("Sub" if place % 2 else "Add", total, term)
    assert total is not None
    return total
