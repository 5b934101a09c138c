"""The probabilities of several classes from those of all pairs of them.

T.-F. Wu, C.-J. Lin, R. C. Weng, "Probability estimates for multi-class classification by pairwise coupling", second
approach, in the iteration of libsvm (libsvm paper, section 8): the p that minimises pᵀQp with a sum of 1, where
Q_tt = Σ r_jt² over j ≠ t, Q_tj = -r_jt r_tj, and r_ij is the probability of class i where it is i or j.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.classical.table import Array, doubles
from workbench.hub import Emitter, set_type

_SWEEPS = 100  # at most; or one for each class, if there are more
_TOLERANCE = 0.005  # divided by the number of classes


def coupled(emit: Emitter, first: ir.Value, pairs: Sequence[tuple[int, int]], count: int, layer: str) -> ir.Value:
    """The probabilities of the classes, float64 ``[K]``.

    Args:
        first: of each pair, the probability of its first class, ``[K (K - 1) / 2]``.
        pairs: the pairs.
        count: K.
        layer: what the nodes inside the loop are stamped with.

    The sweeps end when no class is off by the tolerance, which is known while it runs: they are a loop.
    """
    matrix = _quadratic(emit, first, pairs, count)
    rows = emit.ops("Split", matrix, outputs=count, axis=0, num_outputs=count)
    rows = [emit.op("Reshape", row, emit.const([-1])) for row in rows]
    start = doubles(emit, np.full(count, 1 / count))
    body = Emitter("coupling")
    body.input("coupling/iteration", "int64", [])
    body.input("coupling/condition", "bool", [])
    present = body.input("coupling/present", "float64", [count])
    with body.layer([layer], hint="coupling"):
        swept = _swept(body, matrix, rows, present)
        off = _off(body, matrix, swept)
    graph = ir.AttrGraph("body", body.finish([off, swept]).graph)
    sweeps = emit.const(max(_SWEEPS, count))
    made = emit.ops("Loop", sweeps, _off(emit, matrix, start), start, outputs=1, body=graph)[0]
    return set_type(made, "float64", [count])


def _quadratic(emit: Emitter, first: ir.Value, pairs: Sequence[tuple[int, int]], count: int) -> ir.Value:
    """Q, ``[K, K]``: linear in the products and squares of each pair's two probabilities."""
    size = count * count
    products, firsts, seconds = (np.zeros((len(pairs), size)) for _ in range(3))
    for row, (one, other) in enumerate(pairs):
        products[row, [one * count + other, other * count + one]] = -1
        firsts[row, other * (count + 1)] = 1  # r_ij² counts for j
        seconds[row, one * (count + 1)] = 1
    second = emit.op("Sub", doubles(emit, 1.0), first)
    terms: list[tuple[ir.Value, ir.Value, Array]] = [
        (first, second, products), (first, first, firsts), (second, second, seconds),
    ]  # fmt: skip
    found = [emit.op("MatMul", emit.op("Mul", a, b), doubles(emit, table)) for a, b, table in terms]
    total = emit.op("Add", emit.op("Add", found[0], found[1]), found[2])
    return emit.op("Reshape", total, emit.const([count, count]))


def _off(emit: Emitter, matrix: ir.Value, present: ir.Value) -> ir.Value:
    """Whether a class is off by more than the tolerance, bool of rank 0."""
    count = present.shape.numpy()[0] if present.shape is not None else 1
    gradient = emit.op("MatMul", matrix, present)
    error = emit.op("Abs", emit.op("Sub", gradient, emit.op("MatMul", present, gradient)))
    return emit.op("GreaterOrEqual", emit.op("ReduceMax", error, keepdims=0), doubles(emit, _TOLERANCE / count))


def _swept(emit: Emitter, matrix: ir.Value, rows: Sequence[ir.Value], present: ir.Value) -> ir.Value:
    """Every class's probability corrected once, one after the other; the sum stays 1."""
    gradient = emit.op("MatMul", matrix, present)
    value = emit.op("Reshape", emit.op("MatMul", present, gradient), emit.const([1]))
    for index, row in enumerate(rows):
        place = emit.const([index])
        own, slope = emit.op("Gather", row, place), emit.op("Gather", gradient, place)
        step = emit.op("Div", emit.op("Sub", value, slope), own)
        scale = emit.op("Add", step, doubles(emit, 1.0))
        bent = emit.op("Add", emit.op("Mul", step, own), emit.op("Mul", slope, doubles(emit, 2.0)))
        value = emit.op("Add", value, emit.op("Mul", step, bent))
        value = emit.op("Div", emit.op("Div", value, scale), scale)
        gradient = emit.op("Div", emit.op("Add", gradient, emit.op("Mul", step, row)), scale)
        unit = doubles(emit, np.eye(len(rows))[index])
        present = emit.op("Div", emit.op("Add", present, emit.op("Mul", step, unit)), scale)
    return present
