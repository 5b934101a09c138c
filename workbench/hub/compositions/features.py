"""Operators that make features: n-grams counted, thresholds, columns picked."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Array, Kit, dims, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_ML = "ai.onnx.ml"


@composes("Binarizer", domain=_ML)
def binarizer_1(node: HubNode, emit: Emitter) -> Any:
    """1 above the threshold, else 0."""
    x, k = node.value(0), Kit(emit)
    return k.cast(k("Greater", x, node.attr_float("threshold")), dtype(x))


@composes("ArrayFeatureExtractor", domain=_ML)
def arrayfeatureextractor_1(node: HubNode, emit: Emitter) -> Any:
    """The columns of the last axis with these numbers; of a single row too, a matrix is made."""
    k, x = Kit(emit), node.value(0)
    picked = k("Gather", x, k.reshape(node.value(1), [-1]), axis=len(dims(x)) - 1)
    return k.reshape(picked, [1, *dims(picked)]) if len(dims(x)) == 1 else picked


@composes("TfIdfVectorizer", since=9)
def tfidfvectorizer_9(node: HubNode, emit: Emitter) -> Any:
    """How often each n-gram of the pool occurs, its items up to ``max_skip_count`` apart; x [C] or [N, C] of integers.

    Every place is compared with every n-gram; single items are counted once whatever may be skipped.
    """
    k, x = Kit(emit), node.value(0)
    weights, mode = node.attr_floats("weights"), node.attr_string("mode", None) or "TF"
    pool, columns = _pool(node), node.attr_ints("ngram_indexes") or ()
    least, most, skips = (node.attr_int(name) for name in ("min_gram_length", "max_gram_length", "max_skip_count"))
    rows = x if len(dims(x)) == 2 else k.reshape(x, [1, *dims(x)])
    width = max(columns) + 1
    totals, seen = [], 0
    for length, grams in pool.items():
        placed = np.zeros((len(grams), width), np.float32)
        placed[np.arange(len(grams)), columns[seen : seen + len(grams)]] = 1
        seen += len(grams)
        if least <= length <= most and len(grams):
            found = [_found(k, rows, grams, apart) for apart in range(1, (skips if length > 1 else 0) + 2)]
            totals += [k("MatMul", counts, placed) for counts in found if counts is not None]
    total = k.sum(totals) if totals else emit.const(np.zeros((dims(rows)[0], width), np.float32))
    result = _weighted(k, total, mode, width, dict(zip(columns, weights, strict=True)) if weights else {})
    return result if len(dims(x)) == 2 else k.reshape(result, [width])


def _pool(node: HubNode) -> dict[int, Array]:
    """The n-grams by their length: [count, length] each."""
    items = node.attr_ints("pool_int64s")
    if node.attr_strings("pool_strings") is not None or items is None:
        raise Refused("its n-grams are of strings", "vectorise the text before the model")
    starts = [*(node.attr_ints("ngram_counts") or ()), len(items)]
    pool = {}
    for length, (start, end) in enumerate(itertools.pairwise(starts), 1):
        pool[length] = np.asarray(items[start:end], np.int64).reshape(-1, length)
        if len(np.unique(pool[length], axis=0)) != len(pool[length]):
            raise Refused("an n-gram is in the pool twice")
    return pool


def _found(k: Kit, rows: ir.Value, grams: Array, apart: int) -> ir.Value | None:
    """[N, n-grams]: how often each occurs with its items this far apart; ``None`` if the rows are shorter than that."""
    batch, size = dims(rows)
    length = grams.shape[1]
    places = size - apart * (length - 1)
    if places < 1:
        return None
    items = grams.astype(dtype(rows))
    same = []
    for index in range(length):
        part = k.reshape(k.take(rows, 1, index * apart, index * apart + places), [batch, 1, places])
        same.append(k("Equal", part, np.ascontiguousarray(items[None, :, index, None])))
    whole = functools.reduce(lambda one, other: k("And", one, other), same)
    return k("ReduceSum", k.cast(whole, "float32"), [2], keepdims=0)


def _weighted(k: Kit, counts: ir.Value, mode: str, width: int, weights: dict[int, float]) -> ir.Value:
    """The counts (TF), the weights of what occurs (IDF), or the counts times the weights (TFIDF)."""
    if mode == "TF":
        return counts
    row = np.asarray([weights.get(column, 1.0) for column in range(width)], np.float32)
    return k("Mul", counts if mode == "TFIDF" else k.cast(k("Greater", counts, 0), "float32"), row)
