"""Attention and rotary embedding as onnxruntime has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Array, Kit, dims, dtype, integer, number, wanted
from workbench.hub.compositions.table import CONTRIB, composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_FILTER = -10000.0


@composes("RotaryEmbedding", domain=CONTRIB)
def rotaryembedding(node: HubNode, emit: Emitter) -> Any:
    """ONNX's operator with the caches behind the places; a single place is where the sequence begins."""
    k, x, ids = Kit(emit), node.value(0), node.value(1)
    node.ignore("scale")  # onnxruntime reads it and does nothing with it
    if integer(node, "is_packed_batching", 0):
        raise Refused("it packs a batch of sequences of different lengths into one")
    heads, width = integer(node, "num_heads", 0), integer(node, "rotary_embedding_dim", 0)
    shape = dims(x)
    if not heads and len(shape) == 3:
        heads = shape[2] // (2 * dims(node.value(2))[1])
    length = shape[1] if len(shape) == 3 else shape[2]
    if len(dims(ids)) < 2:
        ids = k("Add", k.reshape(ids, (1, 1)), np.arange(length, dtype=np.int64)[None])
        ids = k("Expand", ids, [shape[0], length])
    return rotated(k, x, (node.value(2), node.value(3)), ids, heads, width, integer(node, "interleaved", 0))


def rotated(
    k: Kit, x: ir.Value, caches: tuple[ir.Value, ir.Value], ids: ir.Value, heads: int, width: int, interleaved: int
) -> ir.Value:
    """ONNX's RotaryEmbedding."""
    return k(
        "RotaryEmbedding", x, *caches, ids, num_heads=heads or None, rotary_embedding_dim=width, interleaved=interleaved
    )


def split_heads(k: Kit, x: ir.Value, heads: int) -> ir.Value:
    """[B, S, N · H] → [B, N, S, H]; what has four dimensions is so already."""
    shape = dims(x)
    if len(shape) == 4:
        return x
    return k.transpose(k.reshape(x, (shape[0], shape[1], heads, shape[2] // heads)), (0, 2, 1, 3))


def merged_heads(k: Kit, x: ir.Value) -> ir.Value:
    """[B, N, S, H] → [B, S, N · H]."""
    batch, heads, length, width = dims(x)
    return k.reshape(k.transpose(x, (0, 2, 1, 3)), (batch, length, heads * width))


def causal(length: int, total: int) -> Array:
    """[length, total]: what a query may look at, the last one at everything."""
    return np.arange(total)[None, :] <= np.arange(length)[:, None] + (total - length)


def key_mask(k: Kit, mask: ir.Value, batch: int, total: int, filtered: float) -> ir.Value:
    """What is added to the scores: ``filtered`` where the mask of keys is 0, in a form that broadcasts [B, 1, S, T]."""
    shape = dims(mask)
    if len(shape) == 1:
        if shape[0] not in (batch, 1):
            raise Refused(f"a mask of shape {list(shape)} states starts and ends of its sequences")
        kept = k("Less", np.arange(total, dtype=np.int64)[None], k.reshape(k.cast(mask, "int64"), (shape[0], 1)))
        shape = (shape[0], total)
    else:
        kept = k("Greater", k.cast(mask, "int64"), 0)
    if len(shape) == 2:
        kept = k.reshape(kept, (shape[0], 1, 1, shape[1]))
    elif len(shape) == 3:
        kept = k.reshape(kept, (shape[0], 1, shape[1], shape[2]))
    else:
        raise Refused(f"a mask of shape {list(shape)} is not understood")
    return k("Where", kept, k.emit.const(np.float32(0)), k.emit.const(np.float32(filtered)))


def attended(
    k: Kit, query: ir.Value, key: ir.Value, value: ir.Value, scale: float, added: list[ir.Value], limit: bool
) -> ir.Value:
    """softmax(query keyᵀ · scale + added) value, of [B, N, length, width]; ``limit`` masks what lies ahead."""
    kind = dtype(query)
    scores = k("Mul", k("MatMul", query, k.transpose(key, (0, 1, 3, 2))), scale or dims(query)[-1] ** -0.5)
    for part in added:
        scores = k("Add", scores, k.cast(part, kind))
    if limit:
        length, total = dims(scores)[-2:]
        scores = k("Where", causal(length, total), scores, float(np.finfo(kind).min))
    return k("MatMul", k("Softmax", scores, axis=-1), value)


@composes("Attention", domain=CONTRIB)
def attention(node: HubNode, emit: Emitter) -> Any:
    """input [B, S, D], weights [D, 3 · N · H], bias; mask, past [2, B, N, P, H], bias of the scores."""
    k, x = Kit(emit), node.value(0)
    _refuse(node, {"do_rotary": 0, "past_present_share_buffer": 0, "rotary_embedding_dim": 0}, ())
    if node.input(6) is not None:
        raise Refused("its cache is shared between input and output")
    heads, widths = node.attr_int("num_heads"), node.attr_ints("qkv_hidden_sizes")
    projected = k("MatMul", x, node.value(1))
    if node.input(2) is not None:
        projected = k("Add", projected, node.value(2))
    widths = widths or (dims(projected)[-1] // 3,) * 3
    parts = emit.ops("Split", projected, emit.const(list(widths)), outputs=3, axis=2)
    query, key, value = (split_heads(k, part, heads) for part in parts)
    if node.input(4) is not None:
        past = node.value(4)
        old = [k("Squeeze", k.take(past, 0, index, index + 1), [0]) for index in range(2)]
        key, value = (k("Concat", before, new, axis=2) for before, new in zip(old, (key, value), strict=True))
    present = None
    if wanted(node, 1):
        present = k("Concat", k("Unsqueeze", key, [0]), k("Unsqueeze", value, [0]), axis=0)
    added = _added(k, node, 3, 5, key)
    limit = bool(integer(node, "unidirectional", 0))
    made = merged_heads(k, attended(k, query, key, value, number(node, "scale", 0.0), added, limit))
    return [made, present] if present is not None else made


def _added(k: Kit, node: HubNode, mask: int, bias: int, key: ir.Value) -> list[ir.Value]:
    """The mask of the keys and the bias of the scores, from the inputs of these indices."""
    batch, _, total, _ = dims(key)
    filtered, added = number(node, "mask_filter_value", _FILTER), []
    if node.input(mask) is not None:
        added.append(key_mask(k, node.value(mask), batch, total, filtered))
    if node.input(bias) is not None:
        added.append(node.value(bias))
    return added


def _refuse(node: HubNode, attributes: dict[str, int], inputs: tuple[int, ...]) -> None:
    """Refuse attributes that differ from what they do nothing at, and inputs that are there."""
    for name, usual in attributes.items():
        if integer(node, name, usual) != usual:
            raise Refused(f"its attribute {name!r} asks for what has no counterpart")
    for index in inputs:
        if node.input(index) is not None:
            raise Refused(f"its input {index} asks for what has no counterpart")


@composes("MultiHeadAttention", domain=CONTRIB)
def multiheadattention(node: HubNode, emit: Emitter) -> Any:
    """query, key, value, bias, key padding mask, bias of the scores, past key, past value."""
    k, heads = Kit(emit), node.attr_int("num_heads")
    _refuse(node, {}, (8, 9))
    query, key, value = _projected(k, node, heads)
    for index, name in ((6, "past key"), (7, "past value")):
        if (node.input(index) is None) != (node.input(6) is None):
            raise Refused(f"its {name} is missing")
    if node.input(6) is not None:
        key = k("Concat", node.value(6), key, axis=2)
        value = k("Concat", node.value(7), value, axis=2)
    added = _added(k, node, 4, 5, key)
    limit = bool(integer(node, "unidirectional", 0))
    made = attended(k, query, key, value, number(node, "scale", 0.0), added, limit)
    return [merged_heads(k, made), k("Identity", key), k("Identity", value)]


def _projected(k: Kit, node: HubNode, heads: int) -> list[ir.Value]:
    """Query, key and value as [B, N, S, H], with their biases."""
    packed = dims(node.value(0))
    if len(packed) == 5:  # [B, S, N, 3, H]
        parts = [_picked(k, node.value(0), index) for index in range(3)]
    elif node.input(2) is None:
        if node.input(1) is None or len(dims(node.value(1))) != 5:
            raise Refused("its value is missing")
        parts = [node.value(0), *(_picked(k, node.value(1), index) for index in range(2))]
    else:
        parts = [node.value(0), node.value(1), node.value(2)]
    if node.input(3) is None:
        return [split_heads(k, part, heads) for part in parts]
    found, start, bias = [], 0, node.value(3)
    for part in parts:
        shape = dims(part)
        width = shape[2] if len(shape) == 3 else shape[1] * shape[3]
        own = k.take(bias, 0, start, start + width)
        start += width
        if len(shape) == 4:
            own = k.reshape(own, (heads, 1, shape[3]))
        found.append(split_heads(k, k("Add", part, own), heads))
    return found


def _picked(k: Kit, packed: ir.Value, index: int) -> ir.Value:
    """[B, S, N, parts, H] → [B, N, S, H]."""
    return k.transpose(k("Squeeze", k.take(packed, 3, index, index + 1), [3]), (0, 2, 1, 3))
