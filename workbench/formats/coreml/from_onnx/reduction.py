"""Reductions along axes. MIL: ``reduction``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.narrow import refuse_narrow
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused

_REDUCTIONS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
_FLOAT_ONLY = ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean")
_ON_ONE = {"ReduceL1": "abs", "ReduceL2": "abs", "ReduceSumSquare": "square"}
"""What a reduction over no axis does to each element; the others leave it as it is."""


def reduced_axes(node: HubNode, index: int = 1) -> list[int] | None:
    """The axes of a reduction, ascending; all of them if the node names none, ``None`` if it then does nothing."""
    rank = node.rank(node.value(0))
    nothing = bool(node.attr_int("noop_with_empty_axes"))
    given = [int(axis) for axis in node.constant_or(index, np.empty(0, np.int64)).reshape(-1)]
    if not given:
        return None if nothing else list(range(rank))
    return sorted({axis % rank for axis in given})


@lowers("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSumSquare",
        since=18)  # fmt: skip
@lowers("ReduceMax", "ReduceMin", since=20)
@lowers("ReduceSum", since=13)
def reduce_13(node: HubNode, t: ProgramTarget) -> Any:
    x, keep = t.var(node.value(0)), bool(node.attr_int("keepdims"))
    if node.operator not in ("ReduceMax", "ReduceMin"):
        refuse_narrow(node)
    if node.operator in _FLOAT_ONLY and not t.is_float(x):
        raise Refused(f"{node.operator} of integers rounds by rules that Core ML does not have")
    axes = reduced_axes(node)
    if not axes:  # nothing is reduced, or a scalar is
        return _of_one(node.operator, x, t)
    if t.kind(x) == "bool":  # opset 20 has the maximum and minimum of booleans
        found = t.op(_REDUCTIONS[node.operator], x=t.cast(x, "int32"), axes=axes, keep_dims=keep)
        return t.cast(found, "bool")
    if node.operator == "ReduceLogSumExp":
        return _log_sum_exp(x, axes, keep, t)
    if node.operator == "ReduceLogSum":
        total = t.op("reduce_sum", x=x, axes=axes, keep_dims=keep)
        return t.op("log", x=total, epsilon=t.scalar(0, x))
    return t.op(_REDUCTIONS[node.operator], x=x, axes=axes, keep_dims=keep)


def _of_one(operator: str, x: Var, t: ProgramTarget) -> Var:
    if operator == "ReduceLogSum":
        return t.op("log", x=x, epsilon=t.scalar(0, x))
    return t.op(_ON_ONE.get(operator, "identity"), x=x)


def _log_sum_exp(x: Var, axes: list[int], keep: bool, t: ProgramTarget) -> Var:
    """log Σ exp(x − m) + m with m the maximum, 0 where that is infinite: the way ONNX's reference sums."""
    top = t.op("reduce_max", x=x, axes=axes, keep_dims=True)
    finite = t.op("less", x=t.op("abs", x=top), y=t.scalar(np.inf, x))
    shift = t.op("select", cond=finite, a=top, b=t.scalar(0, x))
    powers = t.op("exp", x=t.op("sub", x=x, y=shift))
    total = t.op("reduce_sum", x=powers, axes=axes, keep_dims=True)
    result = t.op("add", x=t.op("log", x=total, epsilon=t.scalar(0, x)), y=shift)
    return result if keep else t.op("squeeze", x=result, axes=axes)


@lowers("ArgMax", "ArgMin", since=13)
def arg_13(node: HubNode, t: ProgramTarget) -> Any:
    """The first of equal extrema, as coremltools' value inference has it; the last one by reversing."""
    x, axis, keep = t.var(node.value(0)), node.axis(), bool(node.attr_int("keepdims"))
    operator = "reduce_argmax" if node.operator == "ArgMax" else "reduce_argmin"
    if not x.shape:
        return t.const(np.zeros((), np.int32), "zero")
    if not node.attr_int("select_last_index"):
        return t.op(operator, x=x, axis=axis, keep_dims=keep)
    found = t.op(operator, x=t.op("reverse", x=x, axes=[axis]), axis=axis, keep_dims=keep)
    return t.op("sub", x=t.dimensions.scalar(t.shape(x)[axis] - 1), y=found)


@lowers("CumSum", since=14)
def cumsum_14(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    axis = int(node.require_constant(1).reshape(-1)[0]) % len(x.shape)
    exclusive, reverse = bool(node.attr_int("exclusive")), bool(node.attr_int("reverse"))
    return t.op("cumsum", x=x, axis=axis, exclusive=exclusive, reverse=reverse)
