"""Convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from workbench.document import Dim
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, batched, network
from workbench.formats.coreml.to_onnx.windows import (
    Padding,
    Pads,
    Window,
    average,
    ceiling,
    laid,
    onnx_pads,
    same,
    split_total,
)
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused


def _sizes(x: ir.Value) -> tuple[Dim, ...]:
    dims = dims_of(x)
    return (None, None) if dims is None else dims[-2:]


def _edges(border: Any) -> Pads:
    """``BorderAmounts`` as pairs; none at all stand for zeros."""
    pairs = [(int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in border.borderAmounts]
    return pairs or [(0, 0), (0, 0)]


def _padding(layer: NetworkLayer, emit: Emitter, group: str, window: Window) -> Padding:
    """Padding by the member of the oneof: ``valid`` (with amounts of its own) or ``same``."""
    kind = layer.which(group) or "valid"
    if kind == "valid":
        return _edges(layer.get("valid").paddingAmounts)
    lower = layer.get("same").asymmetryMode == 1  # TOP_LEFT_HEAVY
    return same(emit, layer.x(), window, lower=lower)


@network.lowers("convolution")
def convolution(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """x: […, C, H, W]; weights: [C_out, C_in / groups, kH, kW], for a deconvolution [C_in, C_out / groups, kH, kW]."""
    groups, outputs, channels = (
        layer.integer("nGroups", 1),
        layer.integer("outputChannels"),
        layer.integer("kernelChannels"),
    )
    kernel, strides = layer.ints("kernelSize", (3, 3)), layer.ints("stride", (1, 1))
    transposed = layer.flag("isDeconvolution")
    dilations = layer.ints("dilationFactor", (1, 1))
    window = Window(tuple(kernel), tuple(strides), tuple(dilations))
    shape = [channels, outputs // groups, *kernel] if transposed else [outputs, channels, *kernel]
    weights = layer.x(1) if len(layer.inputs) > 1 else layer.weights(emit, "weights", shape)
    bias = layer.optional_bias(emit, outputs)
    common: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": window.dilations,
        "group": groups,
    }
    if transposed:
        return batched(emit, layer.x(), lambda x: _deconvolve(layer, emit, x, weights, bias, window, common))
    layer.ignore("outputShape")  # "used only for deconvolution"
    padding = _padding(layer, emit, "ConvolutionPaddingType", window)

    def lower(x: ir.Value) -> ir.Value:
        x, pads = laid(emit, x, padding)
        return emit.op("Conv", x, weights, bias, pads=pads, **common)

    return batched(emit, layer.x(), lower)


def _deconvolve(
    layer: NetworkLayer, emit: Emitter, x: ir.Value, weights: ir.Value, bias: ir.Value | None, window: Window,
    common: dict[str, Any],
) -> ir.Value:  # fmt: skip
    """``outputShape`` overrides the padding: what is too much is cut off, more of it behind."""
    wanted = layer.ints("outputShape")
    if not wanted and layer.which("ConvolutionPaddingType") != "same":
        pads = _edges(layer.get("valid").paddingAmounts)
        return emit.op("ConvTranspose", x, weights, bias, pads=onnx_pads(pads), **common)
    layer.ignore("valid", "same")
    if wanted:
        totals = totals_of(_sizes(x), wanted, window)
    else:
        totals = [extent - step for extent, step in zip(window.extents, window.strides, strict=True)]
    return cut(emit, x, weights, bias, window, totals, common)


def totals_of(dims: Sequence[Dim], wanted: Sequence[int], window: Window) -> list[int]:
    """How much a deconvolution makes beyond the sizes ``wanted``, by dimension."""
    sizes = [size for size in dims if isinstance(size, int)]
    if len(sizes) != len(wanted):
        raise Refused("outputShape for an input whose size is only known at run time", "fix the input shapes")
    return [
        (size - 1) * step + extent - want
        for size, step, extent, want in zip(sizes, window.strides, window.extents, wanted, strict=True)
    ]


def cut(
    emit: Emitter, x: ir.Value, weights: ir.Value, bias: ir.Value | None, window: Window, totals: Sequence[int],
    common: dict[str, Any],
) -> ir.Value:  # fmt: skip
    """A deconvolution without the last ``totals`` elements, half of them before; negative totals are added behind."""
    if any(-total >= step for total, step in zip(totals, window.strides, strict=True)):
        raise Refused("the output shape reaches beyond the windows")
    pads = [split_total(max(total, 0)) for total in totals]
    extra = [max(-total, 0) for total in totals]
    return emit.op("ConvTranspose", x, weights, bias, pads=onnx_pads(pads), output_padding=extra, **common)


@network.lowers("pooling")
def pooling(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """MAX, AVERAGE or L2 over windows of the last two dimensions."""
    kind, exclude = layer.choice("type"), layer.flag("avgPoolExcludePadding")
    if layer.flag("globalPooling"):
        layer.ignore("kernelSize", "stride", "valid", "same", "includeLastPixel")
        return batched(emit, layer.x(), lambda x: _global(emit, x, kind))
    kernel = layer.ints("kernelSize", (3, 3))
    window = Window(tuple(kernel), tuple(layer.ints("stride", (1, 1))), (1, 1))
    if layer.which("PoolingPaddingType") == "includeLastPixel":
        amounts = [int(item) for item in layer.get("includeLastPixel").paddingAmounts] or [0, 0]
        stated: Padding = [(amount, amount) for amount in amounts]
        pads = ceiling(emit, layer.x(), window, stated)
    else:
        stated = pads = _padding(layer, emit, "PoolingPaddingType", window)
    return batched(emit, layer.x(), lambda x: _pooled(emit, x, kind, window, stated, pads, exclude))


def _pooled(
    emit: Emitter, x: ir.Value, kind: str, window: Window, stated: Padding, pads: Padding, exclude: bool
) -> ir.Value:
    if kind == "AVERAGE":
        return average(emit, x, window, stated, pads, exclude=exclude)
    x, edges = laid(emit, x, pads, -math.inf if kind == "MAX" else 0.0)
    common: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.strides, "pads": edges}
    return emit.op("MaxPool", x, **common) if kind == "MAX" else emit.op("LpPool", x, p=2, **common)


def _global(emit: Emitter, x: ir.Value, kind: str) -> ir.Value:
    if kind == "L2":
        return emit.op("ReduceL2", x, emit.const([-2, -1]), keepdims=1)  # onnxruntime has no GlobalLpPool-22
    return emit.op("GlobalMaxPool" if kind == "MAX" else "GlobalAveragePool", x)
