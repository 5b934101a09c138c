"""Non-maximum suppression as ONNX defines it: MIL's own has other boxes, thresholds and results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.collecting import Rows
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused

_GONE = np.float32(-np.inf)
"""In the place of the score of a box that is selected, suppressed, or below the threshold."""


@dataclass(frozen=True)
class _Boxes:
    """Edges and areas: each [batch, 1, boxes], or [batch, classes, 1] of one box for each class."""

    top: Var
    left: Var
    bottom: Var
    right: Var
    area: Var


@lowers("NonMaxSuppression", since=11)
def nonmaxsuppression_11(node: HubNode, t: ProgramTarget) -> Any:
    """boxes [batch, boxes, 4], scores [batch, classes, boxes] → [selected, 3] of batch, class, box.

    In each step of a loop every class selects the box of the highest score that is left (of equal ones the first), and
    drops those that overlap with it. https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html
    """
    t.measures(node)
    batch, classes, count = node.shape(node.value(1))
    steps, most = _steps(node, t, count)
    boxes, overlap = _boxes(node, t), _threshold(node, t, 3, 0.0)
    scores = _scores(node, t)
    chosen = Rows((steps, batch, classes), "int32")
    places = t.const(np.arange(count, dtype=np.int32).reshape(1, 1, count), "places")

    def going(step: Var, *_: Var) -> Var:
        with t.nested():
            return t.op(
                "less", x=step, y=np.int32(steps) if most is None else t.op("minimum", x=most, y=np.int32(steps))
            )

    def select(step: Var, left: Var, held: Var) -> list[Var]:
        with t.nested():
            top = t.op("reduce_max", x=left, axes=[2], keep_dims=True)
            highest = t.op("equal", x=left, y=top)
            best = t.op("select", cond=highest, a=t.broadcast(places, (batch, classes, count)), b=np.int32(count))
            best = t.op("reduce_min", x=best, axes=[2], keep_dims=True)
            gone = t.op("logical_or", x=_overlapping(t, boxes, best, overlap), y=t.op("equal", x=places, y=best))
            found = t.op("select", cond=t.op("greater", x=top, y=_GONE), a=best, b=np.int32(-1))
            rest = t.op("select", cond=gone, a=_GONE, b=left)
            return [t.op("add", x=step, y=np.int32(1)), rest, chosen.write(t, held, step, found)]

    start = (t.const(np.int32(0), "step"), scores, t.op("add", x=chosen.begin(t), y=np.int32(-1)))
    made = t.op("while_loop", _cond=going, _body=select, loop_vars=tuple(map(t.opaque, start)))
    return _listed(t, t.op("transpose", x=made[2], perm=[1, 2, 0]))


def _listed(t: ProgramTarget, chosen: Var) -> Var:
    """[batch, classes, steps] of boxes, −1 for none → [selected, 3]."""
    places = t.op("non_zero", x=t.op("greater_equal", x=chosen, y=np.int32(0)))
    boxes = t.op("expand_dims", x=t.op("gather_nd", x=chosen, indices=places), axes=[1])
    labels = t.op("slice_by_index", x=places, begin=[0, 0], end=[0, 2], end_mask=[True, False])
    return t.op("concat", values=[labels, boxes], axis=1)


def _steps(node: HubNode, t: ProgramTarget, count: int) -> tuple[int, Var | None]:
    """How many boxes a class selects at most; and the value that says so where only a run tells."""
    known = node.constant(2)
    if node.input(2) is not None and known is None:
        return count, t.reshape(t.var(node.value(2)), ())
    most = 0 if known is None else int(known.item())
    if most < 1:
        raise Refused("it selects no boxes at all: Core ML has no empty tensors", "state max_output_boxes_per_class")
    return min(most, count), None


def _threshold(node: HubNode, t: ProgramTarget, index: int, default: float) -> Any:
    return np.float32(default) if node.input(index) is None else t.reshape(t.var(node.value(index)), ())


def _scores(node: HubNode, t: ProgramTarget) -> Var:
    """The scores; of boxes that are none, minus infinity, which no other has."""
    scores = t.var(node.value(1))
    if node.input(4) is None:
        return t.op("maximum", x=scores, y=np.finfo(np.float32).min)
    above = t.op("greater", x=scores, y=_threshold(node, t, 4, 0.0))
    return t.op("select", cond=above, a=scores, b=_GONE)


def _boxes(node: HubNode, t: ProgramTarget) -> _Boxes:
    batch, count, _ = node.shape(node.value(0))
    parts = t.op("split", x=t.var(node.value(0)), num_splits=4, axis=2)
    one, two, three, four = (t.reshape(part, (batch, 1, count)) for part in parts)
    if node.attr_int("center_point_box"):  # x, y, width, height
        half = [t.op("mul", x=size, y=np.float32(0.5)) for size in (four, three)]
        low = [t.op("sub", x=middle, y=size) for middle, size in zip((two, one), half, strict=True)]
        high = [t.op("add", x=middle, y=size) for middle, size in zip((two, one), half, strict=True)]
    else:  # y, x of two corners in any order
        pairs = ((one, three), (two, four))
        low, high = ([t.op(which, x=a, y=b) for a, b in pairs] for which in ("minimum", "maximum"))
    sides = [t.op("sub", x=above, y=below) for above, below in zip(high, low, strict=True)]
    return _Boxes(low[0], low[1], high[0], high[1], t.op("mul", x=sides[0], y=sides[1]))


def _overlapping(t: ProgramTarget, boxes: _Boxes, best: Var, threshold: Any) -> Var:
    """[batch, classes, boxes]: whether a box overlaps with the best of the class by more than the threshold."""
    batch, classes, _ = t.shape(best)
    index = t.reshape(best, (batch, classes))

    def picked(numbers: Var) -> Var:
        row = t.reshape(numbers, (batch, t.shape(numbers)[2]))
        return t.reshape(t.op("gather_along_axis", x=row, indices=index, axis=1), (batch, classes, 1))

    own = _Boxes(*map(picked, (boxes.top, boxes.left, boxes.bottom, boxes.right, boxes.area)))
    sides = []
    for low, high in (("top", "bottom"), ("left", "right")):
        start = t.op("maximum", x=getattr(own, low), y=getattr(boxes, low))
        end = t.op("minimum", x=getattr(own, high), y=getattr(boxes, high))
        sides.append(t.op("relu", x=t.op("sub", x=end, y=start)))
    common = t.op("mul", x=sides[0], y=sides[1])
    union = t.op("sub", x=t.op("add", x=own.area, y=boxes.area), y=common)
    zero = np.float32(0)
    real = t.op("greater", x=common, y=zero)
    for size in (own.area, boxes.area, union):
        real = t.op("logical_and", x=real, y=t.op("greater", x=size, y=zero))
    share = t.op(
        "real_div", x=common, y=t.op("select", cond=t.op("greater", x=union, y=zero), a=union, b=np.float32(1))
    )
    return t.op("logical_and", x=real, y=t.op("greater", x=share, y=threshold))
