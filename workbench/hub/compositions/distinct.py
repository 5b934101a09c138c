"""What is different among many: every element, or row, is compared with every other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, dtype, wanted
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_MOST = 1 << 24
"""Comparisons that are made at most: rows · rows · elements of a row."""


@composes("Unique", since=11)
def unique_11(node: HubNode, emit: Emitter) -> Any:
    """The rows along an axis (or the elements) that are different: sorted, or in the order of their first occurrence.

    Y, the places of their first occurrences, the place in Y of each row, and how often each occurs. As numpy has it,
    NaN is one number, and larger than all others.
    """
    if emit.open_shapes is None or not emit.open_shapes.measures:
        raise Refused(
            "how many values are different depends on values at run time",
            "end the model before it, and compute the rest where the model is used",
        )
    k, x, axis = Kit(emit), node.value(0), node.attr_int("axis", None)
    data = k.reshape(x, (-1,)) if axis is None else x
    along = 0 if axis is None else axis % len(dims(x))
    count = dims(data)[along]
    width = math.prod(dims(data)) // count
    if count * count * width > _MOST:
        raise Refused(f"{count:,} rows of {width:,} elements would take {count * count * width:,} comparisons")
    rows = k.reshape(k.moved(data, along, 0), (count, width))
    rows = k.cast(rows, "int32") if dtype(rows) == "bool" else rows
    places = np.arange(count, dtype=np.int64)
    order = _signs(k, k("Unsqueeze", rows, [1]), k("Unsqueeze", rows, [0]))  # of row i against row j
    same = k("Equal", order, 0)
    first = k("ReduceMin", k("Where", same, places[None, :], count), [1], keepdims=0)
    is_first = k("Equal", first, places)
    before = (
        k("Greater", order, 0) if node.attr_int("sorted") else k("Less", places[None, :], k("Unsqueeze", first, [1]))
    )
    rank = _counted(k, k("And", before, k("Unsqueeze", is_first, [0])))
    placed = k("And", k("Equal", k("Unsqueeze", rank, [0]), places[:, None]), k("Unsqueeze", is_first, [0]))
    slots = k("ReduceSum", k("Where", placed, places[None, :], 0), [1], keepdims=0)
    length = k("ReduceSum", k.cast(is_first, "int64"), keepdims=0)
    found = k("Gather", slots, k("Range", emit.const(0), length, emit.const(1)), axis=0)
    counts = k("Gather", _counted(k, same), found, axis=0) if wanted(node, 3) else None
    return [k("Gather", data, found, axis=along), found, rank, counts]


def _counted(k: Kit, truths: ir.Value) -> ir.Value:
    """[N, M] → [N]: in how many columns it holds."""
    return k("ReduceSum", k.cast(truths, "int64"), [1], keepdims=0)


def _signs(k: Kit, x: ir.Value, y: ir.Value) -> ir.Value:
    """−1, 0 or 1 [N, N] as a row of ``x`` [N, 1, M] is before, the same as, or after one of ``y`` [1, N, M]."""
    after, before = k("Greater", x, y), k("Less", x, y)
    if dtype(x) in ("float16", "float32", "float64"):
        odd, other = k("IsNaN", x), k("IsNaN", y)
        after = k("Or", after, k("And", odd, k("Not", other)))
        before = k("Or", before, k("And", other, k("Not", odd)))
    signs = k("Sub", k.cast(after, "int64"), k.cast(before, "int64"))
    if dims(signs)[2] == 1:
        return k("Squeeze", signs, [2])
    earlier = k("CumSum", k("Abs", signs), k.emit.const(2), exclusive=1)
    return k("ReduceSum", k("Where", k("Equal", earlier, 0), signs, 0), [2], keepdims=0)
