"""The sums that tell how two tensors differ, taken block by block.

Per block of 65,536 elements three float32 dot products and two maxima are taken; sums over blocks are float64. Blocks
that float32 cannot add up (values beyond 1e15 or all below 1e-15, float64 and integer tensors) go through float64. Two
runs that are compared with one reference go side by side, while its block is in the processor's cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.compare.sums import BLOCK, HUGE, TINY, Base, dot, scratch, squared_distance
from workbench.hub.half import from_half

Array = np.ndarray[Any, Any]

_CANCELLED = 0.01  # of Σx²: a Σy² that follows from the others and is smaller has lost digits


@dataclass
class Sums:
    """What has been added up of a reference x and a target y, d being x - y, in all samples so far.

    Attributes:
        xx: Σx²; ``yy``, ``xd``, ``xy`` and ``dd`` likewise.
        max: largest abs(d); ``index`` and ``sample`` say where it is.
        relative: largest relative difference; ``ulp``: that difference in units in the last place.
        pattern: positions where one has NaN or an infinity and the other has not the same.
        nan: how many in x and in y; ``inf`` likewise.
    """

    xx: float = 0.0
    yy: float = 0.0
    xd: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    max: float = 0.0
    index: tuple[int, ...] = ()
    sample: int = 0
    relative: float = 0.0
    ulp: float = 0.0
    pattern: int = 0
    nan: list[int] = field(default_factory=lambda: [0, 0])
    inf: list[int] = field(default_factory=lambda: [0, 0])

    def add_same(self, xx: float) -> None:
        """Add elements that are equal, given the sum of their squares."""
        self.xx += xx
        self.yy += xx
        self.xy += xx


class Pass:
    """One sample of a target on its way into the sums.

    Args:
        base: of the reference, whose dtype is ``dtype``.
        target: of the reference's shape.
    """

    def __init__(self, sums: Sums, base: Base, dtype: np.dtype[Any], target: Array, sample: int) -> None:
        self._sums, self._base, self._sample = sums, base, sample
        self.shape = target.shape
        self.flat = target.reshape(-1)
        self._coarse = _coarser(dtype, target.dtype)
        self._floor = math.sqrt(_epsilon(self._coarse)) * base.peak
        self._wide = base.wide or target.dtype.kind != "f" or target.itemsize > 4

    def block(self, start: int) -> tuple[Array, float]:
        """Add the block that begins there; returns the target's part of it, and Σd² of it."""
        x, y = (_in_float32(array[start : start + BLOCK]) for array in (self._base.flat, self.flat))
        before = self._sums.dd
        where, largest = self._add(x, y, start)
        if largest > self._sums.max:
            self._sums.max, self._sums.sample = largest, self._sample
            self._sums.index = tuple(int(i) for i in np.unravel_index(start + where, self.shape))
        return y, self._sums.dd - before

    def _add(self, x: Array, y: Array, start: int) -> tuple[int, float]:
        """Add the block that begins there; returns the place and the size of its largest difference."""
        precision: Any = np.float64 if self._wide else np.float32
        sums, xx = self._sums, self._base.squares[start // BLOCK]
        known: tuple[object, int] | None = (self._base.token, start)
        x, y = x.astype(precision, copy=False), y.astype(precision, copy=False)
        difference = np.subtract(x, y, out=scratch.block(precision, 0, x.size))
        magnitude = np.abs(difference, out=scratch.block(precision, 1, x.size))
        where = int(magnitude.argmax())
        largest = float(magnitude[where])
        if not largest < HUGE:  # NaN, infinities, or too large for float32
            x, y = self._without_special(x.astype(np.float64), y.astype(np.float64))
            difference, precision = x - y, np.float64
            magnitude = np.abs(difference)
            where = int(magnitude.argmax())
            largest, xx, known = float(magnitude[where]), dot(x, x), None
        if largest == 0:
            sums.add_same(xx)
            return where, 0.0
        if largest < TINY:
            difference = difference.astype(np.float64)
        xd, dd = dot(x.astype(difference.dtype, copy=False), difference), dot(difference, difference)
        xy, yy = xx - xd, xx - 2 * xd + dd
        if yy < _CANCELLED * xx:
            xy, yy = dot(x, y), dot(y, y)
        sums.xx += xx
        sums.xd += xd
        sums.dd += dd
        sums.xy += xy
        sums.yy += yy
        self._note_relative(x, magnitude, precision, largest, known)
        return where, largest

    def _note_relative(
        self, x: Array, magnitude: Array, precision: Any, largest: float, known: tuple[object, int] | None
    ) -> None:
        """Keep the largest relative difference, and what it is in units in the last place.

        Args:
            known: which block of which reference it is, if it is one as it stands.
        """
        sums, floor = self._sums, precision(self._floor) or np.finfo(precision).tiny
        if precision(largest) / floor <= sums.relative:  # no element can have a larger one than this
            return
        relative = scratch.block(precision, 3, x.size)
        np.divide(magnitude, scratch.at_least(x, floor, precision, known), out=relative)
        at = int(relative.argmax())
        if float(relative[at]) > sums.relative:
            sums.relative = float(relative[at])
            sums.ulp = float(magnitude[at]) / _spacing(max(float(abs(x[at])), float(floor)), self._coarse)

    def _without_special(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Count NaN and infinities and put zeros in their place, on both sides."""
        finite_x, finite_y = np.isfinite(x), np.isfinite(y)
        nan_x, nan_y = np.isnan(x), np.isnan(y)
        for side, (nan, finite) in enumerate(((nan_x, finite_x), (nan_y, finite_y))):
            count = int(np.count_nonzero(nan))
            self._sums.nan[side] += count
            self._sums.inf[side] += nan.size - int(np.count_nonzero(finite)) - count
        both = finite_x & finite_y
        self._sums.pattern += int(np.count_nonzero(~(both | (nan_x & nan_y) | (x == y))))
        return np.where(both, x, x.dtype.type(0)), np.where(both, y, y.dtype.type(0))


def take(passes: Sequence[Pass]) -> float:
    """Take one or two passes over tensors of one size; returns Σ of squared differences between their targets.

    Where one of the runs is the reference itself (or is not there), that is the other's own distance from it.
    """
    total = 0.0
    floats = all(item.flat.dtype.kind == "f" for item in passes)
    with np.errstate(all="ignore"):
        for start in range(0, passes[0].flat.size if passes else 0, BLOCK):
            blocks = [item.block(start) for item in passes]
            if all(distance for _, distance in blocks[:2]) and len(blocks) == 2:
                total += squared_distance(blocks[0][0], blocks[1][0]) if floats else 0.0
            else:
                total += sum(distance for _, distance in blocks)
    return total


def _in_float32(block: Array) -> Array:
    """The block, float16 in float32: numpy is slow with it."""
    return from_half(block) if block.dtype == np.float16 else block


def _coarser(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any] | None:
    """The float dtype of the two with the larger spacing; ``None`` if neither is one."""
    return max((dtype for dtype in (first, second) if dtype.kind == "f"), key=_epsilon, default=None)


@functools.cache
def _epsilon(dtype: np.dtype[Any] | None) -> float:
    return float(np.finfo(dtype).eps) if dtype is not None and dtype.kind == "f" else 0.0


def _spacing(value: float, dtype: np.dtype[Any] | None) -> float:
    """The distance from the value to the next larger one of the dtype; infinite for integers."""
    if dtype is None:
        return math.inf
    limits = np.finfo(dtype)
    return float(np.spacing(np.asarray(min(value, float(limits.max) / 2), dtype)))
