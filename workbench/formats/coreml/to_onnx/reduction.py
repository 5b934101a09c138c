"""Reductions, sorting and running sums.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.reduction
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import Lowering, MilOperation, mil
from workbench.hub import Emitter

_REDUCTIONS = {
    "reduce_l1_norm": "ReduceL1", "reduce_l2_norm": "ReduceL2", "reduce_log_sum": "ReduceLogSum",
    "reduce_log_sum_exp": "ReduceLogSumExp", "reduce_max": "ReduceMax", "reduce_mean": "ReduceMean",
    "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd", "reduce_sum": "ReduceSum",
    "reduce_sum_square": "ReduceSumSquare",
}  # fmt: skip


def _reduction(target: str) -> Lowering:
    def lowering(op: MilOperation, emit: Emitter) -> ir.Value:
        axes = emit.const(list(op.ints("axes"))) if op.has("axes") else None
        return emit.op(target, op.value(), axes, keepdims=int(op.flag("keep_dims", False)))

    return lowering


for _operator, _target in _REDUCTIONS.items():
    if _operator != "reduce_mean":
        mil.lowers(_operator)(_reduction(_target))


@mil.lowers("reduce_mean")
def reduce_mean(op: MilOperation, emit: Emitter) -> ir.Value | Sequence[ir.Value]:
    """The mean over all places of an image, which is how a global pool is written, becomes one again.

    onnxruntime sums a GlobalAveragePool in another order than a ReduceMean, so a model that came from ONNX would differ
    in its last bits from itself.
    """
    x = op.value()
    if op.has("axes") and op.flag("keep_dims", False) and op.dtype() in ("float16", "float32"):
        rank = op.rank(x)
        if rank >= 3 and sorted(axis % rank for axis in op.ints("axes")) == list(range(2, rank)):
            return emit.op("GlobalAveragePool", x)
    return _reduction("ReduceMean")(op, emit)


def _arg(op: MilOperation, emit: Emitter, target: str) -> ir.Value:
    op.ignore("output_dtype")  # the declared dtype of the output says the same
    return emit.op(target, op.value(), axis=op.integer("axis", -1), keepdims=int(op.flag("keep_dims", False)))


@mil.lowers("reduce_argmax")
def reduce_argmax(op: MilOperation, emit: Emitter) -> ir.Value:
    """The index of the (first) largest element along ``axis``."""
    return _arg(op, emit, "ArgMax")


@mil.lowers("reduce_argmin")
def reduce_argmin(op: MilOperation, emit: Emitter) -> ir.Value:
    """The index of the (first) smallest element along ``axis``."""
    return _arg(op, emit, "ArgMin")


@mil.lowers("cumsum")
def cumsum(op: MilOperation, emit: Emitter) -> ir.Value:
    """The running sum along ``axis``."""
    return emit.op(
        "CumSum", op.value(), emit.const(op.integer("axis", 0)), exclusive=int(op.flag("exclusive", False)),
        reverse=int(op.flag("reverse", False)),
    )  # fmt: skip


@mil.lowers("topk")
def topk(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """The ``k`` largest (``ascending``: smallest) elements along ``axis``, and where they are.

    They are sorted with ``sort = false`` too: their order is not specified then, and Apple's tests expect this one.
    """
    op.ignore("output_indices_dtype", "sort")  # the declared dtype of the output says the same as the former
    x, axis = op.value(), op.integer("axis", -1)
    count = emit.op("Reshape", op.integers(emit, "k"), emit.const([1])) if op.has("k") else emit.const([1])
    known = op.known("k")
    if known is not None and int(known) == -1:  # all of them
        count = _size(op, emit, x, axis)
    largest = int(not op.flag("ascending", False))
    found = emit.ops("TopK", x, count, outputs=2, axis=axis, largest=largest, sorted=1)
    return found if op.flag("return_indices", True) else found[:1]


@mil.lowers("argsort")
def argsort(op: MilOperation, emit: Emitter) -> ir.Value:
    """The indices that sort ``x`` along ``axis``."""
    x, axis = op.value(), op.integer("axis", -1)
    largest = int(not op.flag("ascending", False))
    return emit.ops("TopK", x, _size(op, emit, x, axis), outputs=2, axis=axis, largest=largest, sorted=1)[1]


def _size(op: MilOperation, emit: Emitter, x: ir.Value, axis: int) -> ir.Value:
    """The size of one dimension, as int64 [1]."""
    axis %= op.rank(x)
    return emit.op("Shape", x, start=axis, end=axis + 1)
