"""Matrix products. MIL: ``linear``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.narrow import refuse_narrow
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode, stored_of
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]


@lowers("MatMul", since=13)
def matmul_13(node: HubNode, t: ProgramTarget) -> Any:
    """numpy's matmul: a vector is a row on the left, a column on the right, and the added axis goes again."""
    refuse_narrow(node)
    return product(t, t.var(node.value(0)), t.var(node.value(1)))


def product(t: ProgramTarget, x: Var, y: Var) -> Var:
    """numpy's ``x @ y``."""
    row, column = len(x.shape) == 1, len(y.shape) == 1
    left = t.reshape(x, (1, *t.shape(x))) if row else x
    right = t.reshape(y, (*t.shape(y), 1)) if column else y
    result = t.op("matmul", x=left, y=right)
    if not row and not column:
        return result
    shape = list(t.shape(result))
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return t.reshape(result, shape)


@lowers("Gemm", since=13)
def gemm_13(node: HubNode, t: ProgramTarget) -> Any:
    """alpha · A′ B′ + beta · C; one ``linear`` where B and C are constants of the right form."""
    refuse_narrow(node)
    alpha, beta = node.attr_float("alpha"), node.attr_float("beta")
    across, turned = bool(node.attr_int("transA")), bool(node.attr_int("transB"))
    x, weight = t.var(node.value(0)), node.constant(1)
    if not t.is_float(x) and (alpha, beta) != (1.0, 1.0):
        raise Refused(f"alpha {alpha} and beta {beta} with integers round by rules that Core ML does not have")
    bias = _bias(node)
    if not across and weight is not None and alpha == 1 and t.is_float(x) and bias is not False:
        extra = {} if bias is None else {"bias": t.const(bias, node.value(2).name or "bias")}
        return t.op("linear", x=x, weight=t.var(node.value(1)) if turned else _turned(node, t, weight), **extra)
    result = t.op("matmul", x=x, y=t.var(node.value(1)), transpose_x=across, transpose_y=turned)
    if alpha != 1:
        result = t.op("mul", x=result, y=t.scalar(alpha, result))
    if node.input(2) is None or beta == 0:
        return result
    added = t.var(node.value(2))
    if beta != 1:
        added = t.op("mul", x=added, y=t.scalar(beta, added))
    return t.op("add", x=result, y=added)


def _turned(node: HubNode, t: ProgramTarget, weight: Array) -> Var:
    """The constant B with its axes exchanged, held as it was."""
    grid, name = stored_of(node.value(1)), node.value(1).name or "weight"
    return t.const(np.ascontiguousarray(weight.T), name) if grid is None else t.weight(grid.transposed(), name)


def _bias(node: HubNode) -> Any:
    """beta · C as a vector of the output's columns; ``None`` without C, ``False`` if it is no such vector."""
    if node.input(2) is None:
        return None
    constant, columns = node.constant(2), node.shape(node.outputs[0])[1]
    if constant is None or constant.size not in (1, columns) or (constant.ndim == 2 and constant.shape[0] != 1):
        return False
    if constant.size != columns and constant.size != 1:
        return False
    scaled = constant.astype(np.float64) * node.attr_float("beta")
    return np.broadcast_to(scaled.reshape(-1), (columns,)).astype(constant.dtype)
