"""Matrix products. MIL: ``linear``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.narrow import refuse_narrow
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused


@lowers("MatMul", since=13)
def matmul_13(node: HubNode, t: ProgramTarget) -> Any:
    """numpy's matmul: a vector is a row on the left, a column on the right, and the added axis goes again."""
    refuse_narrow(node)
    return product(t, t.var(node.value(0)), t.var(node.value(1)))


def product(t: ProgramTarget, x: Var, y: Var) -> Var:
    """numpy's ``x @ y``."""
    row, column = len(x.shape) == 1, len(y.shape) == 1
    left = t.reshape(x, (1, *x.shape)) if row else x
    right = t.reshape(y, (*y.shape, 1)) if column else y
    result = t.op("matmul", x=left, y=right)
    shape = list(result.shape)
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
        rows = weight if turned else np.ascontiguousarray(weight.T)
        extra = {} if bias is None else {"bias": t.const(bias, node.value(2).name or "bias")}
        return t.op("linear", x=x, weight=t.const(rows, node.value(1).name or "weight"), **extra)
    result = t.op("matmul", x=x, y=t.var(node.value(1)), transpose_x=across, transpose_y=turned)
    if alpha != 1:
        result = t.op("mul", x=result, y=t.scalar(alpha, result))
    if node.input(2) is None or beta == 0:
        return result
    added = t.var(node.value(2))
    if beta != 1:
        added = t.op("mul", x=added, y=t.scalar(beta, added))
    return t.op("add", x=result, y=added)


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


@lowers("Einsum", since=12)
def einsum_12(node: HubNode, t: ProgramTarget) -> Any:
    """One or two operands without repeated or elided indices: transposed and reshaped into one matrix product."""
    refuse_narrow(node)
    equation = (node.attr_string("equation", None) or "").replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if "." in equation or any(len(set(term)) != len(term) for term in (*terms, output)):
        raise Refused(f"the equation {equation!r} elides or repeats an index")
    if not arrow:
        letters = "".join(terms)
        output = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    operands = [t.var(node.value(index)) for index in range(len(terms))]
    if len(terms) > 2:
        raise Refused(f"the equation {equation!r} has {len(terms)} operands", "split it into pairs in the source model")
    if len(terms) == 1:
        found, term = _summed(operands[0], terms[0], output, t)
        return t.op("identity", x=t.transpose(found, [term.index(letter) for letter in output]))
    return _pair(operands, terms, output, t)


def _summed(x: Var, term: str, kept: str, t: ProgramTarget) -> tuple[Var, str]:
    """Sum over the indices that nothing else has."""
    axes = [axis for axis, letter in enumerate(term) if letter not in kept]
    if not axes:
        return x, term
    return t.op("reduce_sum", x=x, axes=axes, keep_dims=False), "".join(letter for letter in term if letter in kept)


def _pair(operands: list[Var], terms: list[str], output: str, t: ProgramTarget) -> Var:
    left, first = _summed(operands[0], terms[0], output + terms[1], t)
    right, second = _summed(operands[1], terms[1], output + terms[0], t)
    batch = [letter for letter in first if letter in second and letter in output]
    inner = [letter for letter in first if letter in second and letter not in output]
    rows = [letter for letter in first if letter not in second]
    columns = [letter for letter in second if letter not in first]
    sizes = dict(zip(first, left.shape, strict=True)) | dict(zip(second, right.shape, strict=True))

    def many(letters: list[str]) -> int:
        return int(np.prod([sizes[letter] for letter in letters], dtype=np.int64))

    left = t.transpose(left, [first.index(letter) for letter in (*batch, *rows, *inner)])
    right = t.transpose(right, [second.index(letter) for letter in (*batch, *inner, *columns)])
    matrices = t.op(
        "matmul",
        x=t.reshape(left, (many(batch), many(rows), many(inner))),
        y=t.reshape(right, (many(batch), many(inner), many(columns))),
    )
    order = [*batch, *rows, *columns]
    result = t.reshape(matrices, [sizes[letter] for letter in order])
    return t.transpose(result, [order.index(letter) for letter in output])
