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
    raise Refused("this sampling mode is supported for the last two dimensions only")


def nearest(emit: Emitter, x: ir.Value, target: Sequence[int]) -> ir.Value:
    """Element ``floor(i * old / new)`` of the last dimensions; by index, so that no rounding of a float decides."""
    sizes = shape_of(x)
    first = len(sizes) - len(target)
    if all(new % size == 0 for size, new in zip(sizes[first:], target, strict=True)):
        return _resized(
            emit, x, [*sizes[:first], *target], mode="nearest", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )  # fmt: skip
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


def _by_scales(op: MilOperation, emit: Emitter, x: ir.Value, factors: Sequence[float], **attributes: str) -> ir.Value:
    """Resize by whole factors, for sizes that are only known at run time."""
    if not all(float(factor).is_integer() for factor in factors):
        raise Refused("a fractional scale of a size that is only known at run time", "fix the input shapes")
    scales = np.asarray([1.0] * (op.rank(x) - 2) + list(factors), dtype=np.float32)
    return emit.op("Resize", x, None, emit.const(scales), **attributes)


@mil.lowers("upsample_nearest_neighbor")
def upsample_nearest_neighbor(op: MilOperation, emit: Emitter) -> ir.Value:
    """The nearest element, towards zero, at ``floor(size * scale)`` places."""
    x = op.value()
    factors = _scaled(op, x)
    if _dynamic(x):
        return _by_scales(
            op, emit, x, factors, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
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
        return _by_scales(op, emit, x, factors, mode="linear", coordinate_transformation_mode=COORDINATES[mode])
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
    return nearest(emit, x, target) if whole else _at_centres(emit, x, [emit.const(new) for new in target])


def _at_centres(emit: Emitter, x: ir.Value, target: Sequence[ir.Value]) -> ir.Value:
    """Element ``floor((i + 0.5) * old / new)`` of the last dimensions, in integers.

    Args:
        target: int64 sizes without dimensions.
    """
    sizes, first = emit.op("Shape", x), rank_of(x) - len(target)
    for axis, new in enumerate(target, first):
        steps = emit.op("Mul", emit.op("Range", emit.const(0), new, emit.const(1)), emit.const(2))
        odd = emit.op("Mul", emit.op("Add", steps, emit.const(1)), emit.op("Gather", sizes, emit.const(axis)))
        x = emit.op("Gather", x, emit.op("Div", odd, emit.op("Mul", new, emit.const(2))), axis=axis)
    return x


def _resized_at_run_time(
    op: MilOperation, emit: Emitter, x: ir.Value, count: int, interpolation: str, mode: str
) -> ir.Value:
    """As :func:`resize`, to sizes that are computed."""
    sizes, first = emit.op("Shape", x), op.rank(x) - count
    old = emit.op("Slice", sizes, emit.const([first]), emit.const([2**62]))
    asked = emit.op("Slice", op.integers(emit, "shape"), emit.const([-count]), emit.const([2**62]))
    target = emit.op("Where", emit.op("Equal", asked, emit.const(0)), old, asked)
    if interpolation == "NEAREST_NEIGHBOR" and mode == "DEFAULT":
        return _at_centres(emit, x, [emit.op("Gather", target, emit.const(index)) for index in range(count)])
    if interpolation != "LINEAR" or mode not in ("DEFAULT", "UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        raise Refused(f"{interpolation} with sampling_mode = {mode!r} to sizes that are only known at run time")
    wanted = emit.op("Concat", emit.op("Slice", sizes, emit.const([0]), emit.const([first])), target, axis=0)
    attributes = {"mode": "linear", "coordinate_transformation_mode": COORDINATES[mode]}
    return emit.op("Resize", x, None, None, wanted, **attributes)
