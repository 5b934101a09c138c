"""Sampling pictures and volumes at places that are computed: gathered pixels, weighted by their nearness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Array, Kit, dims, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused


class Pixels:
    """The pixels of ``x`` [N, C, *sizes] as rows of C numbers, to be picked by their places."""

    def __init__(self, k: Kit, x: ir.Value) -> None:
        self.k = k
        self.batch, self.channels, *self.sizes = dims(x)
        rows = k.reshape(x, (self.batch, self.channels, math.prod(self.sizes)))
        self.rows = k.reshape(k.transpose(rows, (0, 2, 1)), (-1, self.channels))

    def at(self, places: Sequence[ir.Value], batch: ir.Value | Array) -> ir.Value:
        """[*, C] at float places [*], whole numbers within the sizes, of the picture ``batch`` (int64)."""
        k = self.k
        flat = places[0]
        for size, place in zip(self.sizes[1:], places[1:], strict=True):
            flat = k("Add", k("Mul", flat, float(size)), place)
        index = k("Add", k.cast(flat, "int64"), k("Mul", batch, math.prod(self.sizes)))
        return k("Gather", self.rows, index, axis=0)

    def pictures(self) -> Array:
        """[N, 1]: the number of the picture that a row of places is for."""
        return np.arange(self.batch, dtype=np.int64)[:, None]


@composes("GridSample", since=22)
def gridsample_22(node: HubNode, emit: Emitter) -> Any:
    """X [N, C, *sizes], grid [N, *places, n] in −1 … 1, the last axis first → [N, C, *places].

    Source: https://onnx.ai/onnx/operators/onnx__GridSample.html and its reference.
    """
    k, x, grid = Kit(emit), node.value(0), node.value(1)
    mode, padding = node.attr_string("mode"), node.attr_string("padding_mode")
    aligned = bool(node.attr_int("align_corners"))
    pixels, shape = Pixels(k, x), dims(grid)
    points = k.cast(k.reshape(grid, (shape[0], math.prod(shape[1:-1]), shape[-1])), "float32")
    places = []
    for axis, size in enumerate(pixels.sizes):
        last = shape[-1] - 1 - axis
        place = _denormalised(k, k("Squeeze", k.take(points, 2, last, last + 1), [2]), size, aligned)
        place = k("Round", place) if mode == "nearest" else place
        # as onnxruntime and PyTorch have it, a cubic's border is only that of each pixel that it reads
        places.append(place if (mode, padding) == ("cubic", "border") else _kept(k, place, size, str(padding), aligned))
    found = _interpolated(pixels, places, str(mode), str(padding), aligned)
    return k.cast(k.reshape(k.transpose(found, (0, 2, 1)), (*shape[:1], pixels.channels, *shape[1:-1])), dtype(x))


def _denormalised(k: Kit, place: ir.Value, size: int, aligned: bool) -> ir.Value:
    if aligned:
        return k("Mul", k("Div", k("Add", place, 1.0), 2.0), float(size - 1))
    return k("Div", k("Sub", k("Mul", k("Add", place, 1.0), float(size)), 1.0), 2.0)


def _kept(k: Kit, place: ir.Value, size: int, padding: str, aligned: bool) -> ir.Value:
    """The place moved into the picture, as far as the padding does that."""
    if padding == "border":
        return k("Clip", place, 0.0, float(size - 1))
    if padding == "zeros":
        return place
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if high == low:
        return k("Mul", place, 0.0)
    width = high - low  # there and back again is a period of two widths
    away = k("Abs", k("Sub", place, low))
    turned = k("Sub", away, k("Mul", k("Floor", k("Div", away, 2 * width)), 2 * width))
    back = k("Sub", width, k("Abs", k("Sub", turned, width)))
    return k("Add", back, low) if low else back


def _interpolated(pixels: Pixels, places: Sequence[ir.Value], mode: str, padding: str, aligned: bool) -> ir.Value:
    k = pixels.k
    choices: list[list[tuple[ir.Value, ir.Value | None]]]
    if mode == "nearest":
        choices = [[(place, None)] for place in places]
    elif mode in ("linear", "bilinear"):
        choices = [_linear(k, place) for place in places]
    else:
        choices = [_cubic(k, place) for place in places]
    parts = []
    for corner in itertools.product(*choices):
        weight = None
        for _, nearness in corner:
            weight = nearness if weight is None or nearness is None else k("Mul", weight, nearness)
        parts.append(_weighted(pixels, [place for place, _ in corner], weight, padding, aligned))
    return k.sum(parts)


def _weighted(
    pixels: Pixels, places: Sequence[ir.Value], weight: ir.Value | None, padding: str, aligned: bool
) -> ir.Value:
    k = pixels.k
    if padding == "zeros":
        return masked(pixels, places, weight, pixels.pictures())
    inside = [_kept(k, place, size, padding, aligned) for place, size in zip(places, pixels.sizes, strict=True)]
    clipped = [k("Clip", place, 0.0, float(size - 1)) for place, size in zip(inside, pixels.sizes, strict=True)]
    value = k.cast(pixels.at(clipped, pixels.pictures()), "float32")
    return value if weight is None else k("Mul", value, k("Unsqueeze", weight, [2]))


def masked(pixels: Pixels, places: Sequence[ir.Value], weight: ir.Value | None, batch: ir.Value | Array) -> ir.Value:
    """[*, C]: the pixels times the weight, zero outside of the picture."""
    k, inside, clipped = pixels.k, None, []
    for place, size in zip(places, pixels.sizes, strict=True):
        kept = k("Clip", place, 0.0, float(size - 1))
        clipped.append(kept)
        same = k("Equal", kept, place)
        inside = same if inside is None else k("And", inside, same)
    value = k.cast(pixels.at(clipped, batch), "float32")
    if weight is not None:
        value = k("Mul", value, k("Unsqueeze", weight, [-1]))
    return k("Where", k("Unsqueeze", inside, [-1]), value, 0.0)


def _linear(k: Kit, place: ir.Value) -> list[tuple[ir.Value, ir.Value | None]]:
    low = k("Floor", place)
    share = k("Sub", place, low)
    return [(low, k("Sub", 1.0, share)), (k("Add", low, 1.0), share)]


def _cubic(k: Kit, place: ir.Value) -> list[tuple[ir.Value, ir.Value | None]]:
    """Keys' kernel with −0.75."""
    low = k("Floor", place)
    share = k("Sub", place, low)
    rest = k("Sub", 1.0, share)
    return [
        (k("Sub", low, 1.0), _far(k, k("Add", share, 1.0))),
        (low, _near(k, share)),
        (k("Add", low, 1.0), _near(k, rest)),
        (k("Add", low, 2.0), _far(k, k("Add", rest, 1.0))),
    ]


def _near(k: Kit, x: ir.Value) -> ir.Value:
    """1.25 x³ − 2.25 x² + 1"""
    return k("Add", k("Mul", k("Mul", k("Sub", k("Mul", x, 1.25), 2.25), x), x), 1.0)


def _far(k: Kit, x: ir.Value) -> ir.Value:
    """−0.75 x³ + 3.75 x² − 6 x + 3"""
    inner = k("Add", k("Mul", k("Add", k("Mul", x, -0.75), 3.75), x), -6.0)
    return k("Add", k("Mul", inner, x), 3.0)


@composes("AffineGrid", since=20)
def affinegrid_20(node: HubNode, emit: Emitter) -> Any:
    """theta [N, n, n + 1] applied to the places of a picture of the given size: [N, *sizes, n]."""
    k, sizes = Kit(emit), [int(size) for size in node.require_constant(1)][2:]
    aligned, theta = bool(node.attr_int("align_corners")), node.value(0)
    if aligned and 1 in sizes:
        raise Refused("where the one element of an axis lies is not defined with aligned corners")
    axes = [np.linspace(-1, 1, size) if aligned else (2 * np.arange(size) + 1) / size - 1 for size in sizes]
    meshes = np.meshgrid(*axes, indexing="ij")
    places = np.stack([*reversed(meshes), np.ones(sizes)], axis=-1).reshape(-1, len(sizes) + 1)
    made = k("MatMul", places.astype(dtype(theta)), k.transpose(theta, (0, 2, 1)))
    return k.reshape(made, (dims(theta)[0], *sizes, len(sizes)))


@composes("RoiAlign", since=22)
def roialign_22(node: HubNode, emit: Emitter) -> Any:
    """X [N, C, H, W], rois [R, 4] (x1, y1, x2, y2), batch [R] → [R, C, height, width].

    Source: https://onnx.ai/onnx/operators/onnx__RoiAlign.html and its reference.
    """
    k, x, rois = Kit(emit), node.value(0), node.value(1)
    count, high, wide = dims(rois)[0], node.attr_int("output_height"), node.attr_int("output_width")
    shift = 0.5 if node.attr_string("coordinate_transformation_mode") == "half_pixel" else 0.0
    corners = k("Sub", k("Mul", k.cast(rois, "float32"), node.attr_float("spatial_scale")), shift)
    samples = node.attr_int("sampling_ratio")
    if samples <= 0:
        raise Refused(
            "sampling_ratio 0 takes as many samples as each region is large",
            "state a sampling_ratio in the source model",
        )
    pixels = Pixels(k, x)
    rows = _samples(k, corners, 1, high, samples, shift)  # [R, high · samples]
    columns = _samples(k, corners, 0, wide, samples, shift)
    mode = str(node.attr_string("mode")).lower()
    batch = k.reshape(k.cast(node.value(2), "int64"), (count, 1, 1))
    found = _aligned(pixels, rows, columns, batch, mode)  # [R, high · samples, wide · samples, C]
    parts = k.transpose(found, (0, 3, 1, 2))
    pool = "AveragePool" if mode == "avg" else "MaxPool"
    made = k(pool, parts, kernel_shape=[samples] * 2, strides=[samples] * 2)
    return k.cast(made, dtype(x))


def _samples(k: Kit, corners: ir.Value, first: int, cells: int, samples: int, shift: float) -> ir.Value:
    """[R, cells · samples]: where an axis of each region is sampled."""
    start, end = (k.take(corners, 1, place, place + 1) for place in (first, first + 2))
    width = k("Sub", end, start)
    if not shift:
        width = k("Max", width, 1.0)
    steps = (np.arange(cells * samples) + 0.5) / (cells * samples)
    return k("Add", start, k("Mul", width, steps.astype(np.float32)[None, :]))


def _aligned(pixels: Pixels, rows: ir.Value, columns: ir.Value, batch: ir.Value, mode: str) -> ir.Value:
    """The four neighbours' weighted pixels: summed, or the greatest of them, as the reference has it."""
    k = pixels.k
    above = _neighbours(k, k("Unsqueeze", rows, [2]), pixels.sizes[0])
    beside = _neighbours(k, k("Unsqueeze", columns, [1]), pixels.sizes[1])
    parts = []
    for (row, tall), (column, broad) in itertools.product(above, beside):
        value = k.cast(pixels.at([row, column], batch), "float32")
        parts.append(k("Mul", value, k("Unsqueeze", k("Mul", tall, broad), [-1])))
    return k.sum(parts) if mode == "avg" else k("Max", *parts)


def _neighbours(k: Kit, place: ir.Value, size: int) -> list[tuple[ir.Value, ir.Value]]:
    """Both neighbours and their weights, which are zero further than one pixel outside."""
    inside = k("And", k("GreaterOrEqual", place, -1.0), k("LessOrEqual", place, float(size)))
    kept = k("Clip", place, 0.0, float(size - 1))
    low = k("Floor", kept)
    high = k("Min", k("Add", low, 1.0), float(size - 1))
    share = k("Sub", kept, low)
    shares = (k("Sub", 1.0, share), share)
    return [(where, k("Where", inside, weight, 0.0)) for where, weight in zip((low, high), shares, strict=True)]


@composes("DeformConv", since=22)
def deformconv_22(node: HubNode, emit: Emitter) -> Any:
    """A convolution whose kernel's places are moved by ``offset``: sampled linearly, weighted, multiplied.

    X [N, C, H, W], W [O, C / group, kh, kw], offset [N, og · kh · kw · 2, oh, ow], mask [N, og · kh · kw, oh, ow].
    """
    k, x, weights, offset = Kit(emit), node.value(0), node.value(1), node.value(2)
    if len(dims(x)) != 4:
        raise Refused("only pictures are sampled, X has another rank than 4")
    groups, own = node.attr_int("group"), node.attr_int("offset_group")
    (batch, channels, *_), (_, _, high, wide) = dims(x), dims(offset)
    outs, ins, tall, broad = dims(weights)
    node.attr_ints("kernel_shape")
    taps, cells = tall * broad, high * wide
    moves = k.reshape(offset, (batch * own, taps, 2, cells))
    pictures = Pixels(k, k.reshape(x, (batch * own, channels // own, *dims(x)[2:])))
    places = [
        k("Add", k("Squeeze", k.take(moves, 2, axis, axis + 1), [2]), grid)
        for axis, grid in enumerate(_kernel_places(node, (tall, broad), (high, wide)))
    ]
    number = np.arange(batch * own, dtype=np.int64)[:, None, None]
    corners = itertools.product(*(_linear(k, place) for place in places))
    found = k.sum([masked(pictures, [a, b], k("Mul", s, u), number) for (a, s), (b, u) in corners])
    if node.input(4) is not None:
        found = k("Mul", found, k("Unsqueeze", k.reshape(node.value(4), (batch * own, taps, cells)), [-1]))
    # [N · og, taps, cells, C / og] → [N, group, C / group · taps, cells]
    columns = k.reshape(k.transpose(found, (0, 3, 1, 2)), (batch, groups, ins * taps, cells))
    rows = k.reshape(weights, (1, groups, outs // groups, ins * taps))
    made = k.reshape(k("MatMul", rows, columns), (batch, outs, high, wide))
    if node.input(3) is not None:
        made = k("Add", made, k.reshape(node.value(3), (1, outs, 1, 1)))
    return made


def _kernel_places(node: HubNode, kernel: Sequence[int], sizes: Sequence[int]) -> list[Array]:
    """For each axis [1, taps, cells]: where the kernel's taps lie before they are moved."""
    strides, dilations = node.attr_ints("strides") or (1, 1), node.attr_ints("dilations") or (1, 1)
    pads = node.attr_ints("pads") or (0, 0, 0, 0)
    taps = np.meshgrid(*(np.arange(kernel[axis]) * dilations[axis] for axis in range(2)), indexing="ij")
    cells = np.meshgrid(*(np.arange(sizes[axis]) * strides[axis] - pads[axis] for axis in range(2)), indexing="ij")
    return [
        (tap.reshape(1, -1, 1) + cell.reshape(1, 1, -1)).astype(np.float32)
        for tap, cell in zip(taps, cells, strict=True)
    ]
