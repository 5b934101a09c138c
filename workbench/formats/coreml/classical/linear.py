"""Generalised linear models: a matrix, an offset, and a function of the sums.

https://apple.github.io/coremltools/mlmodel/Format/GLMRegressor.html
https://apple.github.io/coremltools/mlmodel/Format/GLMClassifier.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.normal import probit
from workbench.formats.coreml.classical.table import Array, Kind, class_labels, doubles, kinds, two_classes
from workbench.hub import Emitter
from workbench.lowering import Refused

_LOGIT, _PROBIT = "Logit", "Probit"


@kinds.lowers("glmRegressor")
def glm_regressor(kind: Kind, emit: Emitter) -> ir.Value:
    """g(W x + b), one value for each row of W; g is the identity, the logistic function or the normal distribution."""
    sums = _sums(kind, emit)
    transform = _transform(kind)
    if transform == "NoTransform":
        return sums
    return emit.op("Sigmoid", sums) if transform == _LOGIT else probit(emit, sums)


@kinds.lowers("glmClassifier")
def glm_classifier(kind: Kind, emit: Emitter) -> ir.Value:
    """The probabilities of K classes.

    Two classes: the second's is g(w x + b). More, each against the rest: the logistic functions of K sums, divided by
    their total (as scikit-learn does it, from which coremltools converts these). More, against the first class as the
    reference: the softmax of 0 and the K - 1 sums.
    """
    count = len(class_labels(kind.parameters))
    encoding = _choice(kind, "classEncoding", kind.parameters.ClassEncoding)
    transform = _transform(kind)
    sums = _sums(kind, emit)
    rows = len(kind.parameters.weights)
    expected = 1 if count == 2 else count if encoding == "OneVsRest" else count - 1
    if count < 2 or rows != expected:
        raise kind.error(f"{count} classes with {encoding} take {expected} rows of weights, there are {rows}")
    if count == 2:
        return two_classes(emit, emit.op("Sigmoid", sums) if transform == _LOGIT else probit(emit, sums))
    if transform == _PROBIT:
        raise Refused("Core ML defines the transform Probit for two classes only")
    if encoding == "ReferenceClass":
        return emit.op("Softmax", emit.op("Concat", doubles(emit, [0.0]), sums, axis=0), axis=0)
    single = emit.op("Sigmoid", sums)
    return emit.op("Div", single, emit.op("ReduceSum", single))


def _sums(kind: Kind, emit: Emitter) -> ir.Value:
    """W x + b, ``[rows]``."""
    weights = _matrix(kind)
    offset = np.asarray(kind.parameters.offset, dtype=np.float64)
    if len(offset) != len(weights):
        raise kind.error(f"{len(weights)} rows of weights have {len(offset)} offsets")
    vector = kind.vector(emit)
    kind.check_size(vector, weights.shape[1], "each row of weights has")
    return emit.op("Add", emit.op("MatMul", vector, doubles(emit, weights.T)), doubles(emit, offset))


def _matrix(kind: Kind) -> Array:
    rows = [np.asarray(row.value, dtype=np.float64) for row in kind.parameters.weights]
    if not rows or not rows[0].size or any(row.size != rows[0].size for row in rows):
        raise kind.error("its rows of weights are missing, empty, or not of the same length")
    return np.stack(rows)


def _transform(kind: Kind) -> str:
    return _choice(kind, "postEvaluationTransform", kind.parameters.PostEvaluationTransform)


def _choice(kind: Kind, name: str, enumeration: object) -> str:
    """The name of an enumeration's value.

    Raises:
        ModelError: it has no such value.
    """
    number = getattr(kind.parameters, name)
    names: dict[int, str] = {value: key for key, value in enumeration.items()}  # type: ignore[attr-defined]
    if number not in names:
        raise kind.error(f"{name} is {number}, which is none of {', '.join(names.values())}")
    return names[number]
