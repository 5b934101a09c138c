"""Sampling an image at computed points: affine transforms, resampling, and resized boxes.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.image_resizing
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded, rank_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

Grid = tuple[list[float], list[float]]


# -- sampling ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """The points of one spatial dimension, in pixels; ``[*P]`` of any shape that broadcasts with the other axis'.

    Attributes:
        size: of the dimension, as a float32 tensor without dimensions.
    """

    points: ir.Value
    size: ir.Value


@dataclass(frozen=True)
class _Tap:
    """A pixel of one axis that points read: its index, whether it is in the image, and its weight (``None``: 1)."""

    index: ir.Value
    inside: ir.Value
    weight: ir.Value | None = None


def size_of(emit: Emitter, x: ir.Value, axis: int) -> ir.Value:
    """A dimension as a float32 tensor without dimensions; ``axis`` counts from behind."""
    dims = dims_of(x)
    size = dims[axis] if dims is not None else None
    if isinstance(size, int):
        return emit.const(float(size))
    found = emit.op("Gather", emit.op("Shape", x), emit.const(axis))
    return emit.op("Cast", found, to=ir.DataType.FLOAT.value)


def _last(emit: Emitter, axis: Axis) -> ir.Value:
    return emit.op("Sub", axis.size, emit.const(1.0))


def _inside(emit: Emitter, points: ir.Value, last: ir.Value) -> ir.Value:
    """Whether points are in ``[0, last]``."""
    return emit.op(
        "And", emit.op("GreaterOrEqual", points, emit.const(0.0)), emit.op("LessOrEqual", points, last)
    )  # fmt: skip


def _taps(emit: Emitter, axis: Axis, nearest: bool) -> list[_Tap]:
    """The one pixel that is nearest (ties to even), or the two around each point."""
    if nearest:
        return [_tap(emit, axis, emit.op("Round", axis.points))]
    low = emit.op("Floor", axis.points)
    part = emit.op("Sub", axis.points, low)
    one = emit.const(1.0)
    return [_tap(emit, axis, low, emit.op("Sub", one, part)), _tap(emit, axis, emit.op("Add", low, one), part)]


def _tap(emit: Emitter, axis: Axis, place: ir.Value, weight: ir.Value | None = None) -> _Tap:
    last, zero = _last(emit, axis), emit.const(0.0)
    safe = emit.op("Min", emit.op("Where", emit.op("GreaterOrEqual", place, zero), place, zero), last)
    return _Tap(emit.op("Cast", safe, to=ir.DataType.INT64.value), _inside(emit, place, last), weight)


def sampled(
    emit: Emitter, x: ir.Value, image: ir.Value, y: Axis, x_axis: Axis, *, nearest: bool, fill: float | None
) -> ir.Value:
    """Pixels of ``x [B, C, H, W]`` at points ``[*P]`` → ``[*P, C]``, float32.

    Args:
        image: which image each point is of, int64 that broadcasts with the points.
        nearest: the nearest pixel; else bilinear interpolation of the four around the point.
        fill: the value of every pixel outside the image; ``None``: as the pixel at its edge.
    """
    channels = emit.op("Shape", x, start=1, end=2)
    pixels = emit.op("Reshape", emit.op("Transpose", x, perm=[0, 2, 3, 1]), _joined(emit, [-1], channels))
    height, width = (emit.op("Cast", axis.size, to=ir.DataType.INT64.value) for axis in (y, x_axis))
    total: ir.Value | None = None
    for row in _taps(emit, y, nearest):
        start = emit.op("Mul", emit.op("Add", emit.op("Mul", image, height), row.index), width)
        for column in _taps(emit, x_axis, nearest):
            found = emit.op("Gather", pixels, emit.op("Add", start, column.index), axis=0)
            if fill is not None:
                found = _where(emit, emit.op("And", row.inside, column.inside), found, fill)
            if row.weight is not None and column.weight is not None:
                weight = emit.op("Mul", row.weight, column.weight)
                found = emit.op("Mul", found, emit.op("Unsqueeze", weight, emit.const([-1])))
            total = found if total is None else emit.op("Add", total, found)
    assert total is not None
    return total


def _where(emit: Emitter, inside: ir.Value, found: ir.Value, fill: float) -> ir.Value:
    """``found [*P, C]`` where ``inside [*P]``."""
    return emit.op("Where", emit.op("Unsqueeze", inside, emit.const([-1])), found, emit.const(fill))


def _joined(emit: Emitter, sizes: Sequence[int], more: ir.Value) -> ir.Value:
    return emit.op("Concat", emit.const(list(sizes)), more, axis=0)


def images_of(emit: Emitter, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    """``0 … B - 1`` as int64 of a shape."""
    count = emit.op("Gather", emit.op("Shape", x), emit.const(0))
    return emit.op("Reshape", emit.op("Range", emit.const(0), count, emit.const(1)), emit.const(list(shape)))


# -- resample and affine -----------------------------------------------------------------------------------------------


def _reflected(emit: Emitter, axis: Axis, low: float) -> ir.Value:
    """Points mirrored at ``low`` and at ``size - 1 - low`` until they lie between them."""
    around = emit.op("Mul", emit.op("Sub", axis.size, emit.const(1.0 + 2 * low)), emit.const(2.0))
    distance = emit.op("Abs", emit.op("Sub", axis.points, emit.const(low)))
    rest = emit.op("Mod", distance, emit.op("Max", around, emit.const(1.0)), fmod=1)
    return emit.op("Add", emit.op("Min", rest, emit.op("Sub", around, rest)), emit.const(low))


def _between(emit: Emitter, points: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    return emit.op("Min", emit.op("Max", points, low), high)


def padded(emit: Emitter, axis: Axis, padding: str) -> Axis:
    """Points outside the image moved to where the padding has their value from.

    ``constant`` keeps them: what is further out than one pixel only comes nearer, so that infinity has a place.
    """
    points = axis.points
    if padding == "constant":
        far = emit.op("Add", axis.size, emit.const(1.0))
        return Axis(_between(emit, points, emit.const(-2.0), far), axis.size)
    if padding in ("reflection", "symmetric"):
        points = _reflected(emit, axis, 0.0 if padding == "reflection" else -0.5)
    return Axis(_between(emit, points, emit.const(0.0), _last(emit, axis)), axis.size)


Pixels = Callable[[Emitter, ir.Value, ir.Value], ir.Value]


def _linear(factor: float, more: float, aligned: bool) -> Pixels:
    """Coordinate c → pixel ``(c + more) * factor * (size - 1)``, or ``… * size - 0.5`` where corners are edges."""

    def pixels(emit: Emitter, c: ir.Value, size: ir.Value) -> ir.Value:
        shifted = emit.op("Add", c, emit.const(more)) if more else c
        extent = emit.op("Sub", size, emit.const(1.0)) if aligned else size
        found = emit.op("Mul", shifted, emit.op("Mul", extent, emit.const(factor)))
        return found if aligned else emit.op("Sub", found, emit.const(0.5))

    return pixels


def _as_they_are(emit: Emitter, c: ir.Value, size: ir.Value) -> ir.Value:
    return c


def _pixels(op: MilOperation, aligned: bool) -> Pixels:
    """How ``coordinates_mode`` and ``align_corners`` make pixels of coordinates."""
    modes = {
        "unnormalized": _as_they_are,
        "normalized_minus_one_to_one": _linear(0.5, 1.0, aligned),
        "normalized_zero_to_one": _linear(1.0, 0.0, aligned),
    }
    found: Pixels = op.choice("coordinates_mode", modes)
    return found


@mil.lowers("resample")
def resample(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x [B, C, H1, W1]`` at ``coordinates [B, H2, W2, 2]``, pairs (x, y) → ``[B, C, H2, W2]``.

    Points are moved into the image by the padding first; the nearest pixel rounds ties to even, as PyTorch's
    ``grid_sample``, which coremltools makes this operator of.
    """
    x = op.value()
    coordinates = emit.op("Cast", op.value("coordinates"), to=ir.DataType.FLOAT.value)
    nearest = op.choice("sampling_mode", {"bilinear": False, "nearest": True})
    padding = op.choice("padding_mode", {name: name for name in ("constant", "border", "reflection", "symmetric")})
    fill = op.number("padding_value")
    pixels = _pixels(op, op.flag("align_corners"))
    horizontal, vertical = (
        padded(emit, _axis(emit, x, emit.op("Gather", coordinates, emit.const(place), axis=-1), place, pixels), padding)
        for place in (0, 1)
    )
    image = images_of(emit, x, [-1, 1, 1])
    found = sampled(
        emit, x, image, vertical, horizontal, nearest=nearest, fill=fill if padding == "constant" else None
    )  # fmt: skip
    return emit.op("Transpose", found, perm=[0, 3, 1, 2])


def _axis(emit: Emitter, x: ir.Value, coordinates: ir.Value, place: int, pixels: Pixels) -> Axis:
    """The axis of the coordinates' x (place 0) or y (place 1)."""
    size = size_of(emit, x, -1 - place)
    return Axis(pixels(emit, coordinates, size), size)


@mil.lowers("affine")
def affine(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x [B, C, H1, W1]`` at ``(a0 x + a1 y + a2, b0 x + b1 y + b2)`` for each pixel (x, y) of the output.

    Coordinates are −1 and 1 at the centres of the outermost pixels, of the input as of the output; one row or column
    alone is at 0, as in PyTorch's ``affine_grid``, which coremltools makes this operator of.
    """
    x, matrix = op.value(), op.value("transform_matrix")
    for name, only in _AFFINE.items():
        if op.text(name).lower() != only:
            raise Refused(f"{name} = {op.text(name)!r}: the operator is defined for {only!r} only")
    if not op.flag("align_corners") or op.number("padding_value") != 0:
        raise Refused("the operator is defined for align_corners = true and padding_value = 0 only")
    height, width = op.integer("output_height"), op.integer("output_width")
    bounded(height + width, "the grid of an affine transform")
    down = emit.const(_centred(height).reshape(1, height, 1))
    along = emit.const(_centred(width).reshape(1, 1, width))
    horizontal, vertical = (
        padded(emit, _axis(emit, x, _transformed(emit, matrix, 3 * place, along, down), place, _ALIGNED), "constant")
        for place in (0, 1)
    )
    found = sampled(emit, x, images_of(emit, x, [-1, 1, 1]), vertical, horizontal, nearest=False, fill=0.0)
    return emit.op("Transpose", found, perm=[0, 3, 1, 2])


def _centred(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """From -1 to 1; one alone is 0."""
    return (np.linspace(-1, 1, count) if count > 1 else np.zeros(count)).astype(np.float32)


_AFFINE = {
    "sampling_mode": "bilinear", "padding_mode": "constant", "coordinates_mode": "normalized_minus_one_to_one",
}  # fmt: skip
_ALIGNED = _linear(0.5, 1.0, aligned=True)


def _transformed(emit: Emitter, matrix: ir.Value, first: int, x: ir.Value, y: ir.Value) -> ir.Value:
    """``m[first] x + m[first + 1] y + m[first + 2]`` of ``matrix [D, 6]`` → ``[D, H, W]``."""
    a, b, c = (
        emit.op("Reshape", emit.op("Gather", matrix, emit.const(first + k), axis=1), emit.const([-1, 1, 1]))
        for k in range(3)
    )
    return emit.op("Add", emit.op("Add", emit.op("Mul", a, x), emit.op("Mul", b, y)), c)


# -- crop_resize -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """How boxes are read and resized.

    Attributes:
        target: height and width of each crop.
        box_mode: :data:`BOXES`.
        sampling: the sampling mode, as of ``resize_bilinear``.
        normalized: coordinates are 0 and 1 at the outermost pixels; else they are pixels.
        scale: multiplies the coordinates.
        fill: the value of points outside the image.
    """

    target: tuple[int, int]
    box_mode: str = "CORNERS_HEIGHT_FIRST"
    sampling: str = "DEFAULT"
    normalized: bool = False
    scale: float = 1.0
    fill: float = 0.0


BOXES = {
    "CORNERS_HEIGHT_FIRST": (0, 1, False),
    "CORNERS_WIDTH_FIRST": (1, 0, False),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, True),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, True),
}
"""Mode → the columns that begin the heights and the widths, and whether columns hold centre and size."""

_STEPPED = ("DEFAULT", "UNALIGN_CORNERS", "OFFSET_CORNERS")


def grid(count: int, sampling: str) -> Grid:
    """Factors and summands: point i of a box from s to e is ``s + factor[i] * (e - s) + summand[i]``.

    They follow the formulas of ``resize_bilinear`` for an input of ``e - s + 1`` pixels that begins at s;
    OFFSET_CORNERS takes ``max(1, e - s)`` for ``e - s``.
    """
    bounded(count, "the grid of a crop")
    steps = np.arange(count, dtype=np.float64)
    middle = (steps + 0.5) / count
    zeros = np.zeros(count)
    if sampling in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        alone = zeros + (0.5 if sampling == "ALIGN_CORNERS" else 0)
        factors, summands = (steps / (count - 1) if count > 1 else alone), zeros
    elif sampling == "DEFAULT":
        factors, summands = steps / count, steps / count
    elif sampling == "UNALIGN_CORNERS":
        factors, summands = middle, middle - 0.5
    elif sampling == "OFFSET_CORNERS":
        factors, summands = middle, zeros
    else:
        raise Refused(f"sampling_mode = {sampling!r} is not known")
    return factors.tolist(), summands.tolist()


def crop_resize_core(emit: Emitter, x: ir.Value, boxes: ir.Value, image: ir.Value, crop: Crop) -> ir.Value:
    """Boxes cut out of images and resized with bilinear interpolation.

    Args:
        x: ``[B, C, H, W]``, float32.
        boxes: ``[N, 4]``, float32.
        image: which image a box is cut from, int64 ``[N, 1, 1, 1]``, or ``[1, B, 1, 1]`` for all.

    Returns:
        ``[N, 1 or B, C, height, width]``, float32; points outside the image are ``crop.fill``.
    """
    if crop.box_mode not in BOXES:
        raise Refused(f"box_coordinate_mode = {crop.box_mode!r} is not known")
    rows, columns, centred = BOXES[crop.box_mode]
    y = _box_axis(emit, x, -2, boxes, rows, centred, crop)
    x_axis = _box_axis(emit, x, -1, boxes, columns, centred, crop)
    found = sampled(emit, x, image, y, x_axis, nearest=False, fill=None)
    inside = emit.op(
        "And", *(_inside(emit, axis.points, _last(emit, axis)) for axis in (y, x_axis))
    )  # fmt: skip
    found = _where(emit, inside, found, crop.fill)
    return emit.op("Transpose", found, perm=[0, 1, 4, 2, 3])


def _box_axis(
    emit: Emitter, x: ir.Value, axis: int, boxes: ir.Value, column: int, centred: bool, crop: Crop
) -> Axis:  # fmt: skip
    """The points of the boxes' crops along an axis: ``[N, 1, height, 1]`` or ``[N, 1, 1, width]``."""
    size, count = size_of(emit, x, axis), crop.target[axis]
    start, end = (_column(emit, boxes, place, size, crop) for place in (column, column + 2))
    if centred:
        half = emit.op("Mul", end, emit.const(0.5))
        start, end = emit.op("Sub", start, half), emit.op("Add", start, half)
    extent = emit.op("Sub", end, start)
    if crop.sampling == "OFFSET_CORNERS":
        extent = emit.op("Max", extent, emit.const(1.0))
    shape = (1, 1, count, 1) if axis == -2 else (1, 1, 1, count)
    factors, summands = (
        emit.const(np.asarray(numbers, dtype=np.float32).reshape(shape)) for numbers in grid(count, crop.sampling)
    )
    points = emit.op("Add", emit.op("Add", start, emit.op("Mul", factors, extent)), summands)
    return Axis(_between(emit, points, emit.op("Min", start, end), emit.op("Max", start, end)), size)


def _column(emit: Emitter, boxes: ir.Value, column: int, size: ir.Value, crop: Crop) -> ir.Value:
    """A column of the boxes in pixels, ``[N, 1, 1, 1]``."""
    found = emit.op("Gather", boxes, emit.const(column), axis=1)
    if crop.scale != 1:
        found = emit.op("Mul", found, emit.const(crop.scale))
    if crop.normalized:
        found = emit.op("Mul", found, emit.op("Sub", size, emit.const(1.0)))
    return emit.op("Reshape", found, emit.const([-1, 1, 1, 1]))


def _crop(op: MilOperation) -> Crop:
    return Crop(
        (op.integer("target_height", 1), op.integer("target_width", 1)),
        op.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST"),
        op.text("sampling_mode", "DEFAULT"),
        op.flag("normalized_coordinates", False),
        op.number("spatial_scale", 1.0),
        op.number("pad_value", 0.0),
    )


def check_boxes(boxes: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None, crop: Crop) -> None:
    """Refuse boxes ``[N, 4]``, if they are known, that end before they start: only aligned corners define these."""
    if boxes is None or crop.sampling not in _STEPPED or crop.box_mode not in BOXES:
        return
    rows, columns, centred = BOXES[crop.box_mode]
    for column in (rows, columns):
        extents = boxes[:, column + 2] - (0 if centred else boxes[:, column])
        if (extents * crop.scale < 0).any():
            raise Refused(f"a box that ends before it starts is not defined with sampling_mode = {crop.sampling!r}")


@mil.lowers("crop_resize")
def crop_resize_15(op: MilOperation, emit: Emitter) -> ir.Value:
    """``roi [N, 1, 4, 1, 1]``: every box of every image, ``[N, B, C, height, width]``.

    ``roi [N, 1, 5, 1, 1]`` begins with the image: ``[N, 1, C, height, width]``.
    """
    x, roi, crop = op.value(), op.value("roi"), _crop(op)
    dims = dims_of(roi)
    if dims is None or len(dims) != 5 or dims[2] not in (4, 5):
        raise Refused(f"the boxes are of shape {dims}, [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1] is needed")
    known = op.known("roi")
    check_boxes(None if known is None else known.reshape(-1, int(dims[2]))[:, -4:], crop)
    boxes = emit.op("Reshape", roi, emit.const([-1, int(dims[2])]))
    image = images_of(emit, x, [1, -1, 1, 1])
    if dims[2] == 5:
        numbers = emit.op("Gather", boxes, emit.const([0]), axis=1)
        image = emit.op("Reshape", numbers, emit.const([-1, 1, 1, 1]))
        image = emit.op("Cast", image, to=ir.DataType.INT64.value)
        boxes = emit.op("Slice", boxes, emit.const([1]), emit.const([5]), emit.const([1]))
    return crop_resize_core(emit, x, boxes, image, crop)


@mil.lowers("crop_resize", since=17)
def crop_resize_17(op: MilOperation, emit: Emitter) -> ir.Value:
    """``boxes [N, 4]`` of the images ``box_indices [N]``, 0 … N − 1 by default → ``[N, C, height, width]``."""
    x, crop = op.value(), _crop(op)
    boxes = emit.op("Cast", op.value("boxes"), to=ir.DataType.FLOAT.value)
    if rank_of(boxes) != 2:
        raise Refused("the boxes are not of shape [N, 4]")
    check_boxes(op.known("boxes"), crop)
    if op.has("box_indices"):
        image = emit.op("Reshape", op.integers(emit, "box_indices"), emit.const([-1, 1, 1, 1]))
    else:
        image = images_of(emit, boxes, [-1, 1, 1, 1])
    return emit.op("Squeeze", crop_resize_core(emit, x, boxes, image, crop), emit.const([1]))
