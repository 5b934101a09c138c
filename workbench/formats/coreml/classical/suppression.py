"""The non-maximum suppression model that stands behind an object detector in a pipeline.

https://apple.github.io/coremltools/mlmodel/Format/NonMaximumSuppression.html
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.table import Kind, doubles, kinds
from workbench.formats.coreml.interface import Feature
from workbench.hub import Emitter, dims_of

_FLOAT = ir.DataType.FLOAT.value
_FAR = float(np.finfo(np.float32).min)


@kinds.lowers("nonMaximumSuppression")
def non_maximum_suppression(kind: Kind, emit: Emitter) -> Mapping[str, ir.Value]:
    """Confidences ``[N, C]`` and boxes ``[N, 4]`` (centre and size) → those that are kept, the most confident first.

    A box's confidence is its greatest one. Boxes below the threshold are dropped; so are those that a more confident
    box overlaps by more than the other threshold (with ``perClass``: one whose greatest confidence is of the same
    class). Both thresholds may be inputs. Outputs of a stated number of rows are cut off, or filled up with zeros.

    Boxes are compared in float32, the only precision that ONNX suppresses in; the results keep their own.
    """
    parameters = kind.parameters
    names = (parameters.confidenceInputFeatureName, parameters.coordinatesInputFeatureName)
    missing = next((name for name in names if name not in kind.inputs), None)
    if missing is not None:
        raise kind.error(f"its input {missing!r} is not described")
    confidences, boxes = (kind.inputs[name] for name in names)
    if any(len(dims_of(value) or (0, 0)) != 2 for value in (confidences, boxes)):
        raise kind.error("confidences and boxes are not both of rank 2")
    overlap = _threshold(kind, emit, "iouThreshold")
    least = _threshold(kind, emit, "confidenceThreshold")
    best = emit.op("ReduceMax", confidences, emit.const([-1]), keepdims=0)
    confident = emit.op("GreaterOrEqual", best, emit.op("CastLike", least, best))
    places = _kept(emit, confidences, boxes, best, confident, overlap, parameters.pickTop.perClass)
    ranked = _by_confidence(emit, best, places)
    results = (parameters.confidenceOutputFeatureName, parameters.coordinatesOutputFeatureName)
    outputs = {feature.name: feature for feature in kind.interface.outputs}
    absent = next((name for name in results if name not in outputs), None)
    if absent is not None:
        raise kind.error(f"its output {absent!r} is not described")
    low, high = _rows([outputs[name] for name in results])
    kind.bounded(low, "the rows of its outputs")
    rows = [emit.op("Gather", value, ranked, axis=0) for value in (confidences, boxes)]
    return {name: _sized(emit, value, low, high) for name, value in zip(results, rows, strict=True)}


def _threshold(kind: Kind, emit: Emitter, name: str) -> ir.Value:
    """An input if there is one, else the parameter; ``[1]``."""
    feature = getattr(kind.parameters, f"{name}InputFeatureName")
    if feature in kind.inputs:
        return kind.numbers(emit, kind.inputs[feature])
    return doubles(emit, [getattr(kind.parameters, name)])


def thresholds(parameters: object) -> dict[str, float]:
    """Inputs that are thresholds → what they are where they are not given."""
    names = {name: getattr(parameters, f"{name}InputFeatureName") for name in ("iouThreshold", "confidenceThreshold")}
    return {feature: float(getattr(parameters, name)) for name, feature in names.items() if feature}


def _kept(
    emit: Emitter, confidences: ir.Value, boxes: ir.Value, best: ir.Value, confident: ir.Value, overlap: ir.Value,
    per_class: bool,
) -> ir.Value:  # fmt: skip
    """The places of the boxes that survive, ``[n]``, each once, in any order."""
    rejected = emit.const(-np.inf, "float32")
    scores = emit.op("Where", confident, emit.op("Cast", best, to=_FLOAT), rejected)  # [N]
    if per_class:
        count = emit.op("Squeeze", emit.op("Shape", confidences, start=1))
        classes = emit.op("Unsqueeze", emit.op("Range", emit.const(0), count, emit.const(1)), emit.const([1]))
        own = emit.op("Equal", classes, emit.op("ArgMax", confidences, axis=1, keepdims=0))
        scores = emit.op("Unsqueeze", emit.op("Where", own, scores, rejected), emit.const([0]))  # [1, C, N]
    else:
        scores = emit.op("Unsqueeze", scores, emit.const([0, 1]))
    all_boxes = emit.op("Unsqueeze", emit.op("Cast", boxes, to=_FLOAT), emit.const([0]))
    most = emit.op("Shape", best)
    found = emit.op(
        "NonMaxSuppression", all_boxes, scores, most, emit.op("Cast", overlap, to=_FLOAT), emit.const([_FAR]),
        center_point_box=1,
    )  # fmt: skip
    return emit.op("Gather", found, emit.const(2), axis=1)


def _by_confidence(emit: Emitter, best: ir.Value, places: ir.Value) -> ir.Value:
    """The places, the most confident first; of equal ones the first."""
    ones = emit.op("Expand", emit.const(1), emit.op("Shape", places))
    nothing = emit.op("Expand", emit.const(0), emit.op("Shape", best))
    column = emit.op("Unsqueeze", places, emit.const([-1]))
    kept = emit.op("Cast", emit.op("ScatterND", nothing, column, ones), to=ir.DataType.BOOL.value)
    ranked = emit.op("Where", kept, best, emit.op("CastLike", doubles(emit, -np.inf), best))
    return emit.ops("TopK", ranked, emit.op("Shape", places), axis=0, outputs=2)[1]


def _rows(features: list[Feature]) -> tuple[int, int]:
    """The least and the greatest number of rows that outputs have; the greatest is -1 where none is stated."""
    low, high = 0, -1
    for feature in features:
        if feature.sizes:
            least, most = feature.sizes[0]
        elif feature.shape is not None and feature.shape[0] > 0:
            least = most = feature.shape[0]
        else:
            continue
        low, high = max(low, least), most if high < 0 else min(high, most) if most >= 0 else high
    return low, high


def _sized(emit: Emitter, rows: ir.Value, low: int, high: int) -> ir.Value:
    """``[n, K]`` with at least ``low`` rows, zeros behind, and at most ``high``."""
    if high >= 0:
        rows = emit.op("Slice", rows, emit.const([0]), emit.const([high]), emit.const([0]))
    if low <= 0:
        return rows
    lacking = emit.op("Sub", emit.const([low]), emit.op("Shape", rows, end=1))
    behind = emit.op("Max", lacking, emit.const([0]))
    pads = emit.op("Concat", emit.const([0, 0]), behind, emit.const([0]), axis=0)
    return emit.op("Pad", rows, pads)
