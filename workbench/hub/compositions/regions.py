"""The greatest elements in the cells of regions, whose edges are whole pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode


@composes("MaxRoiPool", since=22)
def maxroipool_22(node: HubNode, emit: Emitter) -> Any:
    """X [N, C, H, W], rois [R, 5] (picture, x1, y1, x2, y2) → [R, C, *pooled_shape].

    onnx defines neither how edges are rounded nor what an empty cell holds; onnxruntime has it as Fast R-CNN does
    (https://arxiv.org/abs/1504.08083): halves go away from zero, cells overlap, outside of the picture is nothing, and
    where there is nothing the result is 0.
    """
    k, x, rois = Kit(emit), node.value(0), node.value(1)
    scale, shape = node.attr_float("spatial_scale"), node.attr_ints("pooled_shape") or (1, 1)
    numbers = k.cast(rois, "float32")
    edges = _rounded(k, k("Mul", k.take(numbers, 1, 1, 5), scale))
    picture = k.cast(k("Squeeze", k.take(numbers, 1, 0, 1), [1]), "int64")
    found, empty = k("Gather", x, picture, axis=0), None
    least = np.asarray(-np.inf, dtype(x))
    for axis, first in ((3, 0), (2, 1)):  # columns, then rows of what is left of them
        cells = _cells(k, edges, first, shape[axis - 2], dims(x)[axis])  # [R, cells, size]
        parts = []
        for place in range(shape[axis - 2]):
            cell = k("Unsqueeze", k.take(cells, 1, place, place + 1), [3] if axis == 2 else [2])
            parts.append(k("ReduceMax", k("Where", cell, found, least), [axis], keepdims=1))
        found = k("Concat", *parts, axis=axis)
        full = k("ReduceMax", k.cast(cells, "int32"), [2], keepdims=0)
        full = k("Unsqueeze", full, [1, 2] if axis == 3 else [1, 3])
        empty = full if empty is None else k("Mul", empty, full)
    return k("Where", k("Equal", empty, 0), np.asarray(0, dtype(x)), found)


def _rounded(k: Kit, x: ir.Value) -> ir.Value:
    """Whole numbers; halves go away from zero."""
    size = k("Abs", x)
    whole = k("Floor", size)
    up = k.cast(k("GreaterOrEqual", k("Sub", size, whole), 0.5), "float32")
    return k("Mul", k("Sign", x), k("Add", whole, up))


def _cells(k: Kit, edges: ir.Value, first: int, count: int, size: int) -> ir.Value:
    """[R, count, size]: which of the pixels along an axis are in which cell."""
    start, end = (k.take(edges, 1, place, place + 1) for place in (first, first + 2))
    width = k("Max", k("Add", k("Sub", end, start), 1.0), 1.0)
    each = k("Div", width, float(count))  # [R, 1]
    places = np.arange(count + 1, dtype=np.float32)[None, :]
    low = k("Add", k("Floor", k("Mul", each, np.ascontiguousarray(places[:, :-1]))), start)
    high = k("Add", k("Ceil", k("Mul", each, np.ascontiguousarray(places[:, 1:]))), start)
    pixels = np.arange(size, dtype=np.float32)[None, None, :]
    after = k("GreaterOrEqual", pixels, k("Unsqueeze", low, [2]))
    return k("And", after, k("Less", pixels, k("Unsqueeze", high, [2])))
