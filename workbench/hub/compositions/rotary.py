"""Rotary embedding: pairs of numbers turned by angles that grow with the place in the sequence."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, integer
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused


@composes("RotaryEmbedding", since=23)
def rotaryembedding_23(node: HubNode, emit: Emitter) -> Any:
    """X [B, N, S, H] or [B, S, N · H]; cosines and sines [B, S, width / 2], or [places, width / 2] to be looked up.

    onnx's own body takes parts without elements where all of H is turned, which not every format has.
    """
    k, x, heads = Kit(emit), node.value(0), integer(node, "num_heads", 0)
    shape, flat = dims(x), len(dims(x)) == 3
    if flat and not heads:
        raise Refused("'num_heads' is missing, without which the heads of three dimensions are unknown")
    if flat:
        x = k.reshape(x, (shape[0], shape[1], heads, shape[2] // heads))
    width = integer(node, "rotary_embedding_dim", 0) or dims(x)[-1]
    waves = [node.value(1), node.value(2)]
    if node.input(3) is not None:
        waves = [k("Gather", wave, node.value(3), axis=0) for wave in waves]
    cosine, sine = (k("Unsqueeze", wave, [2 if flat else 1]) for wave in waves)
    turned = _turned(k, x, (cosine, sine), width, bool(node.attr_int("interleaved")))
    if width < dims(x)[-1]:
        turned = k("Concat", turned, k.take(x, 3, width, dims(x)[-1]), axis=3)
    return k.reshape(turned, shape)


def _turned(k: Kit, x: ir.Value, waves: tuple[ir.Value, ir.Value], width: int, interleaved: bool) -> ir.Value:
    """(a cos − b sin, a sin + b cos) of the pairs: neighbours, or of the first and the second half."""
    cosine, sine = waves
    half = width // 2
    if interleaved:
        first, second = (k("Slice", x, [start], [width], [3], [2]) for start in (0, 1))
    else:
        first, second = k.take(x, 3, 0, half), k.take(x, 3, half, width)
    real = k("Sub", k("Mul", first, cosine), k("Mul", second, sine))
    imaginary = k("Add", k("Mul", first, sine), k("Mul", second, cosine))
    if not interleaved:
        return k("Concat", real, imaginary, axis=3)
    pairs = k("Concat", k("Unsqueeze", real, [4]), k("Unsqueeze", imaginary, [4]), axis=4)
    return k.reshape(pairs, (*dims(x)[:3], width))
