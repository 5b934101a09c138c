"""Attention of language models: groups of queries share their keys, which are kept in a cache from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.contrib.attention import merged_heads, rotated, split_heads
from workbench.hub.compositions.kit import Kit, dims, dtype, integer, number
from workbench.hub.compositions.table import CONTRIB, composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_UNUSED = {
    "smooth_softmax": 0,
    "qk_output": 0,
    "kv_cache_bit_width": 0,
    "sliding_window_cache": 0,
    "causal": 1,
}


@dataclass(frozen=True)
class Cache:
    """Where a step stands: ``before`` [B, 1] keys are known of each sequence, the buffer has room for ``room``."""

    before: ir.Value
    room: int


@composes("GroupQueryAttention", domain=CONTRIB)
def groupqueryattention(node: HubNode, emit: Emitter) -> Any:
    """query [B, S, N · H] (or all three in it), key and value [B, S, M · H], caches [B, M, P, H], lengths − 1 [B].

    The new keys are written behind those that each sequence has; a query sees those up to its own.
    """
    k = Kit(emit)
    _check(node)
    heads, groups = node.attr_int("num_heads"), node.attr_int("kv_num_heads")
    query, key, value = _parts(k, node, heads, groups)
    batch, _, length, _ = dims(query)
    cache = _cache(k, node, length)
    if integer(node, "do_rotary", 0):
        ids = k("Add", cache.before, np.arange(length, dtype=np.int64)[None])
        if node.input(9) is not None:
            ids = node.value(9)
        ids = k("Expand", ids, [batch, length])
        caches, interleaved = (node.value(7), node.value(8)), integer(node, "rotary_interleaved", 0)
        width = 2 * dims(node.value(7))[1]
        width = 0 if width == dims(query)[-1] else width
        query, key = (rotated(k, x, caches, ids, 0, width, interleaved) for x in (query, key))
    else:
        node.ignore("rotary_interleaved")
    keys, values = (_written(k, node.input(3 + index), new, cache) for index, new in enumerate((key, value)))
    return [merged_heads(k, _attended(k, node, query, keys, values, cache)), keys, values]


def _check(node: HubNode) -> None:
    for name, usual in _UNUSED.items():
        if integer(node, name, usual) != usual:
            raise Refused(f"its attribute {name!r} asks for what has no counterpart")
    node.ignore("q_norm_epsilon", "k_norm_epsilon", "qk_norm_epsilon")
    for name in ("k_quant_type", "v_quant_type"):
        if node.attr_string(name, None) not in (None, "", "NONE"):
            raise Refused("its cache is quantised")
    if any(node.input(index) is not None for index in range(11, 17)):
        raise Refused("it has inputs (sinks, scales, norms) that have no counterpart")


def _parts(k: Kit, node: HubNode, heads: int, groups: int) -> list[ir.Value]:
    if node.input(1) is not None:
        sides = [node.value(0), node.value(1), node.value(2)]
    else:
        width = dims(node.value(0))[-1] // (heads + 2 * groups)
        sizes = k.emit.const([heads * width, groups * width, groups * width])
        sides = k.emit.ops("Split", node.value(0), sizes, outputs=3, axis=2)
    return [split_heads(k, side, count) for side, count in zip(sides, (heads, groups, groups), strict=True)]


def _cache(k: Kit, node: HubNode, length: int) -> Cache:
    """The first step, where the whole length is new, begins with no keys; later ones end where the lengths say."""
    total = int(node.require_constant(6).reshape(-1)[0])
    past = 0 if node.input(3) is None else dims(node.value(3))[2]
    ends = k.reshape(k.cast(node.value(5), "int64"), (-1, 1))
    before = k("Mul", ends, 0) if total == length else k("Sub", ends, length - 1)
    return Cache(before, max(past, total))


def _written(k: Kit, past: ir.Value | None, new: ir.Value, cache: Cache) -> ir.Value:
    """The buffer [B, M, room, H] with the new keys behind those of each sequence."""
    batch, groups, _, width = dims(new)
    kind, known = dtype(new), 0 if past is None else dims(past)[2]
    buffer = k.emit.const(np.zeros((batch, groups, cache.room - known, width), kind))
    if past is not None and known:
        buffer = k("Concat", past, buffer, axis=2) if cache.room > known else past
    return k("TensorScatter", buffer, new, k.reshape(cache.before, (-1,)), axis=2)


def _attended(k: Kit, node: HubNode, query: ir.Value, keys: ir.Value, values: ir.Value, cache: Cache) -> ir.Value:
    """softmax(limited(query keyᵀ · scale)) value; the queries of a group are rows of one product."""
    batch, heads, length, width = dims(query)
    groups, kind = dims(keys)[1], dtype(query)
    shared = heads // groups
    rows = k.reshape(query, (batch, groups, shared * length, width))
    scores = k("MatMul", rows, k.transpose(keys, (0, 1, 3, 2)))
    scores = k("Mul", scores, number(node, "scale", 0.0) or width**-0.5)
    cap = number(node, "softcap", 0.0)
    if cap:
        scores = k("Mul", k("Tanh", k("Div", scores, cap)), cap)
    wide = k.reshape(scores, (batch, groups, shared, length, cache.room))
    if node.input(10) is not None:
        bias = node.value(10)
        first, count, *rest = dims(bias)
        split = (groups, shared) if count == heads else (1, 1)
        wide = k("Add", wide, k.reshape(bias, (first, *split, *rest)))
    ends = k("Add", cache.before, np.arange(length, dtype=np.int64)[None])
    ends = k.reshape(ends, (-1, 1, 1, length, 1))
    places = np.arange(cache.room, dtype=np.int64)
    seen = k("LessOrEqual", places, ends)
    window = integer(node, "local_window_size", -1)
    if window > 0:
        seen = k("And", seen, k("Greater", places, k("Sub", ends, window)))
    wide = k("Where", seen, wide, float(np.finfo(kind).min))
    weights = k.reshape(k("Softmax", wide, axis=-1), (batch, groups, shared * length, cache.room))
    return k.reshape(k("MatMul", weights, values), (batch, heads, length, dims(values)[-1]))
