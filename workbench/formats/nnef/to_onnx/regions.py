"""Regions of interest (NNEF 1.0.5, section 4.6), as docs/decisions/018 reads it.

A row of ``rois`` is ``y0, x0, y1, x1``: begins and ends of the region, the ends not included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import TABLE, NnefNode, rank_of, reshape, scalar_const, shape_of
from workbench.hub import Emitter
from workbench.lowering import Refused

Take = Callable[[int, ir.Value, ir.Value, int], ir.Value]
"""``take(axis, lines, owner, extent)``: of lines [owners · extent, …] those along an axis of the regions, [n, p, …]."""


def _along_both(node: NnefNode, e: Emitter, size: list[int], take: Take) -> ir.Value:
    """Take rows, then columns: ``[n, channels, *size]``."""
    x, count = node.tensor("input"), shape_of(node.tensor("rois"))[0]
    if rank_of(x) != 4:
        raise Refused("regions of other than two spatial axes have no counterpart")
    _, channels, height, width = shape_of(x)
    rows = reshape(e, e.op("Transpose", x, perm=[0, 2, 1, 3]), [-1, channels * width])
    found = take(0, rows, reshape(e, node.tensor("batch_index"), [-1]), height)
    found = reshape(e, found, [count, size[0] * channels, width])
    columns = reshape(e, e.op("Transpose", found, perm=[0, 2, 1]), [-1, size[0] * channels])
    found = take(1, columns, e.const(np.arange(count)), width)
    return e.op("Transpose", reshape(e, found, [count, size[1], size[0], channels]), perm=[0, 3, 2, 1])


def _bounds(node: NnefNode, e: Emitter, axis: int) -> tuple[ir.Value, ir.Value]:
    """Where the regions begin and end on an axis, ``[n, 1]`` each."""
    begin, end = (e.op("Gather", node.tensor("rois"), e.const([place]), axis=1) for place in (axis, axis + 2))
    return begin, end


def _picked(e: Emitter, lines: ir.Value, owner: ir.Value, places: ir.Value, extent: int) -> ir.Value:
    """The lines at places ``[n, p, k]`` (int64) of their owners' extent, nearest ones where they lie outside."""
    inside = e.op("Clip", places, e.const(0), e.const(extent - 1))
    first = e.op("Mul", reshape(e, owner, [-1, 1, 1]), e.const(extent))
    return e.op("Gather", lines, e.op("Add", first, inside), axis=0)


# pooling


@TABLE.lowers("avg_roi_pool", "max_roi_pool")
def roi_pool(node: NnefNode, e: Emitter) -> ir.Value:
    """The mean or maximum of each cell of a region of whole elements.

    A region of extent ``r`` has ``p`` cells of ``ceil(r / p)`` elements, ``floor(r / p)`` apart.
    """
    wanted = node.attr("output_size")

    def take(axis: int, lines: ir.Value, owner: ir.Value, extent: int) -> ir.Value:
        whole = int(ir.DataType.INT64.value)
        begin, end = (e.op("Cast", e.op("Round", bound), to=whole) for bound in _bounds(node, e, axis))
        span, parts = e.op("Sub", end, begin), e.const(wanted[axis])
        size = e.op("Unsqueeze", e.op("Div", e.op("Add", span, e.const(wanted[axis] - 1)), parts), e.const([2]))
        start = e.op("Add", begin, e.op("Mul", e.op("Div", span, parts), e.const(np.arange(wanted[axis])[None])))
        step = e.const(np.arange(-(-extent // wanted[axis]))[None, None])  # larger cells would be of a larger region
        values = _picked(e, lines, owner, e.op("Add", e.op("Unsqueeze", start, e.const([2])), step), extent)
        return _pooled(node, e, values, e.op("Unsqueeze", e.op("Less", step, size), e.const([3])), size)

    return _along_both(node, e, wanted, take)


def _pooled(node: NnefNode, e: Emitter, values: ir.Value, inside: ir.Value, size: ir.Value) -> ir.Value:
    mean = node.name == "avg_roi_pool"
    cells = e.op("Where", inside, values, scalar_const(node, e, 0.0 if mean else -np.inf))
    found = e.op("ReduceSum" if mean else "ReduceMax", cells, e.const([2]), keepdims=0)
    return e.op("Div", found, e.op("CastLike", size, found)) if mean else found


# resampling


@TABLE.lowers("roi_resample")
def roi_resample(node: NnefNode, e: Emitter) -> ir.Value:
    """See :func:`resampled`."""
    return resampled(node, e, node.attr("output_size"), node.attr("method"))


@TABLE.lowers("avg_roi_align", "max_roi_align")
def roi_align(node: NnefNode, e: Emitter) -> ir.Value:
    """Resampled to ``sampling_rate`` as many elements, of which the mean or maximum is taken."""
    rate = node.attr("sampling_rate")
    fine = [extent * samples for extent, samples in zip(node.attr("output_size"), rate, strict=True)]
    samples = resampled(node, e, fine, node.attr("resize_method"))
    operator = "AveragePool" if node.name == "avg_roi_align" else "MaxPool"
    return e.op(operator, samples, kernel_shape=rate, strides=rate)


def resampled(node: NnefNode, e: Emitter, size: list[int], method: str) -> ir.Value:
    """Linearly interpolated at ``size`` places of each axis of a region; beyond the picture its edge goes on."""

    def take(axis: int, lines: ir.Value, owner: ir.Value, extent: int) -> ir.Value:
        begin, end = _bounds(node, e, axis)
        scale, shift = _places(method, size[axis])
        span = e.op("Sub", end, begin) if method != "aligned" else e.op("Sub", e.op("Sub", end, begin), one)
        place = e.op("Add", begin, e.op("Mul", span, e.const(scale[None], node.scalar)))
        place = e.op("Clip", e.op("Add", place, scalar_const(node, e, shift)), zero, scalar_const(node, e, extent - 1))
        low = e.op("Floor", place)
        share = e.op("Unsqueeze", e.op("Sub", place, low), e.const([2, 3]))
        both = e.op("Add", e.op("Unsqueeze", low, e.const([2])), e.const(np.asarray([0.0, 1.0]), node.scalar))
        values = _picked(e, lines, owner, e.op("Cast", both, to=int(ir.DataType.INT64.value)), extent)
        near, far = e.ops("Split", values, outputs=2, axis=2, num_outputs=2)
        mixed = e.op("Add", e.op("Mul", near, e.op("Sub", one, share)), e.op("Mul", far, share))
        return e.op("Squeeze", mixed, e.const([2]))

    zero, one = scalar_const(node, e, 0.0), scalar_const(node, e, 1.0)
    return _along_both(node, e, size, take)


def _places(method: str, count: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float]:
    """Where in a region of extent 1 samples lie, and what is added behind its scaling."""
    steps = np.arange(count, dtype=np.float64)
    if method == "symmetric":
        return (steps + 0.5) / count, -0.5
    if method == "asymmetric":
        return steps / count, 0.0
    if method != "aligned":
        raise Refused(f"the method {method!r} is not one of symmetric, asymmetric, aligned")
    if count == 1:
        raise Refused("corners cannot be aligned where one sample is wanted")
    return steps / (count - 1), 0.0
