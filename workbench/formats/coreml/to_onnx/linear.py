"""Products of matrices.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.linear
"""

from __future__ import annotations

import math

import onnx_ir as ir

from workbench.formats.coreml.tensors import like, rank_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter


def swapped(emit: Emitter, value: ir.Value) -> ir.Value:
    """The value with its last two dimensions exchanged; a vector stays as it is."""
    rank = rank_of(value)
    if rank < 2:
        return value
    return emit.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@mil.lowers("matmul")
def matmul(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x @ y`` with numpy's broadcasting, each transposed beforehand if its flag says so."""
    x, y = op.value("x"), op.value("y")
    if op.flag("transpose_x", False):
        x = swapped(emit, x)
    if op.flag("transpose_y", False):
        y = swapped(emit, y)
    return emit.op("MatMul", x, y)


@mil.lowers("linear")
def linear(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x @ weight.T + bias``; x: [*D, D_in], weight: [D_out, D_in], bias: [D_out]."""
    x, weight, bias = op.value(), op.value("weight"), op.optional("bias")
    if op.rank(x) == 2 and x.dtype is ir.DataType.FLOAT:
        return emit.op("Gemm", x, weight, bias, transB=1)
    product = emit.op("MatMul", x, swapped(emit, weight))
    return product if bias is None else emit.op("Add", product, bias)


@mil.lowers("einsum")
def einsum(op: MilOperation, emit: Emitter) -> ir.Value:
    """Einstein's summation over two tensors."""
    return emit.op("Einsum", *op.values(), equation=op.text("equation"))


@mil.lowers("scaled_dot_product_attention", since=18)
def scaled_dot_product_attention(op: MilOperation, emit: Emitter) -> ir.Value:
    """``softmax(query @ key.T / sqrt(E) + mask) @ value``; a boolean mask admits where it is true."""
    query, key, value = op.value("query"), op.value("key"), op.value("value")
    mask = op.optional("attn_mask")
    scale = like(emit, 1.0 / math.sqrt(op.shape(query)[-1]), query)
    scores = emit.op("Mul", emit.op("MatMul", query, swapped(emit, key)), scale)
    if mask is not None:
        if mask.dtype is ir.DataType.BOOL:
            mask = emit.op("Where", mask, like(emit, 0.0, query), like(emit, -math.inf, query))
        scores = emit.op("Add", scores, mask)
    return emit.op("MatMul", emit.op("Softmax", scores, axis=-1), value)
