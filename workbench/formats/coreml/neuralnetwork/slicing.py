"""Slices, crops, padding and resizing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, integers, network
from workbench.formats.coreml.tensors import like, rank_of, shape_of
from workbench.formats.coreml.to_onnx.resize import linear, nearest
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

_FAR = 2**62
_AXES = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}
_SAMPLING = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
"""The names that ML programs have for the modes of ``SamplingMode``, by number."""


@network.lowers("slice")
def slice_(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``[startIndex:endIndex:stride]`` of one of the last three dimensions."""
    numbers = (layer.integer("startIndex"), layer.integer("endIndex"), _AXES[layer.choice("axis")])
    start, end, axis = (emit.const([number]) for number in numbers)
    return emit.op("Slice", layer.x(), start, end, axis, emit.const([layer.integer("stride", 1)]))


@network.lowers("sliceStatic")
def slice_static(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``[beginIds:endIds:strides]`` with masks that open an end, or take one element and drop the dimension."""
    x = layer.x()
    rank = rank_of(x)
    names = ("beginIds", "endIds", "strides", "beginMasks", "endMasks", "squeezeMasks")
    begins, ends, strides, begin_open, end_open, dropped = (
        layer.ints(name, [1 if name == "strides" else 0] * rank) for name in names
    )
    starts, stops, steps = [], [], []
    for axis in range(rank):
        step = 1 if dropped[axis] else strides[axis]
        far = _FAR if step > 0 else -_FAR
        starts.append((0 if step > 0 else _FAR) if begin_open[axis] and not dropped[axis] else begins[axis])
        stops.append((begins[axis] + 1 or _FAR) if dropped[axis] else far if end_open[axis] else ends[axis])
        steps.append(step)
    axes = emit.const(list(range(rank)))
    result = emit.op("Slice", x, emit.const(starts), emit.const(stops), axes, emit.const(steps))
    gone = [axis for axis in range(rank) if dropped[axis]]
    return emit.op("Squeeze", result, emit.const(gone)) if gone else result


@network.lowers("sliceBySize")
def slice_by_size(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``size`` elements along ``axis`` from the second input on."""
    start = emit.op("Reshape", integers(emit, layer.x(1)), emit.const([1]))
    end = emit.op("Add", start, emit.const([layer.integer("size")]))
    return emit.op("Slice", layer.x(0), start, end, emit.const([layer.integer("axis")]))


@network.lowers("crop")
def crop(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Cut off height and width: by amounts, or to the size of the second input from ``offset`` on."""
    axes = emit.const([-2, -1])
    if len(layer.inputs) > 1:
        layer.ignore("cropAmounts")
        starts = emit.const(layer.ints("offset", (0, 0)))
        return emit.op(
            "Slice", layer.x(0), starts, emit.op("Add", starts, emit.op("Shape", layer.x(1), start=-2)), axes
        )
    layer.ignore("offset")
    edges = layer.get("cropAmounts").borderAmounts
    starts = emit.const([int(edge.startEdgeSize) for edge in edges])
    ends = emit.const([-int(edge.endEdgeSize) or _FAR for edge in edges])
    return emit.op("Slice", layer.x(), starts, ends, axes)


@network.lowers("padding")
def padding(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Height and width, with a constant, by reflection or by replication."""
    x, kind = layer.x(), layer.which("PaddingType") or "constant"
    edges = [(int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in layer.get("paddingAmounts").borderAmounts]
    if len(edges) != 2:
        raise Refused(f"{len(edges)} border amounts, two are specified")
    zeros = [0] * (rank_of(x) - 2)
    amounts = emit.const([*zeros, edges[0][0], edges[1][0], *zeros, edges[0][1], edges[1][1]])
    if kind == "constant":
        return emit.op("Pad", x, amounts, like(emit, layer.get("constant").value, x))
    return emit.op("Pad", x, amounts, mode="reflect" if kind == "reflection" else "edge")


@network.lowers("constantPad")
def constant_pad(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Any dimension, by pairs (before, after) or up to a given size."""
    x, value = layer.x(), layer.number("value")
    if len(layer.inputs) > 1:
        layer.ignore("padAmounts")
        if layer.flag("padToGivenOutputSizeMode"):
            raise Refused("padToGivenOutputSizeMode with sizes that are computed at run time")
        pairs = emit.op("Reshape", integers(emit, layer.x(1)), emit.const([-1, 2]))
        amounts = emit.op("Reshape", emit.op("Transpose", pairs, perm=[1, 0]), emit.const([-1]))
        return emit.op("Pad", x, amounts, like(emit, value, x))
    table: np.ndarray[Any, Any] = np.asarray(layer.ints("padAmounts"), dtype=np.int64).reshape(-1, 2)
    if layer.flag("padToGivenOutputSizeMode"):
        sizes = np.asarray(shape_of(x), dtype=np.int64).reshape(-1, 1)
        table = np.where(table > 0, np.maximum(table - sizes, 0), 0)
    return emit.op("Pad", x, emit.const(table.T.reshape(-1)), like(emit, value, x))


@network.lowers("upsample")
def upsample(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The last two dimensions by factors, to the nearest element or linearly."""
    x = layer.x()
    factors = [float(item) for item in layer.get("fractionalScalingFactor")] or layer.ints("scalingFactor", (1, 1))
    layer.ignore("scalingFactor")
    names = {
        "DEFAULT": "DEFAULT",
        "ALIGN_CORNERS_TRUE": "STRICT_ALIGN_CORNERS",
        "ALIGN_CORNERS_FALSE": "UNALIGN_CORNERS",
    }
    mode, bilinear = names[layer.choice("linearUpsampleMode")], layer.choice("mode") == "BILINEAR"
    dims = dims_of(x)
    if not bilinear and (dims is None or not all(isinstance(dim, int) for dim in dims)):
        if not all(float(factor).is_integer() for factor in factors):
            raise Refused("a fractional scale of a size that is only known at run time", "fix the input shapes")
        scales = emit.const(np.asarray([1.0] * (rank_of(x) - 2) + [float(factor) for factor in factors], np.float32))
        return emit.op(
            "Resize", x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    target = [math.floor(size * factor) for size, factor in zip(shape_of(x)[-2:], factors, strict=True)]
    return linear(emit, x, target, mode) if bilinear else nearest(emit, x, target)


@network.lowers("resizeBilinear")
def resize_bilinear(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The last two dimensions to ``targetSize``, linearly."""
    number = int(layer.get("mode").samplingMethod)
    if not 0 <= number < len(_SAMPLING):
        raise Refused(f"sampling method {number} is not known")
    return linear(emit, layer.x(), layer.ints("targetSize", (1, 1)), _SAMPLING[number])
