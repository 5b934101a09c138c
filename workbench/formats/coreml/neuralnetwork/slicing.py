"""Slices, crops, padding and resizing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, integers, network
from workbench.formats.coreml.tensors import like, rank_of, shape_of
from workbench.formats.coreml.to_onnx.image import Crop, check_boxes, crop_resize_core, images_of
from workbench.formats.coreml.to_onnx.resize import linear, nearest, scaled_at_run_time
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


@network.lowers("sliceDynamic")
def slice_dynamic(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """As ``sliceStatic``; inputs: x, begins and, instead of the parameters, ends, strides and the masks.

    Which dimensions are dropped may be computed too: the result's rank is then only known at run time.
    """
    x, begin = layer.x(), integers(emit, layer.x(1))
    rank = rank_of(x)
    end, steps = (_ints(layer, emit, index, name, rank) for index, name in ((2, "endIds"), (3, "strides")))
    begin_open, end_open, dropped = (
        emit.op("Cast", _ints(layer, emit, index, name, rank), to=ir.DataType.BOOL.value)
        for index, name in enumerate(("beginMasks", "endMasks", "squeezeMasks"), 4)
    )
    one, far, back = emit.const(1), emit.const(_FAR), emit.const(-_FAR)
    steps = emit.op("Where", dropped, one, steps)
    forwards = emit.op("Greater", steps, emit.const(0))
    first = emit.op("And", begin_open, emit.op("Not", dropped))
    starts = emit.op("Where", first, emit.op("Where", forwards, emit.const(0), far), begin)
    stops = emit.op("Where", end_open, emit.op("Where", forwards, far, back), end)
    behind = emit.op("Add", begin, one)
    last = emit.op("Where", emit.op("Equal", behind, emit.const(0)), far, behind)
    stops = emit.op("Where", dropped, last, stops)
    result = emit.op("Slice", x, starts, stops, emit.const(list(range(rank))), steps)
    known = emit.known(dropped)
    if known is None:
        kept = emit.op("Compress", emit.op("Shape", result), emit.op("Not", dropped), axis=0)
        return emit.op("Reshape", result, kept)
    gone = [axis for axis in range(rank) if known.reshape(-1)[axis]]
    return emit.op("Squeeze", result, emit.const(gone)) if gone else result


def _ints(layer: NetworkLayer, emit: Emitter, index: int, name: str, rank: int) -> ir.Value:
    """A number for each dimension, int64, from an input or from the parameter where there is no such input."""
    if index < len(layer.inputs):
        layer.ignore(name)
        return integers(emit, layer.x(index))
    default = [int(name == "strides")] * rank
    return emit.const(layer.ints(name, default)[:rank])  # coremltools' builder writes five, whatever the rank


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
        pairs = emit.op("Reshape", integers(emit, layer.x(1)), emit.const([-1, 2]))
        if layer.flag("padToGivenOutputSizeMode"):
            pairs = _up_to(emit, x, pairs)
        return emit.op("Pad", x, _flat(emit, pairs), like(emit, value, x))
    table: np.ndarray[Any, Any] = np.asarray(layer.ints("padAmounts"), dtype=np.int64).reshape(-1, 2)
    dims = dims_of(x)
    if layer.flag("padToGivenOutputSizeMode"):
        if dims is None or not all(isinstance(dim, int) for dim in dims):
            return emit.op("Pad", x, _flat(emit, _up_to(emit, x, emit.const(table))), like(emit, value, x))
        table = np.where(table > 0, np.maximum(table - np.asarray(dims).reshape(-1, 1), 0), 0)
    return emit.op("Pad", x, emit.const(table.T.reshape(-1)), like(emit, value, x))


def _up_to(emit: Emitter, x: ir.Value, pairs: ir.Value) -> ir.Value:
    """Pairs [rank, 2] of sizes, of which 0 asks for nothing, as what is missing to them."""
    sizes = emit.op("Unsqueeze", emit.op("Shape", x), emit.const([-1]))
    missing = emit.op("Max", emit.op("Sub", pairs, sizes), emit.const(0))
    return emit.op("Where", emit.op("Greater", pairs, emit.const(0)), missing, emit.const(0))


def _flat(emit: Emitter, pairs: ir.Value) -> ir.Value:
    """Pairs [rank, 2] in the order of ONNX's Pad: everything before, then everything behind."""
    return emit.op("Reshape", emit.op("Transpose", pairs, perm=[1, 0]), emit.const([-1]))


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
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        return scaled_at_run_time(emit, x, factors, mode if bilinear else "")
    target = [math.floor(size * factor) for size, factor in zip(shape_of(x)[-2:], factors, strict=True)]
    return linear(emit, x, target, mode) if bilinear else nearest(emit, x, target)


@network.lowers("resizeBilinear")
def resize_bilinear(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The last two dimensions to ``targetSize``, linearly."""
    number = int(layer.get("mode").samplingMethod)
    if not 0 <= number < len(_SAMPLING):
        raise Refused(f"sampling method {number} is not known")
    return linear(emit, layer.x(), layer.ints("targetSize", (1, 1)), _SAMPLING[number])


_BOXES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")
"""The names that ML programs have for the conventions of ``BoxCoordinatesMode``, by number."""


@network.lowers("cropResize")
def crop_resize(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """x: [1, B, C, H, W], boxes: [N, 1, 4, 1, 1] → [N, B, C, height, width].

    Boxes [N, 1, 5, 1, 1] begin with the image that they are of: → [N, 1, C, height, width].
    """
    x, roi = layer.x(0), layer.x(1)
    dims = dims_of(roi)
    if rank_of(x) != 5 or dims is None or len(dims) != 5 or dims[2] not in (4, 5):
        raise Refused(f"an image of rank {rank_of(x)} and boxes of shape {dims}; [1, B, C, H, W] and [N, 1, 4, 1, 1] "
                      "or [N, 1, 5, 1, 1] are specified")  # fmt: skip
    numbers = int(layer.get("mode").samplingMethod), int(layer.get("boxIndicesMode").boxMode)
    if not all(0 <= number < 4 for number in numbers):
        raise Refused(f"sampling method {numbers[0]} with box mode {numbers[1]} is not known")
    height, width = layer.ints("targetSize", (1, 1))
    crop = Crop(
        (height, width), _BOXES[numbers[1]], _SAMPLING[numbers[0]], layer.flag("normalizedCoordinates"),
        layer.number("spatialScale", 1.0),
    )  # fmt: skip
    known, columns = emit.known(roi), int(dims[2])
    check_boxes(None if known is None else known.reshape(-1, columns)[:, -4:], crop)
    boxes, x = emit.op("Reshape", roi, emit.const([-1, columns])), emit.op("Squeeze", x, emit.const([0]))
    if columns == 5:
        image = integers(emit, emit.op("Gather", boxes, emit.const([0]), axis=1))
        image = emit.op("Reshape", image, emit.const([-1, 1, 1, 1]))
        boxes = emit.op("Slice", boxes, emit.const([1]), emit.const([5]), emit.const([1]))
    else:
        image = images_of(emit, x, [1, -1, 1, 1])
    return crop_resize_core(emit, x, boxes, image, crop)
