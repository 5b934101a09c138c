"""The shapes that windows and factors make of shapes with open sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from workbench.hub.sizes import Extent, Size
from workbench.hub.symbolic.known import OpenShapes, Shape, input_of, integer, ints, shape_of, shapes, text
from workbench.hub.values import constant_of


def windows(node: ir.Node, spatial: Sequence[Extent | None], kernel: Sequence[int]) -> tuple[Extent | None, ...]:
    """The sizes that windows of a convolution or pool leave."""
    count = len(spatial)
    strides = ints(node, "strides") or (1,) * count
    dilations = ints(node, "dilations") or (1,) * count
    pads, auto = ints(node, "pads") or (0,) * (2 * count), text(node, "auto_pad", "NOTSET")
    found: list[Extent | None] = []
    for axis, size in enumerate(spatial):
        if size is None:
            found.append(None)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            found.append((size + (strides[axis] - 1)) // strides[axis])
        else:
            around = 0 if auto == "VALID" else pads[axis] + pads[axis + count]
            room = size + (around - (kernel[axis] - 1) * dilations[axis] - 1)
            if integer(node, "ceil_mode", 0) and strides[axis] > 1:
                found.append(room // strides[axis] + 1 if not isinstance(room, Size) else None)  # onnx has inferred it
            else:
                found.append(room // strides[axis] + 1)
    return tuple(found)


@shapes("Conv")
def _conv(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, weights = shape_of(node, 0, known), shape_of(node, 1, known)
    kernel = None if weights is None else [size for size in weights[2:] if isinstance(size, int)]
    if shape is None or weights is None or kernel is None or len(kernel) != len(shape) - 2:
        return None
    return [(shape[0], weights[0], *windows(node, shape[2:], kernel))]


@shapes("MaxPool", "AveragePool", "LpPool")
def _pool(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, kernel = shape_of(node, 0, known), ints(node, "kernel_shape")
    if shape is None or kernel is None or len(kernel) != len(shape) - 2:
        return None
    return [(*shape[:2], *windows(node, shape[2:], kernel))] * len(node.outputs)


@shapes("ConvTranspose")
def _convtranspose(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    """https://onnx.ai/onnx/operators/onnx__ConvTranspose.html"""
    shape, weights = shape_of(node, 0, known), shape_of(node, 1, known)
    if shape is None or weights is None or not isinstance(weights[1], int):
        return None
    count = len(shape) - 2
    strides, dilations = ints(node, "strides") or (1,) * count, ints(node, "dilations") or (1,) * count
    pads, extra = ints(node, "pads") or (0,) * (2 * count), ints(node, "output_padding") or (0,) * count
    auto, stated = text(node, "auto_pad", "NOTSET"), ints(node, "output_shape")
    channels = weights[1] * integer(node, "group", 1)
    if stated is not None:
        return [(shape[0], channels, *stated[-count:])]
    found: list[Extent | None] = []
    for axis, size in enumerate(shape[2:]):
        width = weights[axis + 2]
        if size is None or not isinstance(width, int):
            found.append(None)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            found.append(size * strides[axis])
        else:
            around = 0 if auto == "VALID" else pads[axis] + pads[axis + count]
            found.append((size - 1) * strides[axis] + (extra[axis] + (width - 1) * dilations[axis] + 1 - around))
    return [(shape[0], channels, *found)]


@shapes("Resize")
def _resize(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    """Whole factors, and sizes that are stated for every axis."""
    shape = shape_of(node, 0, known)
    if shape is None or text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    axes = [axis % len(shape) for axis in ints(node, "axes") or range(len(shape))]
    result, factors = list(shape), constant_of(input_of(node, 2))
    if input_of(node, 3) is not None:
        wanted = known.elements(input_of(node, 3))
        for place, axis in enumerate(axes):
            result[axis] = None if wanted is None else wanted[place]
    elif factors is not None and len(factors) == len(axes):
        for factor, axis in zip(factors, axes, strict=True):
            size = result[axis]
            whole = float(factor).is_integer()
            result[axis] = size * int(factor) if whole and size is not None else _numbers_only(size, float(factor))
    else:
        return None
    return [tuple(result)]


def _numbers_only(size: Extent | None, factor: float) -> Extent | None:
    return int(np.floor(np.float32(size) * np.float32(factor))) if isinstance(size, int) else None


@shapes("DepthToSpace", "SpaceToDepth")
def _blocks(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, block = shape_of(node, 0, known), integer(node, "blocksize", 1)
    if shape is None or len(shape) != 4 or any(size is None for size in shape):
        return None
    batch, channels, height, width = (size for size in shape if size is not None)
    if node.op_type == "DepthToSpace":
        return [(batch, channels // (block * block), height * block, width * block)]
    return [(batch, channels * block * block, height // block, width // block)]
