"""Activations, normalisations and products that stand for several standard operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, integer, number, passed_on, wanted
from workbench.hub.compositions.table import CONTRIB, composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}


@composes("Gelu", domain=CONTRIB)
def gelu(node: HubNode, emit: Emitter) -> Any:
    return emit.op("Gelu", node.value(0))


@composes("BiasGelu", domain=CONTRIB)
def biasgelu(node: HubNode, emit: Emitter) -> Any:
    return emit.op("Gelu", emit.op("Add", node.value(0), node.value(1)))


@composes("FastGelu", domain=CONTRIB)
def fastgelu(node: HubNode, emit: Emitter) -> Any:
    x = node.value(0) if node.input(1) is None else emit.op("Add", node.value(0), node.value(1))
    return emit.op("Gelu", x, approximate="tanh")


@composes("QuickGelu", domain=CONTRIB)
def quickgelu(node: HubNode, emit: Emitter) -> Any:
    """x · sigmoid(alpha · x)"""
    k, x = Kit(emit), node.value(0)
    return k("Mul", x, k("Sigmoid", k("Mul", x, number(node, "alpha", 1.702))))


def activated(k: Kit, x: ir.Value, name: str | None, parameters: Sequence[float]) -> ir.Value:
    """The named activation of a fused operator."""
    if name is None or not name:
        return x
    if name not in _PARAMETERS:
        raise Refused(f"the activation {name!r} is unknown")
    if name == "Clip":
        low, high = parameters
        return k("Clip", x, low, high)
    attributes: dict[str, Any] = dict(zip(_PARAMETERS[name], parameters, strict=False))
    return k(name, x, **attributes)


@composes("FusedConv", domain=CONTRIB)
def fusedconv(node: HubNode, emit: Emitter) -> Any:
    """activation(Conv(X, W, B) + Z)"""
    k = Kit(emit)
    name = node.attr_string("activation", None)
    parameters = node.attr_floats("activation_params") or ()
    kept = passed_on(node, "activation", "activation_params")
    made = k("Conv", node.value(0), node.value(1), node.input(2), **kept)
    if node.input(3) is not None:
        made = k("Add", made, node.value(3))
    return activated(k, made, name, parameters)


@composes("FusedGemm", domain=CONTRIB)
def fusedgemm(node: HubNode, emit: Emitter) -> Any:
    """activation(Gemm(A, B, C))"""
    name = node.attr_string("activation", None)
    places = ("activation_alpha", "activation_beta", "activation_gamma")
    parameters = [node.attr_float(place) for place in places if node.has(place)]
    kept, k = passed_on(node, "activation", *places), Kit(emit)
    return activated(k, k("Gemm", node.value(0), node.value(1), node.input(2), **kept), name, parameters)


@composes("FusedMatMul", "TransposeMatMul", domain=CONTRIB)
def fusedmatmul(node: HubNode, emit: Emitter) -> Any:
    """alpha · A′ B′; ``transBatch`` moves the first axis in front of the last, ``trans`` swaps the last two."""
    k, alpha = Kit(emit), number(node, "alpha", 1.0)
    sides = []
    for index, side in enumerate("AB"):
        x = node.value(index)
        rank = len(dims(x))
        if integer(node, f"transBatch{side}", 0) and rank > 2:
            x = k.moved(x, 0, rank - 2)
        if integer(node, f"trans{side}", 0) and rank > 1:
            x = k.moved(x, rank - 1, rank - 2)
        sides.append(x)
    made = k("MatMul", *sides)
    return made if alpha == 1 else k("Mul", made, alpha)


@composes("SimplifiedLayerNormalization")
@composes("SimplifiedLayerNormalization", domain=CONTRIB)
def simplifiedlayernormalization(node: HubNode, emit: Emitter) -> Any:
    node.ignore("stash_type")
    if wanted(node, 1):
        raise Refused("the inverse of the deviation is not computed", "leave the output out in the source model")
    x, scale = node.value(0), node.value(1)
    axis, epsilon = integer(node, "axis", -1), number(node, "epsilon", 1e-5)
    return emit.op("RMSNormalization", x, scale, axis=axis, epsilon=epsilon)


@composes("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=CONTRIB)
def skiplayernormalization(node: HubNode, emit: Emitter) -> Any:
    """The normalised sum of input, skip and bias; the last output is the sum."""
    k, simple = Kit(emit), node.operator == "SkipSimplifiedLayerNormalization"
    bias = node.input(3 if simple else 4)
    epsilon = number(node, "epsilon", 1e-12)
    total = k("Add", node.value(0), node.value(1))
    if bias is not None:
        total = k("Add", total, bias)
    if simple:
        made = k("RMSNormalization", total, node.value(2), axis=-1, epsilon=epsilon)
    else:
        made = k("LayerNormalization", total, node.value(2), node.input(3), axis=-1, epsilon=epsilon)
    return [made, None, None, total]


@composes("EmbedLayerNormalization", domain=CONTRIB)
def embedlayernormalization(node: HubNode, emit: Emitter) -> Any:
    """Words, places and segments embedded, summed and normalised; the mask's sums; the sum of the embeddings."""
    k, ids = Kit(emit), node.value(0)
    batch, length = dims(ids)
    kind, epsilon = integer(node, "mask_index_type", 0), number(node, "epsilon", 1e-12)
    places = node.input(8)
    if places is None:
        places = emit.const(np.arange(length, dtype=np.int64)[None])
    total = k("Add", k("Gather", node.value(2), ids), k("Gather", node.value(3), places))
    if node.input(1) is not None:
        total = k("Add", total, k("Gather", node.value(4), node.value(1)))
    made = k("LayerNormalization", total, node.value(5), node.value(6), axis=-1, epsilon=epsilon)
    if node.input(7) is None:
        index: ir.Value | None = emit.const(np.zeros(batch, np.int32))
    else:
        index = k("ReduceSum", node.value(7), [1], keepdims=0) if kind in (0, 1) else None
    return [made, index, total]
