"""Non-maximum suppression: the boxes that no better box overlaps, in fixed places.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS15.tensor_operation.non_maximum_suppression
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused

_INT64 = ir.DataType.INT64.value
_FAR = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Suppression:
    """How boxes are chosen.

    Attributes:
        most: how many places there are, int64 ``[1]``.
        overlap: intersection over union above which the box with the lower score is dropped, float32 ``[1]``.
        score: boxes with a score below it are rejected before, float32 ``[1]``; ``None`` keeps all.
        per_class: boxes only drop others of their own class, the one with their highest score.
    """

    most: ir.Value
    overlap: ir.Value
    score: ir.Value | None = None
    per_class: bool = False


def check(most: float | None, overlap: float | None) -> None:
    """Refuse numbers, as far as they are known, that say nothing."""
    if overlap is not None and overlap < 0:
        raise Refused(f"iou_threshold = {overlap}: an overlap is not negative")
    if most is not None:
        bounded(int(most), "the boxes of a suppression")


def suppressed(emit: Emitter, boxes: ir.Value, scores: ir.Value, how: Suppression) -> Sequence[ir.Value]:
    """The chosen boxes in descending order of their highest score; if all are rejected, the best one alone.

    Args:
        boxes: ``[n, B, 4]``: centre x and y, width and height; float32.
        scores: ``[n, B, K]``, float32.

    Returns:
        Boxes ``[n, most, 4]`` and scores ``[n, most, K]`` with zeros in the places that are left, indices
        ``[n, most]`` (int32) with -1 there, and the number of boxes chosen ``[n]`` (int32).
    """
    best = emit.op("ReduceMax", scores, emit.const([-1]), keepdims=0)
    kept = _or_best(emit, _kept(emit, boxes, scores, best, how), best)
    places = _places(emit, best, kept, how.most)
    count = emit.op("ReduceSum", emit.op("Cast", kept, to=_INT64), emit.const([-1]), keepdims=1)
    count = emit.op("Min", count, how.most)
    numbers = emit.op("Range", emit.const(0), emit.op("Squeeze", how.most), emit.const(1))
    taken = emit.op("Less", numbers, count)
    chosen = emit.op("Where", taken, places, emit.const(-1))
    return (
        _gathered(emit, boxes, places, taken),
        _gathered(emit, scores, places, taken),
        emit.op("Cast", chosen, to=ir.DataType.INT32.value),
        emit.op("Cast", emit.op("Squeeze", count, emit.const([-1])), to=ir.DataType.INT32.value),
    )


def _kept(emit: Emitter, boxes: ir.Value, scores: ir.Value, best: ir.Value, how: Suppression) -> ir.Value:
    """Which boxes survive, bool ``[n, B]``."""
    rejected = emit.const(-np.inf, "float32")
    ranked = best
    if how.score is not None:
        ranked = emit.op("Where", emit.op("GreaterOrEqual", best, how.score), best, rejected)
    ranked = emit.op("Unsqueeze", ranked, emit.const([1]))  # [n, 1, B]
    if how.per_class:
        classes = emit.op("Shape", scores, start=2, end=3)
        numbers = emit.op("Range", emit.const(0), emit.op("Squeeze", classes), emit.const(1))
        own = emit.op("ArgMax", scores, axis=-1, keepdims=0)
        of_class = emit.op(
            "Equal", emit.op("Unsqueeze", own, emit.const([1])), emit.op("Reshape", numbers, emit.const([1, -1, 1]))
        )
        ranked = emit.op("Where", of_class, ranked, rejected)  # [n, K, B]
    found = emit.op(
        "NonMaxSuppression", boxes, ranked, how.most, emit.op("Min", how.overlap, emit.const(1.0)),
        emit.const([_FAR]), center_point_box=1,
    )  # fmt: skip
    pairs = emit.op("Gather", found, emit.const([0, 2]), axis=1)  # batch and box
    ones = emit.op("Expand", emit.const(1), emit.op("Shape", found, start=0, end=1))
    nothing = emit.op("Expand", emit.const(0), emit.op("Shape", best))
    return emit.op("Cast", emit.op("ScatterND", nothing, pairs, ones), to=ir.DataType.BOOL.value)


def _or_best(emit: Emitter, kept: ir.Value, best: ir.Value) -> ir.Value:
    """Where nothing is kept: the box with the highest score."""
    total = emit.op("ReduceSum", emit.op("Cast", kept, to=_INT64), emit.const([-1]), keepdims=1)
    size = emit.op("Squeeze", emit.op("Shape", best, start=1, end=2))
    numbers = emit.op("Range", emit.const(0), size, emit.const(1))
    first = emit.op("Equal", numbers, emit.op("ArgMax", best, axis=-1, keepdims=1))
    return emit.op("Or", kept, emit.op("And", first, emit.op("Equal", total, emit.const(0))))


def _places(emit: Emitter, best: ir.Value, kept: ir.Value, most: ir.Value) -> ir.Value:
    """Indices of the kept boxes, best first, ``[n, most]``; the places behind them hold valid or invalid indices."""
    ranked = emit.op("Where", kept, best, emit.const(-np.inf, "float32"))
    amounts = emit.op("Concat", emit.const([0, 0, 0]), most, axis=0)
    ranked = emit.op("Pad", ranked, amounts, emit.const(-np.inf, "float32"))
    return emit.ops("TopK", ranked, most, axis=-1, outputs=2)[1]


def _gathered(emit: Emitter, rows: ir.Value, places: ir.Value, taken: ir.Value) -> ir.Value:
    """Rows ``[n, B, K]`` at the places, zeros where none is taken."""
    safe = emit.op("Unsqueeze", emit.op("Where", taken, places, emit.const(0)), emit.const([-1]))
    found = emit.op("GatherND", rows, safe, batch_dims=1)
    return emit.op("Where", emit.op("Unsqueeze", taken, emit.const([-1])), found, emit.const(0.0))


def _how(op: MilOperation, emit: Emitter, score: float | None) -> Suppression:
    most, overlap = op.integer("max_boxes"), op.number("iou_threshold")
    check(most, overlap)
    least = None if score is None else emit.const([score])
    return Suppression(emit.const([most]), emit.const([overlap]), least, op.flag("per_class_suppression", False))


@mil.lowers("non_maximum_suppression")
def non_maximum_suppression_15(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """Boxes ``[n, B, 4]`` and scores ``[n, B, K]``; four outputs."""
    how = _how(op, emit, op.number("score_threshold"))
    return suppressed(emit, op.value("boxes"), op.value("scores"), how)


@mil.lowers("non_maximum_suppression", since=17)
def non_maximum_suppression_17(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """Boxes ``[n, 4, B]`` and scores ``[n, K, B]``, no threshold of scores; three outputs, the boxes last as well."""
    boxes, scores = (emit.op("Transpose", op.value(name), perm=[0, 2, 1]) for name in ("boxes", "scores"))
    found, best, indices, _ = suppressed(emit, boxes, scores, _how(op, emit, None))
    return (*(emit.op("Transpose", rows, perm=[0, 2, 1]) for rows in (found, best)), indices)
