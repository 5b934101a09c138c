"""Core ML models that are no neural network, put together field by field, and numpy loops that say what they mean."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from tests.runtime import serialized
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import CoreMLDocument, read
from workbench.model import Model

Array = np.ndarray[Any, Any]
Features = Mapping[str, Any]

_ARRAYS = {"float32": 0x10020, "float64": 0x10040, "int32": 0x20020}


def describe(feature: Any, kind: Any) -> None:
    """Set a feature's type: a kind by name (``double``), a shape (of float64), or (shape, dtype)."""
    if isinstance(kind, str) and kind.startswith("dictionary"):
        getattr(feature.type.dictionaryType, f"{kind.split('-')[1]}KeyType").SetInParent()
    elif isinstance(kind, str) and kind.startswith("sequence"):
        getattr(feature.type.sequenceType, f"{kind.split('-')[1]}Type").SetInParent()
    elif isinstance(kind, str):
        getattr(feature.type, f"{kind}Type").SetInParent()
    else:
        shape, dtype = kind if kind and isinstance(kind[-1], str) else (kind, "float64")
        feature.type.multiArrayType.shape.extend(shape)
        feature.type.multiArrayType.dataType = _ARRAYS[dtype]


def model(inputs: Features, outputs: Features, fill: Callable[[Any], None], **description: str) -> Any:
    """A ``Model`` message that ``fill`` gives its type."""
    message = toolkit.model_pb2().Model(specificationVersion=4)
    for features, target in ((inputs, message.description.input), (outputs, message.description.output)):
        for name, kind in features.items():
            feature = target.add()
            feature.name = name
            describe(feature, kind)
    for name, value in description.items():
        setattr(message.description, name, value)
    fill(message)
    return message


def classifier(inputs: Features, labels: Sequence[str | int], fill: Callable[[Any], Any]) -> Any:
    """A classifier with the outputs ``label`` and ``probability``; ``fill`` returns the message with its labels."""
    key = "string" if isinstance(labels[0], str) else "int64"

    def filled(message: Any) -> None:
        getattr(fill(message), f"{key}ClassLabels").vector.extend(labels)

    return model(
        inputs, {"label": key, "probability": f"dictionary-{key}"}, filled,
        predictedFeatureName="label", predictedProbabilitiesName="probability",
    )  # fmt: skip


def run(message: Any, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Read and run."""
    return Model(read(message)).run(feeds)


def run_as_onnx(document: CoreMLDocument, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Converted to ONNX and run by onnxruntime, without anything of ours between."""
    converted = Model(document).convert("onnx")
    session = onnxruntime.InferenceSession(
        serialized(ir.to_proto(converted.document.hub())), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


# -- trees --------------------------------------------------------------------------------------------------------

MODES = (operator.le, operator.lt, operator.ge, operator.gt, operator.eq, operator.ne)
LEAF = 6


def grow(
    ensemble: Any, tree: int, generator: np.random.Generator, features: int, dimensions: int, depth: int = 5
) -> None:
    """Add a random tree: any kind of branch, thresholds from a few integers, missing values to either side."""
    pending = [(0, 0)]
    count = 1
    while pending:
        number, level = pending.pop()
        node = ensemble.nodes.add(treeId=tree, nodeId=number)
        if level == depth or (level and generator.uniform() < 0.2):
            node.nodeBehavior = LEAF
            for index in generator.permutation(dimensions)[: generator.integers(1, dimensions + 1)]:
                node.evaluationInfo.add(evaluationIndex=int(index), evaluationValue=float(generator.normal()))
            continue
        node.nodeBehavior = int(generator.integers(0, 6))
        node.branchFeatureIndex = int(generator.integers(features))
        node.branchFeatureValue = float(generator.integers(-2, 3))
        node.missingValueTracksTrueChild = bool(generator.integers(2))
        node.trueChildNodeId, node.falseChildNodeId = count, count + 1
        pending += [(count, level + 1), (count + 1, level + 1)]
        count += 2


def followed(ensemble: Any, x: Array) -> Array:
    """The sums of the leaves that x reaches, node by node as the format's documentation tells it."""
    total = np.array(ensemble.basePredictionValue or [0.0] * ensemble.numPredictionDimensions)
    nodes = {(node.treeId, node.nodeId): node for node in ensemble.nodes}
    for tree in sorted({tree for tree, _ in nodes}):
        node = nodes[(tree, 0)]
        while node.nodeBehavior != LEAF:
            value = float(x[node.branchFeatureIndex])
            holds = MODES[node.nodeBehavior](value, node.branchFeatureValue)
            if math.isnan(value):
                holds = node.missingValueTracksTrueChild
            node = nodes[(tree, node.trueChildNodeId if holds else node.falseChildNodeId)]
        for entry in node.evaluationInfo:
            total[entry.evaluationIndex] += entry.evaluationValue
    return total


# -- suppression ------------------------------------------------------------------------------------------------------


def suppressed(confidence: Array, boxes: Array, overlap: float, least: float, per_class: bool) -> tuple[Array, Array]:
    """The documentation's algorithm, box by box."""
    best = confidence.max(1)
    left = [index for index in np.argsort(-best, kind="stable") if best[index] >= least]
    kept: list[int] = []
    while left:
        top = left.pop(0)
        kept.append(top)
        rivals = [i for i in left if not per_class or confidence[i].argmax() == confidence[top].argmax()]
        gone = {i for i in rivals if _overlap(boxes[top], boxes[i]) > overlap}
        left = [i for i in left if i not in gone]
    return confidence[kept], boxes[kept]


def _overlap(one: Array, other: Array) -> float:
    low = np.maximum(one[:2] - one[2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(one[:2] + one[2:] / 2, other[:2] + other[2:] / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / float(np.prod(one[2:]) + np.prod(other[2:]) - shared)
