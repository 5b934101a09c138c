"""Convolutions and pools over three spatial dimensions: [N, C, D, H, W]."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.convolution import cut, totals_of
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, network
from workbench.formats.coreml.tensors import rank_of
from workbench.formats.coreml.to_onnx.windows import Padding, Window, average, laid, same
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_DIRECTIONS = ("Depth", "Height", "Width")
_EDGES = (("Front", "Back"), ("Top", "Bottom"), ("Left", "Right"))


def _window(layer: NetworkLayer) -> Window:
    kernel, strides = (
        tuple(layer.integer(f"{name}{direction}", default) for direction in _DIRECTIONS)
        for name, default in (("kernel", 3), ("stride", 1))
    )
    if layer.kind == "pooling3d":
        return Window(kernel, strides, (1, 1, 1))
    return Window(kernel, strides, tuple(layer.integer(f"dilation{direction}", 1) for direction in _DIRECTIONS))


def _padding(layer: NetworkLayer, emit: Emitter, window: Window) -> Padding:
    """Zeros before and after each dimension; of an odd number the last goes behind."""
    x, kind = layer.x(), layer.choice("paddingType")
    if rank_of(x) != 5:
        raise Refused(f"a tensor of rank {rank_of(x)}; five dimensions are specified")
    amounts = [tuple(layer.integer(f"customPadding{edge}") for edge in edges) for edges in _EDGES]
    if kind == "CUSTOM":
        return [(before, after) for before, after in amounts]
    if kind == "VALID":
        return [(0, 0)] * 3
    return same(emit, x, window)


@network.lowers("convolution3d")
def convolution3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """weights: [C_out, C_in / groups, kD, kH, kW], for a deconvolution [C_in, C_out / groups, kD, kH, kW]."""
    groups, inputs, outputs = (
        layer.integer("nGroups", 1),
        layer.integer("inputChannels"),
        layer.integer("outputChannels"),
    )
    window, bias = _window(layer), layer.optional_bias(emit, outputs)
    common: dict[str, Any] = {
        "kernel_shape": window.kernel, "strides": window.strides, "dilations": window.dilations, "group": groups
    }  # fmt: skip
    if layer.flag("isDeconvolution"):
        weights = layer.weights(emit, "weights", [inputs, outputs // groups, *window.kernel])
        return _deconvolve(layer, emit, weights, bias, window, common)
    layer.ignore("outputShape")  # "used only for deconvolution"
    weights = layer.weights(emit, "weights", [outputs, inputs // groups, *window.kernel])
    x, pads = laid(emit, layer.x(), _padding(layer, emit, window))
    return emit.op("Conv", x, weights, bias, pads=pads, **common)


def _deconvolve(
    layer: NetworkLayer, emit: Emitter, weights: ir.Value, bias: ir.Value | None, window: Window, common: dict[str, Any]
) -> ir.Value:
    """``outputShape`` overrides the padding, as in two dimensions."""
    x, wanted, kind = layer.x(), layer.ints("outputShape"), layer.choice("paddingType")
    pads = _padding(layer, emit, window) if kind != "SAME" else []
    layer.ignore(*(f"customPadding{edge}" for edges in _EDGES for edge in edges))
    if wanted:
        return cut(emit, x, weights, bias, window, totals_of((dims_of(x) or ())[2:], wanted, window), common)
    if kind == "SAME":
        totals = [extent - step for extent, step in zip(window.extents, window.strides, strict=True)]
        return cut(emit, x, weights, bias, window, totals, common)
    x, edges = laid(emit, x, pads)
    return emit.op("ConvTranspose", x, weights, bias, pads=edges, **common)


@network.lowers("pooling3d")
def pooling3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """MAX or AVERAGE over windows."""
    kind, exclude, window = layer.choice("type"), layer.flag("countExcludePadding"), _window(layer)
    pads = _padding(layer, emit, window)
    if kind == "AVERAGE":
        return average(emit, layer.x(), window, pads, pads, exclude=exclude)
    x, edges = laid(emit, layer.x(), pads, -math.inf)
    return emit.op("MaxPool", x, kernel_shape=window.kernel, strides=window.strides, pads=edges)


@network.lowers("globalPooling3d")
def global_pooling3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """MAX or AVERAGE over the whole volume."""
    return emit.op("GlobalMaxPool" if layer.choice("type") == "MAX" else "GlobalAveragePool", layer.x())
