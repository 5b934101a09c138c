"""Convolutions and pools over three spatial dimensions: [N, C, D, H, W]."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, network
from workbench.formats.coreml.tensors import rank_of
from workbench.formats.coreml.to_onnx.windows import Pads, Window, average, onnx_pads, same_total, split_total
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


def _padding(layer: NetworkLayer, window: Window) -> Pads:
    """Zeros before and after each dimension; of an odd number the last goes behind."""
    x, kind = layer.x(), layer.choice("paddingType")
    if rank_of(x) != 5:
        raise Refused(f"a tensor of rank {rank_of(x)}; five dimensions are specified")
    amounts = [tuple(layer.integer(f"customPadding{edge}") for edge in edges) for edges in _EDGES]
    if kind == "CUSTOM":
        return [(before, after) for before, after in amounts]
    if kind == "VALID":
        return [(0, 0)] * 3
    sizes = (dims_of(x) or ())[2:]
    return [split_total(total) for total in map(same_total, sizes, window.strides, window.extents)]


@network.lowers("convolution3d")
def convolution3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """weights: [C_out, C_in / groups, kD, kH, kW]"""
    if layer.flag("isDeconvolution"):
        raise Refused("a deconvolution: the layout of its weights is not specified")
    layer.ignore("outputShape")  # "used only for deconvolution"
    groups, outputs = layer.integer("nGroups", 1), layer.integer("outputChannels")
    window = _window(layer)
    weights = layer.weights(emit, "weights", [outputs, layer.integer("inputChannels") // groups, *window.kernel])
    return emit.op(
        "Conv", layer.x(), weights, layer.optional_bias(emit, outputs), kernel_shape=window.kernel,
        strides=window.strides, dilations=window.dilations, group=groups, pads=onnx_pads(_padding(layer, window)),
    )  # fmt: skip


@network.lowers("pooling3d")
def pooling3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """MAX or AVERAGE over windows."""
    kind, exclude, window = layer.choice("type"), layer.flag("countExcludePadding"), _window(layer)
    pads = _padding(layer, window)
    if kind == "AVERAGE":
        return average(emit, layer.x(), window, pads, pads, exclude=exclude)
    return emit.op("MaxPool", layer.x(), kernel_shape=window.kernel, strides=window.strides, pads=onnx_pads(pads))


@network.lowers("globalPooling3d")
def global_pooling3d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """MAX or AVERAGE over the whole volume."""
    return emit.op("GlobalMaxPool" if layer.choice("type") == "MAX" else "GlobalAveragePool", layer.x())
