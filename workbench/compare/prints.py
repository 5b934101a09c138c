"""What is kept of a tensor to know it by: figures that a permutation of its axes permutes and nothing else changes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.compare.match import kind_of_dtype
from workbench.compare.sums import HUGE, TINY, peak_of
from workbench.hub.half import from_half

Array = np.ndarray[Any, Any]

CHUNKS = 64
_TELLING = 8
"""Integers and booleans of fewer elements say too little: sizes, axes, flags."""
_LOCAL = 8192
"""Elements of a product that BLAS leaves to one thread."""


@dataclass(frozen=True)
class Print:
    """What is kept of a tensor.

    Attributes:
        dims: its sizes without those of one; ``axes`` their places in the tensor.
        rank: with those of one.
        flat: means of stretches of the tensor in its own order.
        profiles: for each of ``dims``, mean and root mean square over the other axes at each index.
        scale: root mean square of all.
    """

    dims: tuple[int, ...]
    axes: tuple[int, ...]
    rank: int
    size: int
    kind: str
    flat: Array
    profiles: tuple[Array, ...]
    scale: float


def print_of(array: Any) -> Print | None:
    """The print; ``None`` of what cannot tell tensors apart (constant or tiny), or is no array of numbers."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.size:
        return None
    if array.dtype.kind != "f" and array.size < _TELLING:
        return None
    x = _calculable(array)
    axes = tuple(axis for axis, size in enumerate(x.shape) if size != 1)
    kept = x.reshape([x.shape[axis] for axis in axes])
    means, squares = _means(kept), _means(np.square(kept))
    scale = math.sqrt(float(squares[0].mean() if squares else np.square(kept)))
    if array.size > 1 and float(x.max()) - float(x.min()) <= 1e-6 * scale:
        return None
    profiles = tuple(np.stack([mean, np.sqrt(square)]) for mean, square in zip(means, squares, strict=True))
    bounds = np.linspace(0, x.size, min(CHUNKS, x.size) + 1).astype(np.int64)[:-1]
    flat = np.add.reduceat(x.reshape(-1), bounds).astype(np.float64) / np.diff([*bounds, x.size])
    return Print(kept.shape, axes, x.ndim, x.size, kind_of_dtype(array.dtype.name), flat, profiles, scale)


def _calculable(array: Array) -> Array:
    """The array in a dtype that its squares can be added up in, with zeros for what is not finite."""
    x = from_half(array) if array.dtype == np.float16 else array
    if x.dtype == np.float32:
        peak = peak_of(x)
        if TINY < peak < HUGE and math.isfinite(float(x.max()) - float(x.min())):
            return x
    x = x.astype(np.float64)
    x[~np.isfinite(x)] = 0.0
    return x


def _means(x: Array) -> list[Array]:
    """For each axis, the mean over all others at each index.

    Sums of few elements are taken in the array's own dtype (float32 would lose digits in long ones), those of sums in
    float64: along the last axis, which makes what the other axes need smaller, and across it.
    """
    if x.ndim < 2:
        return [x.astype(np.float64)] * x.ndim
    width = x.shape[-1]
    rows, along = x.reshape(-1, width), np.add.reduce(x, axis=-1).astype(np.float64)
    height = max(1, _LOCAL // width)
    whole = len(rows) // height * height
    ones = np.ones((1, height), x.dtype)
    across = np.matmul(ones, rows[:whole].reshape(-1, height, width)).sum(axis=(0, 1), dtype=np.float64)
    across += rows[whole:].sum(axis=0, dtype=np.float64)
    others = [
        along.sum(axis=tuple(other for other in range(along.ndim) if other != axis)) * (x.shape[axis] / x.size)
        for axis in range(along.ndim)
    ]
    return [*others, across / len(rows)]


def relation(reference: Print, target: Print, tolerance: float) -> tuple[int, ...] | None:
    """The permutation of the target's axes that gives the reference's order (up to axes of size one).

    Returns:
        ``()`` where the order is the same, also if the sizes are not (a tensor that was reshaped); ``None`` where the
        prints do not agree.
    """
    if reference.size != target.size or reference.kind != target.kind:
        return None
    allowed = tolerance * max(reference.scale, target.scale)
    if abs(reference.scale - target.scale) > allowed:
        return None
    if _near(reference.flat, target.flat, allowed) and (
        reference.dims != target.dims or all(map(_near, reference.profiles, target.profiles, itertools.repeat(allowed)))
    ):
        return ()
    if sorted(reference.dims) != sorted(target.dims):
        return None
    order: list[int] = []
    for profile in reference.profiles:
        fits = (at for at, own in enumerate(target.profiles) if at not in order and _near(profile, own, allowed))
        found = next(fits, None)
        if found is None:
            return None
        order.append(found)
    ones = [axis for axis in range(target.rank) if axis not in target.axes]
    return (*ones, *(target.axes[at] for at in order))


def _near(first: Array, second: Array, allowed: float) -> bool:
    return first.shape == second.shape and float(np.abs(first - second).max(initial=0.0)) <= allowed
