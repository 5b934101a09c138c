"""Products of matrices.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.linear
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import like, rank_of
from workbench.formats.coreml.to_onnx.scope import WIDER
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter, dims_of, dtype_name
from workbench.lowering import Refused


def swapped(emit: Emitter, value: ir.Value) -> ir.Value:
    """The value with its last two dimensions exchanged; a vector stays as it is."""
    rank = rank_of(value)
    if rank < 2:
        return value
    return emit.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _typed(op: MilOperation, emit: Emitter, name: str) -> ir.Value:
    """An operand of a product in the dtype of the result, which a constant need not have (iOS 17)."""
    value = op.value(name)
    dtype = WIDER.get(op.outputs[0].dtype, op.outputs[0].dtype)
    if dtype_name(value.dtype) == dtype:
        return value
    known = op.known(name)
    if known is None:
        raise Refused(f"{name!r} is of dtype {op.dtype(name)}, the result of dtype {op.outputs[0].dtype}")
    made = known.astype(dtype)
    if not np.array_equal(made, known):
        raise Refused(f"{name!r}, a constant of dtype {op.dtype(name)}, has elements that are no {dtype}")
    return emit.const(made)


@mil.lowers("matmul")
def matmul(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x @ y`` with numpy's broadcasting, each transposed beforehand if its flag says so."""
    x, y = _typed(op, emit, "x"), _typed(op, emit, "y")
    if op.flag("transpose_x", False):
        x = swapped(emit, x)
    if op.flag("transpose_y", False):
        y = swapped(emit, y)
    return emit.op("MatMul", x, y)


@mil.lowers("linear")
def linear(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x @ weight.T + bias``; x: [*D, D_in], weight: [D_out, D_in], bias: [D_out]."""
    x, weight = _typed(op, emit, "x"), _typed(op, emit, "weight")
    bias = _typed(op, emit, "bias") if op.has("bias") else None
    op.ignore("bias")
    if op.rank(x) == 2 and x.dtype is ir.DataType.FLOAT:
        return emit.op("Gemm", x, weight, bias, transB=1)
    product = emit.op("MatMul", x, swapped(emit, weight))
    return product if bias is None else emit.op("Add", product, bias)


@mil.lowers("einsum")
def einsum(op: MilOperation, emit: Emitter) -> ir.Value:
    """Einstein's summation over two tensors; a dimension of one element is repeated to the size that the other has."""
    equation = op.text("equation").replace(" ", "")
    values, terms = op.values(), equation.partition("->")[0].split(",")
    if len(values) == len(terms) == 2:
        values = [
            _repeated(emit, own, other, *letters)
            for own, other, letters in zip(values, reversed(values), (terms, terms[::-1]), strict=True)
        ]
    return emit.op("Einsum", *values, equation=equation)


def _repeated(emit: Emitter, value: ir.Value, other: ir.Value, term: str, others: str) -> ir.Value:
    """The value with its dimensions of one element repeated as often as the other tensor has the same letter."""
    dims, theirs = dims_of(value) or (), dims_of(other) or ()
    if len(dims) != len(term) or len(theirs) != len(others):
        return value
    axes = [others.find(letter) if dim == 1 else -1 for letter, dim in zip(term, dims, strict=True)]
    axes = [axis if axis >= 0 and theirs[axis] != 1 else -1 for axis in axes]
    if max(axes) < 0:
        return value
    one = emit.const([1])  # Expand leaves the dimension as it is
    sizes = [one if axis < 0 else emit.op("Shape", other, start=axis, end=axis + 1) for axis in axes]
    return emit.op("Expand", value, emit.op("Concat", *sizes, axis=0))


@mil.lowers("scaled_dot_product_attention", since=18)
def scaled_dot_product_attention(op: MilOperation, emit: Emitter) -> ir.Value:
    """``softmax(query @ key.T / sqrt(E) + mask) @ value``; a boolean mask admits where it is true."""
    query, key, value = op.value("query"), op.value("key"), op.value("value")
    mask = op.optional("attn_mask")
    scores = _scaled(emit, emit.op("MatMul", query, swapped(emit, key)), query)
    if mask is not None:
        if mask.dtype is ir.DataType.BOOL:
            mask = emit.op("Where", mask, like(emit, 0.0, query), like(emit, -math.inf, query))
        scores = emit.op("Add", scores, mask)
    return emit.op("MatMul", emit.op("Softmax", scores, axis=-1), value)


def _scaled(emit: Emitter, scores: ir.Value, query: ir.Value) -> ir.Value:
    """``scores / sqrt(E)``; E is the size of the last dimension of ``query``."""
    size = (dims_of(query) or (None,))[-1]
    if isinstance(size, int):
        return emit.op("Mul", scores, like(emit, 1.0 / math.sqrt(size), query))
    count = emit.op("Cast", emit.op("Shape", query, start=-1), to=ir.DataType.FLOAT.value)
    return emit.op("Div", scores, emit.op("Sqrt", count))
