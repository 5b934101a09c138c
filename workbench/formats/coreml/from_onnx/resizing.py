"""Resize. MIL: ``image_resizing`` for whole factors; else sampling that is computed here, axis by axis.

Nearest neighbours are gathered by constant positions, which is exact for every coordinate transformation and rounding.
Linear and cubic interpolation of an axis is a product with a constant matrix: exact up to rounding, for finite data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import Array
from workbench.formats.coreml.from_onnx.enlarging import enlarged
from workbench.formats.coreml.from_onnx.indexing import through_int32
from workbench.formats.coreml.from_onnx.linear import product
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import is_open
from workbench.lowering import Refused

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Sampling:
    """How one axis is sampled: ``positions`` of the results in the source's coordinates."""

    size: int
    positions: Array
    scale: float

    @property
    def outside(self) -> Array:
        """Which of the positions lie beyond the data."""
        return np.asarray((self.positions < 0) | (self.positions > self.size - 1))

    @property
    def changes(self) -> bool:
        """Whether anything but the data themselves comes out."""
        return len(self.positions) != self.size or bool((self.positions != np.arange(self.size)).any())


@lowers("Resize", since=19)
def resize_19(node: HubNode, t: ProgramTarget) -> Any:
    mode = node.attr_string("mode") or "nearest"
    rounding = node.attr_string("nearest_mode") or "round_prefer_floor"
    node.ignore("keep_aspect_ratio_policy", "axes")  # their outcome is the inferred shape
    x, outside = t.var(node.value(0)), node.attr_float("extrapolation_value")
    if is_open((*node.shape(node.value(0)), *node.shape(node.outputs[0]))):
        return enlarged(node, t, x, mode, _ROUNDINGS[rounding])
    taps, samplings = _taps(node, mode), _samplings(node)
    result = x
    for axis, sampling in enumerate(samplings):
        if not sampling.changes:
            continue
        if mode == "nearest":
            result = _nearest(t, result, axis, sampling, _ROUNDINGS[rounding])
        else:
            result = _interpolated(t, result, axis, taps(sampling))
    if node.attr_string("coordinate_transformation_mode") == "tf_crop_and_resize":
        result = _extrapolated(t, result, samplings, outside)
    return t.op("identity", x=x) if result is x else result


def _samplings(node: HubNode) -> list[Sampling]:
    """For each axis how it is sampled; one that keeps its size is not, unless it is cropped or has a scale."""
    shape, wanted = node.shape(node.value(0)), node.shape(node.outputs[0])
    transformation = node.attr_string("coordinate_transformation_mode") or "half_pixel"
    scales = _scales(node, len(shape))
    if transformation == "tf_crop_and_resize":
        return [_cropping(*each) for each in zip(shape, wanted, _regions(node, len(shape)), strict=True)]
    if shape == wanted and any(scale not in (None, 1.0) for scale in scales):
        raise Refused(
            f"scales {[scale or 1 for scale in scales]} that keep every size: ONNX's reference and onnxruntime differ",
            "give 'sizes' instead of 'scales'",
        )
    samplings = []
    for old, new, scale in zip(shape, wanted, scales, strict=True):
        same = Sampling(old, np.arange(old, dtype=np.float32), 1.0)
        kept = old == new and scale in (None, 1.0)
        samplings.append(same if kept else _sampling(old, new, scale, transformation))
    return samplings


def _regions(node: HubNode, rank: int) -> list[tuple[float, float]]:
    """Where the crop of each axis begins and ends, in shares of the axis."""
    given = node.require_constant(1).astype(np.float64)
    axes = node.attr_ints("axes") or tuple(range(rank))
    regions = [(0.0, 1.0)] * rank
    for place, axis in enumerate(axes):
        regions[axis] = (float(given[place]), float(given[place + len(axes)]))
    return regions


def _cropping(old: int, new: int, region: tuple[float, float]) -> Sampling:
    start, end = region
    if new > 1:
        positions = start * (old - 1) + np.arange(new) * (end - start) * (old - 1) / (new - 1)
    else:
        positions = np.asarray([0.5 * (start + end) * (old - 1)])
    return Sampling(old, np.asarray(positions, np.float32), new / old)


def _extrapolated(t: ProgramTarget, x: Var, samplings: list[Sampling], value: float) -> Var:
    """What was sampled beyond the data in any axis becomes the value."""
    beyond = functools.reduce(np.logical_or.outer, [sampling.outside for sampling in samplings])
    if not beyond.any():
        return x
    other = t.scalar(value, x)
    return t.op("select", cond=t.const(np.logical_not(beyond), "inside"), a=x, b=other)


def _scales(node: HubNode, rank: int) -> list[float | None]:
    """The scale of each axis as the node states it; ``None`` where it follows from the sizes."""
    given = node.constant_or(2, np.empty(0, np.float32))
    if not given.size:
        return [None] * rank
    axes = node.attr_ints("axes") or tuple(range(rank))
    scales: list[float | None] = [None] * rank
    for axis, scale in zip(axes, given, strict=True):
        scales[axis] = float(scale)
    return scales


def _sampling(old: int, new: int, stated: float | None, transformation: str) -> Sampling:
    """The source coordinate of each result, by ONNX's formulas (in float32, as onnxruntime computes them)."""
    scale = np.float32(new / old if stated is None else stated)
    places = np.arange(new, dtype=np.float32)
    if transformation == "asymmetric":
        positions = places / scale
    elif transformation == "align_corners":
        if stated is not None and abs(stated * old - new) > 1e-3:
            raise Refused(
                f"aligned corners with the scale {stated:g} of {old} elements: ONNX's reference and onnxruntime differ",
                "give 'sizes' instead of 'scales'",
            )
        positions = places * np.float32((old - 1) / (new - 1)) if new > 1 else np.zeros(1, np.float32)
    elif transformation == "pytorch_half_pixel":
        positions = (places + 0.5) / scale - 0.5 if new > 1 else np.zeros(1, np.float32)
    elif transformation == "half_pixel_symmetric":
        shift = old / 2 * (1 - new / (float(scale) * old))
        positions = shift + (places + 0.5) / scale - 0.5
    elif transformation == "half_pixel":
        positions = (places + 0.5) / scale - 0.5
    else:
        raise Refused(f"the coordinates {transformation!r} are not known here")
    return Sampling(old, np.asarray(positions, np.float32), float(scale))


def _nearest(t: ProgramTarget, x: Var, axis: int, sampling: Sampling, rounding: Callable[[Array], Array]) -> Var:
    picked = np.clip(rounding(sampling.positions), 0, sampling.size - 1).astype(np.int32)
    factor = max(len(picked) // sampling.size, 1)
    whole = len(picked) == factor * sampling.size and (picked == np.arange(len(picked)) // factor).all()
    if whole and len(x.shape) == 4 and axis >= 2 and t.is_float(x):
        factors = {"scale_factor_height": factor if axis == 2 else 1, "scale_factor_width": factor if axis == 3 else 1}
        return t.op("upsample_nearest_neighbor", x=x, **factors)
    indices = t.const(picked, "positions")
    return through_int32(t, x, lambda data: t.op("gather", x=data, indices=indices, axis=axis))


def _taps(node: HubNode, mode: str) -> Callable[[Sampling], Array]:
    """The matrix [results, source] of the interpolation along one axis."""
    coefficient, excluded = node.attr_float("cubic_coeff_a"), bool(node.attr_int("exclude_outside"))
    smoothed = bool(node.attr_int("antialias"))
    if mode == "linear":
        return lambda sampling: _matrix(sampling, 1, lambda d: np.maximum(1 - np.abs(d), 0), excluded, smoothed)
    if mode == "cubic":
        return lambda sampling: _matrix(sampling, 2, lambda d: _cubic(d, coefficient), excluded, smoothed)
    return lambda sampling: np.eye(sampling.size)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' kernel, as ONNX's Resize defines it by ``cubic_coeff_a``."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _matrix(sampling: Sampling, reach: int, kernel: Callable[[Array], Array], excluded: bool, smoothed: bool) -> Array:
    """Weights of the neighbours; those beyond the edge count for the edge, or not at all and the rest is scaled up.

    Smoothed, a kernel reaches as far in the results, where these are fewer than the source's elements.
    """
    share = min(sampling.scale, 1.0) if smoothed else 1.0
    positions = sampling.positions.astype(np.float64)
    matrix = np.zeros((len(positions), sampling.size))
    base, far = np.floor(positions), math.ceil(reach / share)
    for offset in range(1 - far, far + 1):
        place = base + offset
        weight = kernel((positions - place) * share)
        outside = (place < 0) | (place >= sampling.size)
        weight = np.where(outside, 0, weight) if excluded else weight
        np.add.at(matrix, (np.arange(len(positions)), np.clip(place, 0, sampling.size - 1).astype(int)), weight)
    return matrix / matrix.sum(axis=1, keepdims=True) if excluded or smoothed else matrix


def _interpolated(t: ProgramTarget, x: Var, axis: int, matrix: Array) -> Var:
    if not t.is_float(x):
        raise Refused("interpolation of integers rounds by rules that Core ML does not have", "cast to float32 first")
    kind = np.float16 if t.kind(x) == "fp16" else np.float32
    last = len(x.shape) - 1
    if axis == last:
        return product(t, x, t.const(np.ascontiguousarray(matrix.T).astype(kind), "interpolation"))
    if axis == last - 1:
        return product(t, t.const(matrix.astype(kind), "interpolation"), x)
    order = [place for place in range(last + 1) if place != axis] + [axis]
    moved = t.transpose(x, order)
    found = product(t, moved, t.const(np.ascontiguousarray(matrix.T).astype(kind), "interpolation"))
    return t.transpose(found, [order.index(place) for place in range(last + 1)])
