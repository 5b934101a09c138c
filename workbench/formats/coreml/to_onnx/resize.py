"""Resizing of the last two dimensions.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.image_resizing
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded, rank_of, shape_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

Weights = np.ndarray[tuple[int, int], np.dtype[np.float32]]

COORDINATES = {
    "STRICT_ALIGN_CORNERS": "align_corners",
    "ALIGN_CORNERS": "align_corners",
    "DEFAULT": "asymmetric",
    "UNALIGN_CORNERS": "half_pixel",
    "OFFSET_CORNERS": "",  # ONNX has no such mode
}
"""Sampling mode → ``coordinate_transformation_mode`` of ONNX's Resize."""


def _resized(emit: Emitter, x: ir.Value, sizes: Sequence[int], **attributes: str) -> ir.Value:
    """Resize all dimensions to ``sizes``."""
    return emit.op("Resize", x, None, None, emit.const(list(sizes)), **attributes)


def linear(emit: Emitter, x: ir.Value, target: Sequence[int], mode: str) -> ir.Value:
    """Linear interpolation of the last dimensions to the sizes ``target``."""
    sizes = shape_of(x)
    kept = sizes[: len(sizes) - len(target)]
    old = sizes[len(kept) :]
    centred = mode == "ALIGN_CORNERS" and any(new == 1 and size > 1 for new, size in zip(target, old, strict=True))
    if mode == "OFFSET_CORNERS" or centred:
        for index, (size, new) in enumerate(zip(old, target, strict=True)):
            x = _interpolated(emit, x, len(kept) + index, len(sizes), _weights(size, new, mode))
        return x
    return _resized(emit, x, [*kept, *target], mode="linear", coordinate_transformation_mode=COORDINATES[mode])


def _weights(size: int, new: int, mode: str) -> Weights:
    """The matrix [new, size] of linear interpolation at the grid points of a mode that Resize does not have."""
    bounded(new * size, "the weights of a resize")
    steps = np.arange(new, dtype=np.float64)
    if mode == "OFFSET_CORNERS":
        points = (steps + 0.5) * max(1, size - 1) / new
    else:
        points = steps * (size - 1) / (new - 1) if new > 1 else np.asarray([(size - 1) / 2])
    points = np.clip(points, 0, size - 1)
    low = np.floor(points).astype(int)
    high = np.minimum(low + 1, size - 1)
    matrix = np.zeros((new, size))
    np.add.at(matrix, (np.arange(new), low), 1 - (points - low))
    np.add.at(matrix, (np.arange(new), high), points - low)
    return matrix.astype(np.float32)


def _interpolated(emit: Emitter, x: ir.Value, axis: int, rank: int, weights: Weights) -> ir.Value:
    """Multiply one dimension by the weights [new, size]."""
    if axis == rank - 1:
        return emit.op("MatMul", x, emit.const(np.ascontiguousarray(weights.T)))
    if axis == rank - 2:
        return emit.op("MatMul", emit.const(weights), x)
    order = [*(other for other in range(rank) if other != axis), axis]
    made = emit.op("MatMul", emit.op("Transpose", x, perm=order), emit.const(np.ascontiguousarray(weights.T)))
    return emit.op("Transpose", made, perm=[order.index(place) for place in range(rank)])


def nearest(emit: Emitter, x: ir.Value, target: Sequence[int]) -> ir.Value:
    """Element ``floor(i * old / new)`` of the last dimensions; by index, so that no rounding of a float decides."""
    sizes = shape_of(x)
    first = len(sizes) - len(target)
    if all(new % size == 0 for size, new in zip(sizes[first:], target, strict=True)):
        return _resized(emit, x, [*sizes[:first], *target], **_NEAREST)
    for axis, (size, new) in enumerate(zip(sizes[first:], target, strict=True), first):
        if new != size:
            bounded(new, "the indices of a resize")
            x = emit.op("Gather", x, emit.const([index * size // new for index in range(new)]), axis=axis)
    return x


def _scaled(op: MilOperation, x: ir.Value) -> tuple[float, float]:
    return op.number("scale_factor_height", 1.0), op.number("scale_factor_width", 1.0)


def _dynamic(x: ir.Value) -> bool:
    dims = dims_of(x)
    return dims is None or not all(isinstance(dim, int) for dim in dims)


def scaled_at_run_time(emit: Emitter, x: ir.Value, factors: Sequence[float], mode: str) -> ir.Value:
    """The last two dimensions, of sizes that are only known at run time, to ``floor(size * factor)``.

    Args:
        mode: of :data:`COORDINATES` for linear interpolation; ``""`` takes the nearest element, towards zero.
    """
    attributes = {"mode": "linear", "coordinate_transformation_mode": COORDINATES[mode]} if mode else _NEAREST
    if all(float(factor).is_integer() for factor in factors):
        scales = np.asarray([1.0] * (rank_of(x) - 2) + list(factors), dtype=np.float32)
        return emit.op("Resize", x, None, emit.const(scales), **attributes)
    sizes = emit.op("Cast", emit.op("Shape", x, start=-2), to=ir.DataType.DOUBLE.value)
    target = emit.op("Floor", emit.op("Mul", sizes, emit.const(list(factors), "float64")))
    target = emit.op("Cast", target, to=ir.DataType.INT64.value)
    if not mode:
        return _nearest_at_run_time(emit, x, [emit.op("Gather", target, emit.const(place)) for place in (0, 1)])
    wanted = emit.op("Concat", emit.op("Shape", x, end=-2), target, axis=0)
    return emit.op("Resize", x, None, None, wanted, **attributes)


_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@mil.lowers("upsample_nearest_neighbor")
def upsample_nearest_neighbor(op: MilOperation, emit: Emitter) -> ir.Value:
    """The nearest element, towards zero, at ``floor(size * scale)`` places."""
    x = op.value()
    factors = _scaled(op, x)
    if _dynamic(x):
        return scaled_at_run_time(emit, x, factors, "")
    return nearest(emit, x, _target(op, x, factors))


def _target(op: MilOperation, x: ir.Value, factors: Sequence[float]) -> list[int]:
    return [math.floor(factor * size) for factor, size in zip(factors, shape_of(x)[-2:], strict=True)]


@mil.lowers("resize_nearest_neighbor")
def resize_nearest_neighbor(op: MilOperation, emit: Emitter) -> ir.Value:
    """The nearest element, towards zero, at the target size."""
    return nearest(emit, op.value(), [op.integer("target_size_height"), op.integer("target_size_width")])


@mil.lowers("upsample_bilinear")
def upsample_bilinear(op: MilOperation, emit: Emitter) -> ir.Value:
    """Linear interpolation at ``floor(size * scale)`` places, the scale recomputed from the sizes."""
    x, factors = op.value(), _scaled(op, op.value())
    aligned = op.flag("align_corners", True)
    centres = op.flag("half_pixel_centers", not aligned)
    if aligned and centres:
        raise Refused("align_corners and half_pixel_centers exclude each other")
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if centres else "DEFAULT"
    if _dynamic(x):
        return scaled_at_run_time(emit, x, factors, mode)
    return linear(emit, x, _target(op, x, factors), mode)


@mil.lowers("resize_bilinear")
def resize_bilinear(op: MilOperation, emit: Emitter) -> ir.Value:
    """Linear interpolation at the target size, at the grid points of ``sampling_mode``."""
    target = [op.integer("target_size_height", 1), op.integer("target_size_width", 1)]
    return linear(emit, op.value(), target, _sampling(op))


def _sampling(op: MilOperation) -> str:
    mode = op.text("sampling_mode", "DEFAULT")
    if mode not in COORDINATES:
        raise Refused(f"sampling_mode = {mode!r} is not known")
    return mode


@mil.lowers("resize", since=17)
def resize(op: MilOperation, emit: Emitter) -> ir.Value:
    """The last ``resized_dims`` dimensions to the last ones of ``shape``, where 0 keeps the size.

    Nearest neighbours are taken at centres, element ``floor((i + 0.5) * old / new)``: the specification names no
    rounding, coremltools converts TensorFlow's half-pixel centres to it and expects the same in its tests.
    """
    x, count = op.value(), op.integer("resized_dims")
    mode, interpolation = _sampling(op), op.text("interpolation_mode", "LINEAR")
    if interpolation not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise Refused(f"interpolation_mode = {interpolation!r} is not known")
    known = op.known("shape")
    if known is None or _dynamic(x):
        return _resized_at_run_time(op, emit, x, count, interpolation, mode)
    old = shape_of(x)[-count:]
    asked = [int(size) for size in known.reshape(-1)[-count:]]
    target = [new or size for new, size in zip(asked, old, strict=True)]
    if interpolation == "LINEAR":
        return linear(emit, x, target, mode)
    whole = all(new % size == 0 for size, new in zip(old, target, strict=True))
    if mode != "DEFAULT" and not (mode == "UNALIGN_CORNERS" and whole):
        raise Refused(f"nearest neighbours with sampling_mode = {mode!r}: how ties are rounded is not specified")
    if whole:
        return nearest(emit, x, target)
    return _nearest_at_run_time(emit, x, [emit.const(new) for new in target], centred=True)


def _nearest_at_run_time(emit: Emitter, x: ir.Value, target: Sequence[ir.Value], *, centred: bool = False) -> ir.Value:
    """Element ``floor(i * old / new)`` of the last dimensions, or ``floor((i + 0.5) * old / new)``, in integers.

    Args:
        target: int64 sizes without dimensions.
    """
    sizes, first = emit.op("Shape", x), rank_of(x) - len(target)
    for axis, new in enumerate(target, first):
        steps = emit.op("Mul", emit.op("Range", emit.const(0), new, emit.const(1)), emit.const(2))
        steps = emit.op("Add", steps, emit.const(1)) if centred else steps
        places = emit.op("Mul", steps, emit.op("Gather", sizes, emit.const(axis)))
        x = emit.op("Gather", x, emit.op("Div", places, emit.op("Mul", new, emit.const(2))), axis=axis)
    return x


def _linear_at_run_time(emit: Emitter, x: ir.Value, axis: int, new: ir.Value, mode: str) -> ir.Value:
    """Linear interpolation of one dimension at the grid points of a mode that Resize does not have.

    Args:
        new: int64 size without dimensions.
    """
    one = emit.const(1.0)
    size, count = (
        emit.op("Cast", value, to=ir.DataType.FLOAT.value)
        for value in (emit.op("Gather", emit.op("Shape", x), emit.const(axis)), new)
    )
    last, steps = emit.op("Sub", size, one), emit.op("Range", emit.const(0.0), count, one)
    if mode == "OFFSET_CORNERS":
        extent = emit.op("Div", emit.op("Max", last, one), count)
        points = emit.op("Mul", emit.op("Add", steps, emit.const(0.5)), extent)
    else:
        extent = emit.op("Div", last, emit.op("Max", emit.op("Sub", count, one), one))
        middle = emit.op("Mul", last, emit.const(0.5))
        points = emit.op("Where", emit.op("Equal", count, one), middle, emit.op("Mul", steps, extent))
    points = emit.op("Min", points, last)
    low = emit.op("Floor", points)
    high = emit.op("Min", emit.op("Add", low, one), last)
    behind = list(range(1, rank_of(x) - axis))
    part = emit.op("Sub", points, low)
    part = emit.op("Unsqueeze", part, emit.const(behind)) if behind else part
    first, second = (
        emit.op("Gather", x, emit.op("Cast", place, to=ir.DataType.INT64.value), axis=axis) for place in (low, high)
    )
    return emit.op("Add", emit.op("Mul", first, emit.op("Sub", one, part)), emit.op("Mul", second, part))


def _resized_at_run_time(
    op: MilOperation, emit: Emitter, x: ir.Value, count: int, interpolation: str, mode: str
) -> ir.Value:
    """As :func:`resize`, to sizes that are computed."""
    sizes, first = emit.op("Shape", x), op.rank(x) - count
    old = emit.op("Slice", sizes, emit.const([first]), emit.const([2**62]))
    asked = emit.op("Slice", op.integers(emit, "shape"), emit.const([-count]), emit.const([2**62]))
    target = emit.op("Where", emit.op("Equal", asked, emit.const(0)), old, asked)
    each = [emit.op("Gather", target, emit.const(index)) for index in range(count)]
    if interpolation == "NEAREST_NEIGHBOR":
        if mode != "DEFAULT":
            raise Refused(f"nearest neighbours with sampling_mode = {mode!r}: how ties are rounded is not specified")
        return _nearest_at_run_time(emit, x, each, centred=True)
    if mode in ("OFFSET_CORNERS", "ALIGN_CORNERS"):
        for axis, new in enumerate(each, first):
            x = _linear_at_run_time(emit, x, axis, new, mode)
        return x
    wanted = emit.op("Concat", emit.op("Slice", sizes, emit.const([0]), emit.const([first])), target, axis=0)
    attributes = {"mode": "linear", "coordinate_transformation_mode": COORDINATES[mode]}
    return emit.op("Resize", x, None, None, wanted, **attributes)
