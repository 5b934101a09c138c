"""The registry tract_transformers: https://github.com/sonos/tract/tree/main/transformers."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import rank_of, shape_of
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast, datum_type, dtype_of
from workbench.hub import Emitter
from workbench.lowering import Refused

_STATEFUL = (
    "tract_transformers_dyn_kv_cache",
    "tract_transformers_quantized_dyn_kv_cache",
    "tract_transformers_quantized_kv_sdpa",
)


@TABLE.lowers(*_STATEFUL)
def stateful(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: a graph of the hub keeps nothing from run to run."""
    raise Refused("it keeps keys and values from run to run", "export the model with its cache as inputs and outputs")


@TABLE.lowers("tract_transformers_apply_rope")
def apply_rope(node: TractNode, e: Emitter) -> ir.Value:
    """``x · cos + rotated(x) · sin``, where the halves of the last axis change places and the first its sign."""
    x = node.tensor("input")
    axis, half = rank_of(x) - 1, shape_of(x)[-1] // 2
    first = e.op("Slice", x, e.const([0]), e.const([half]), e.const([axis]))
    second = e.op("Slice", x, e.const([half]), e.const([2 * half]), e.const([axis]))
    rotated = e.op("Concat", e.op("Neg", second), first, axis=axis)
    return e.op("Add", e.op("Mul", x, node.tensor("cos")), e.op("Mul", rotated, node.tensor("sin")))


def _masked_softmax(e: Emitter, scores: ir.Value, mask: ir.Value | None) -> ir.Value:
    if mask is not None and dtype_of(mask) == "bool":
        scores = e.op("Where", mask, scores, e.const(np.asarray(-math.inf), dtype_of(scores)))
    elif mask is not None:
        scores = e.op("Add", scores, mask)
    return e.op("Softmax", scores, axis=-1)


@TABLE.lowers("tract_transformers_scaled_masked_softmax")
def scaled_masked_softmax(node: TractNode, e: Emitter) -> ir.Value:
    """``softmax(x · scale + mask)`` along the last axis; a logical mask keeps what is true."""
    x, mask = node.tensor("input"), node.tensor("mask")
    scaled = e.op("Mul", x, e.const(np.asarray(node.attr("scale")), dtype_of(x)))
    made = _masked_softmax(e, scaled, mask)
    if not node.attr("post_softmax_mask"):
        return made
    return e.op("Where", mask, made, e.const(np.asarray(0.0), dtype_of(x)))


@TABLE.lowers("tract_transformers_sdpa")
def sdpa(node: TractNode, e: Emitter) -> ir.Value:
    """Attention of queries over keys and values, [batch, heads, rows, width] or without heads; heads may share keys."""
    q, k, v = (node.tensor(name) for name in "qkv")
    dtype, inner = datum_type(node.attr("datum_type") or "f32"), datum_type(node.attr("acc_datum_type") or "f32")
    flat = rank_of(q) == 3
    if flat:
        q, k, v = (e.op("Unsqueeze", value, e.const([1])) for value in (q, k, v))
    groups = shape_of(q)[1] // shape_of(k)[1]
    if groups > 1:
        k, v = (_repeated(e, value, groups) for value in (k, v))
    scale = node.attr("scale") or 1.0 / math.sqrt(shape_of(k)[-1])
    scores = e.op("MatMul", cast(e, q, inner), e.op("Transpose", cast(e, k, inner), perm=[0, 1, 3, 2]))
    scores = e.op("Mul", scores, e.const(np.asarray(scale), inner))
    mask = node.tensor("mask") if node.given("mask") else None
    if node.attr("is_causal"):
        rows, columns = shape_of(scores)[-2:]
        allowed = np.tril(np.ones((rows, columns), bool), columns - rows)
        mask = e.const(np.where(allowed, 0.0, -math.inf), inner)
    elif mask is not None and dtype_of(mask) != "bool":
        mask = cast(e, mask, inner)
    made = cast(e, e.op("MatMul", _masked_softmax(e, scores, mask), cast(e, v, inner)), dtype)
    return e.op("Squeeze", made, e.const([1])) if flat else made


def _repeated(e: Emitter, value: ir.Value, groups: int) -> ir.Value:
    """Each head so many times in a row."""
    n, heads, rows, width = shape_of(value)
    apart = e.op("Expand", e.op("Unsqueeze", value, e.const([2])), e.const([n, heads, groups, rows, width]))
    return e.op("Reshape", apart, e.const([n, heads * groups, rows, width]))
