"""Support vector machines: kernel values of the input and the support vectors, and weighted sums of them.

https://apple.github.io/coremltools/mlmodel/Format/SVM.html, whose messages are those of libsvm: C.-C. Chang, C.-J. Lin,
"LIBSVM: a library for support vector machines", sections 2 and 8 (https://www.csie.ntu.edu.tw/~cjlin/papers/libsvm.pdf).
ai.onnx.ml has operators for these; they calculate in float32, which the plain operators here need not do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.coupling import coupled
from workbench.formats.coreml.classical.table import Array, Kind, class_labels, doubles, kinds, two_classes
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_LEAST = 1e-7  # libsvm keeps the probability of a pair this far from 0 and 1


@kinds.lowers("supportVectorRegressor")
def support_vector_regressor(kind: Kind, emit: Emitter) -> ir.Value:
    """The sum of alpha_i K(x, x_i), less rho; ``[1]``."""
    values = _kernel_values(kind, emit)
    alpha = np.asarray(kind.parameters.coefficients.alpha, dtype=np.float64)
    kind.check_size(values, alpha.size, "the coefficients are")
    total = emit.op("ReduceSum", emit.op("Mul", values, doubles(emit, alpha)), emit.const([0]), keepdims=1)
    return emit.op("Sub", total, doubles(emit, [kind.parameters.rho]))


@kinds.lowers("supportVectorClassifier")
def support_vector_classifier(kind: Kind, emit: Emitter) -> ir.Value:
    """A value for each class, the greatest for the one that is predicted.

    With ``probA`` and ``probB``: probabilities. Of two classes, that of their one decision; of more, those of all pairs
    coupled (libsvm paper, section 8). coremltools' tests hold both against scikit-learn's.
    Without: the share of the decisions between pairs that each class wins (section 2), for a model that describes no
    probabilities.
    """
    parameters = kind.parameters
    count = len(class_labels(parameters)) or len(parameters.numberOfSupportVectorsPerClass)
    pairs = list(itertools.combinations(range(count), 2))
    decisions = _decisions(kind, emit, pairs)
    if not len(parameters.probA) and not len(parameters.probB):
        if not kind.interface.undescribed:
            raise Refused(
                "its description has probabilities, the model lacks what they are calculated from (probA, probB)",
                "train it with probabilities (scikit-learn: probability=True)",
            )
        return _votes(emit, decisions, pairs, count)
    if not len(parameters.probA) == len(parameters.probB) == len(pairs):
        raise kind.error(f"{len(pairs)} pairs, {len(parameters.probA)} of probA, {len(parameters.probB)} of probB")
    argument = emit.op("Mul", decisions, doubles(emit, np.negative(parameters.probA)))
    argument = emit.op("Sub", argument, doubles(emit, parameters.probB))
    first = emit.op("Clip", emit.op("Sigmoid", argument), doubles(emit, _LEAST), doubles(emit, 1 - _LEAST))
    if count == 2:
        return two_classes(emit, emit.op("Sub", doubles(emit, [1.0]), first))
    return coupled(emit, first, pairs, count, kind.layer)


def _votes(emit: Emitter, decisions: ir.Value, pairs: Sequence[tuple[int, int]], count: int) -> ir.Value:
    """The share of the pairs' decisions that each class wins, ``[K]``; a decision of 0 is for the pair's second."""
    won, base = np.zeros((len(pairs), count)), np.zeros(count)
    for row, (one, other) in enumerate(pairs):
        won[row, one], won[row, other] = 1, -1
        base[other] += 1
    positive = emit.op("Greater", decisions, doubles(emit, 0.0))
    votes = emit.op("MatMul", emit.op("Cast", positive, to=ir.DataType.DOUBLE.value), doubles(emit, won))
    return emit.op("Div", emit.op("Add", votes, doubles(emit, base)), doubles(emit, float(len(pairs))))


def _decisions(kind: Kind, emit: Emitter, pairs: Sequence[tuple[int, int]]) -> ir.Value:
    """The decision of every pair of classes, ``[K (K - 1) / 2]``; positive for the first of the pair.

    The coefficients of the support vectors of class i against class j > i stand in row j - 1, those of j in row i.
    """
    parameters = kind.parameters
    sizes = [int(size) for size in parameters.numberOfSupportVectorsPerClass]
    count = len(class_labels(parameters)) or len(sizes)
    if count < 2 or len(sizes) != count or min(sizes) < 0:
        raise kind.error(f"{count} classes, support vectors of {len(sizes)} classes")
    if len(parameters.rho) != len(pairs) or len(parameters.coefficients) != count - 1:
        raise kind.error(
            f"{count} classes take {count - 1} rows of coefficients and {len(pairs)} of rho, "
            f"there are {len(parameters.coefficients)} and {len(parameters.rho)}"
        )
    total = sum(sizes)
    rows = [np.asarray(row.alpha, dtype=np.float64) for row in parameters.coefficients]
    if any(row.size != total for row in rows):
        raise kind.error(f"{total} support vectors, rows of {[row.size for row in rows]} coefficients")
    kind.bounded(len(pairs) * total, "the coefficients of all pairs")
    starts = np.cumsum([0, *sizes])
    matrix = np.zeros((total, len(pairs)))
    for column, (one, other) in enumerate(pairs):
        first, second = slice(starts[one], starts[one + 1]), slice(starts[other], starts[other + 1])
        matrix[first, column], matrix[second, column] = rows[other - 1][first], rows[one][second]
    values = _kernel_values(kind, emit)
    kind.check_size(values, total, "the support vectors of all classes are")
    return emit.op("Sub", emit.op("MatMul", values, doubles(emit, matrix)), doubles(emit, parameters.rho))


def _kernel_values(kind: Kind, emit: Emitter) -> ir.Value:
    """K(x, x_i) for every support vector, ``[S]``."""
    vector = kind.vector(emit)
    dims = dims_of(vector)
    vectors = _support_vectors(kind, dims[0] if dims is not None and isinstance(dims[0], int) else None)
    kind.check_size(vector, vectors.shape[1], "each support vector has")
    which = kind.parameters.kernel.WhichOneof("kernel")
    if which is None:
        raise kind.error("it has no kernel")
    kernel = getattr(kind.parameters.kernel, which)
    if which == "rbfKernel":
        difference = emit.op("Sub", doubles(emit, vectors), vector)
        squares = emit.op("ReduceSum", emit.op("Mul", difference, difference), emit.const([1]), keepdims=0)
        return emit.op("Exp", emit.op("Mul", squares, doubles(emit, -kernel.gamma)))
    products = emit.op("MatMul", vector, doubles(emit, vectors.T))
    if which == "linearKernel":
        return products
    products = emit.op("Add", emit.op("Mul", products, doubles(emit, kernel.gamma)), doubles(emit, kernel.c))
    if which == "sigmoidKernel":
        return emit.op("Tanh", products)
    if kernel.degree < 0:
        raise kind.error(f"the degree of its polynomial is {kernel.degree}")
    return emit.op("Pow", products, doubles(emit, float(kernel.degree)))


def _support_vectors(kind: Kind, size: int | None) -> Array:
    """The support vectors as a matrix; of sparse ones, what is not given is 0 and indices count from 1."""
    which = kind.parameters.WhichOneof("supportVectors")
    if which is None:
        raise kind.error("it has no support vectors")
    vectors = getattr(kind.parameters, which).vectors
    if which == "denseSupportVectors":
        rows = [np.asarray(vector.values, dtype=np.float64) for vector in vectors]
        if not rows or any(row.size != rows[0].size for row in rows):
            raise kind.error("its support vectors are missing, or not of the same length")
        return np.stack(rows)
    indices = [node.index for vector in vectors for node in vector.nodes]
    width = max(indices, default=0) if size is None else size
    if not len(vectors) or (indices and not 1 <= min(indices) <= max(indices) <= width):
        raise kind.error(f"its sparse support vectors are missing, or have indices beyond 1 to {width}")
    kind.bounded(len(vectors) * width, "the support vectors")
    found = np.zeros((len(vectors), width))
    for row, vector in enumerate(vectors):
        for node in vector.nodes:
            found[row, node.index - 1] = node.value
    return found
