"""How two tensors differ, reduced block by block while they stream past; nothing of them is kept.

Per block of 32,768 elements four float32 dot products and one maximum are taken; sums over blocks are float64. Blocks
that float32 cannot add up (values beyond 1e15 or all below 1e-15, float64 and integer tensors) go through float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.compare.sums import BLOCK, HUGE, TINY, Base, dot, scratch

Array = np.ndarray[Any, Any]

TOP = 5
_CANCELLED = 0.01  # of Σx²: a Σy² that follows from the others and is smaller has lost digits


@dataclass(frozen=True)
class Metrics:
    """The difference of a target's tensor from the reference's, over all samples.

    Positions where both are NaN, or both the same infinity, count as equal and enter no other figure. Zeros are equal
    whatever their signs.

    Attributes:
        size: elements compared.
        max_abs: largest absolute difference.
        max_abs_index: where it is, in the reference's layout; empty for 0-d tensors and where nothing differs.
        max_abs_sample: in which sample it is.
        relative_l2: ‖x - y‖ / ‖x‖; infinite where x is zero and y is not.
        sqnr_db: signal to noise, 20·log10(‖x‖ / ‖x - y‖); infinite where nothing differs.
        cosine: of the angle between the two (1 for y = 2x: look at the gain as well).
        gain: the factor g that brings g·x nearest to y.
        max_relative: largest |x - y| / |x|, where values below √ε of the tensor's peak are measured against that
            (ε of the coarser of the two dtypes): beneath it, a value has lost half of its bits to its neighbours.
        max_ulp: the same difference in units in the last place of the coarser dtype; 0 for integers.
        mismatches: elements that are not equal, for integers, booleans and strings; ``None`` for floats.
        pattern: positions where one has NaN or an infinity and the other has not the same.
        nan: how many NaN in the reference and in the target; ``inf`` likewise.
        peak: largest finite |x|.
        rms: root mean square of x.
        top1: share of rows with the same largest element, for classifier outputs; ``top5``: share of the five largest
            elements that the two have in common.
        margin: for classifier outputs, the least distance between the reference's best and second-best score; where
            ``max_abs`` is below half of it, no difference of rounding has decided a class.
    """

    size: int
    max_abs: float
    max_abs_index: tuple[int, ...]
    max_abs_sample: int
    relative_l2: float
    sqnr_db: float
    cosine: float
    gain: float
    max_relative: float
    mismatches: int | None
    pattern: int
    nan: tuple[int, int]
    inf: tuple[int, int]
    peak: float
    rms: float
    top1: float | None = None
    top5: float | None = None
    max_ulp: float = 0.0
    margin: float | None = None

    @property
    def error(self) -> float:
        """The figure that is judged: relative L2, or the share of elements that differ where none differ a little."""
        return self.relative_l2 if self.mismatches is None else self.mismatches / max(self.size, 1)


@dataclass
class Accumulator:
    """Takes pairs of equally shaped arrays, sample by sample, and gives their :class:`Metrics`.

    Args:
        classes: the last dimension holds the scores of a classifier: measure top-k agreement.
    """

    classes: bool = False
    samples: int = 0
    size: int = 0
    _xx: float = 0.0
    _yy: float = 0.0
    _xd: float = 0.0
    _xy: float = 0.0
    _dd: float = 0.0
    _max: float = 0.0
    _index: tuple[int, ...] = ()
    _sample: int = 0
    _relative: float = 0.0
    _ulp: float = 0.0
    _mismatches: int | None = None
    _pattern: int = 0
    _nan: list[int] = field(default_factory=lambda: [0, 0])
    _inf: list[int] = field(default_factory=lambda: [0, 0])
    _peak: float = 0.0
    _agreement: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    _margin: float = math.inf
    _wide: bool = False
    _floor: float = 0.0
    _coarse: np.dtype[Any] | None = None

    @property
    def peak(self) -> float:
        """Largest finite magnitude of the reference so far."""
        return self._peak

    def update(
        self,
        reference: Array,
        target: Array,
        sample: int = 0,
        base: Base | None = None,
        same: bool = False,
        dtype: np.dtype[Any] | None = None,
    ) -> float:
        """Take one sample: two arrays of one shape, in any dtypes but complex ones.

        Args:
            base: of the reference, where it was made already.
            same: whether the two are known to be equal bit by bit.
            dtype: of the target's tensor, where ``target`` is a wider copy of it.

        Returns:
            Σ(x - y)² of this sample.
        """
        assert reference.shape == target.shape
        self.samples += 1
        self.size += reference.size
        if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
            self._count_mismatches(int(np.count_nonzero(reference != target)))
            return 0.0
        if reference.dtype.kind != "f":
            self._count_mismatches(0 if same else int(np.count_nonzero(reference != target)))
        if not reference.size:
            return 0.0
        if self.classes and reference.ndim and reference.shape[-1] >= TOP:
            self._compare_ranking(reference, target)
        base = base or Base(reference)
        self._peak = max(self._peak, base.peak)
        if same and not base.special:
            self._xx += base.total
            self._yy += base.total
            self._xy += base.total
            return 0.0
        self._coarse = _coarser(reference.dtype, dtype or target.dtype)
        return self._difference(base, target, sample)

    def _difference(self, base: Base, target: Array, sample: int) -> float:
        x, y = base.flat, target.reshape(-1)
        self._floor = math.sqrt(_epsilon(self._coarse)) * base.peak
        self._wide = base.wide or y.dtype.kind != "f" or y.itemsize > 4
        at, largest, before = -1, self._max, self._dd
        squares = base.squares
        with np.errstate(all="ignore"):
            for place, start in enumerate(range(0, x.size, BLOCK)):
                first, second = x[start : start + BLOCK], y[start : start + BLOCK]
                where, value = self._block(first, second, squares[place])
                if value > largest:
                    at, largest = start + where, value
        if at >= 0:
            self._max = largest
            self._index = tuple(int(i) for i in np.unravel_index(at, target.shape))
            self._sample = sample
        return self._dd - before

    def _block(self, x: Array, y: Array, xx: float) -> tuple[int, float]:
        """Add one block, whose Σx² is known; returns the place and the size of its largest difference."""
        precision: Any = np.float64 if self._wide else np.float32
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
            largest, xx = float(magnitude[where]), dot(x, x)
        self._xx += xx
        if largest == 0:
            self._yy += xx
            self._xy += xx
            return where, 0.0
        if largest < TINY:
            difference = difference.astype(np.float64)
        xd, dd = dot(x.astype(difference.dtype, copy=False), difference), dot(difference, difference)
        xy, yy = xx - xd, xx - 2 * xd + dd
        if yy < _CANCELLED * xx:
            xy, yy = dot(x, y), dot(y, y)
        self._xd += xd
        self._dd += dd
        self._xy += xy
        self._yy += yy
        self._note_relative(x, magnitude, precision(self._floor) or np.finfo(precision).tiny)
        return where, largest

    def _note_relative(self, x: Array, magnitude: Array, floor: Any) -> None:
        """Keep the largest relative difference, and what it is in units in the last place."""
        against = np.abs(x, out=scratch.block(x.dtype, 2, x.size))
        relative = np.maximum(against, floor, out=against)
        np.divide(magnitude, against, out=relative)
        at = int(relative.argmax())
        if float(relative[at]) > self._relative:
            self._relative = float(relative[at])
            self._ulp = float(magnitude[at]) / _spacing(max(float(abs(x[at])), float(floor)), self._coarse)

    def _without_special(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Count NaN and infinities and put zeros in their place, on both sides."""
        finite_x, finite_y = np.isfinite(x), np.isfinite(y)
        nan_x, nan_y = np.isnan(x), np.isnan(y)
        for side, (nan, finite) in enumerate(((nan_x, finite_x), (nan_y, finite_y))):
            count = int(np.count_nonzero(nan))
            self._nan[side] += count
            self._inf[side] += nan.size - int(np.count_nonzero(finite)) - count
        both = finite_x & finite_y
        self._pattern += int(np.count_nonzero(~(both | (nan_x & nan_y) | (x == y))))
        return np.where(both, x, x.dtype.type(0)), np.where(both, y, y.dtype.type(0))

    def _count_mismatches(self, count: int) -> None:
        self._mismatches = (self._mismatches or 0) + count

    def _compare_ranking(self, reference: Array, target: Array) -> None:
        width = reference.shape[-1]
        x, y = reference.reshape(-1, width), target.reshape(-1, width)
        self._agreement[0] += len(x)
        self._agreement[1] += float(np.count_nonzero(x.argmax(axis=1) == y.argmax(axis=1)))
        best_x, best_y = (np.argsort(-a.astype(np.float64), axis=1, kind="stable")[:, :TOP] for a in (x, y))
        order = np.sort(x, axis=1)
        self._margin = min(self._margin, float((order[:, -1] - order[:, -2]).min()))
        self._agreement[2] += float((best_x[:, :, None] == best_y[:, None, :]).any(axis=2).sum()) / TOP

    def finish(self) -> Metrics | None:
        """The metrics of everything taken so far; ``None`` if nothing was."""
        if not self.samples:
            return None
        xx, yy, xy, dd = self._xx, self._yy, self._xy, self._dd
        rows = self._agreement[0]
        return Metrics(
            size=self.size,
            max_abs=self._max,
            max_abs_index=self._index,
            max_abs_sample=self._sample,
            relative_l2=math.sqrt(dd / xx) if xx else (math.inf if dd else 0.0),
            sqnr_db=10 * math.log10(xx / dd) if xx and dd else (-math.inf if dd else math.inf),
            cosine=_cosine(xx, yy, xy, dd),
            gain=1 - self._xd / xx if xx else (1.0 if not dd else math.inf),
            max_relative=self._relative,
            mismatches=self._mismatches,
            pattern=self._pattern,
            nan=(self._nan[0], self._nan[1]),
            inf=(self._inf[0], self._inf[1]),
            peak=self._peak,
            rms=math.sqrt(xx / self.size) if self.size else 0.0,
            top1=self._agreement[1] / rows if rows else None,
            top5=self._agreement[2] / rows if rows else None,
            max_ulp=self._ulp,
            margin=self._margin if rows and math.isfinite(self._margin) else None,
        )


def measure(reference: Array, target: Array, *, classes: bool = False) -> Metrics:
    """The metrics of one pair of equally shaped arrays."""
    accumulator = Accumulator(classes)
    accumulator.update(reference, target)
    found = accumulator.finish()
    assert found is not None
    return found


def _coarser(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any] | None:
    """The float dtype of the two with the larger spacing; ``None`` if neither is one."""
    return max((dtype for dtype in (first, second) if dtype.kind == "f"), key=_epsilon, default=None)


def _epsilon(dtype: np.dtype[Any] | None) -> float:
    return float(np.finfo(dtype).eps) if dtype is not None and dtype.kind == "f" else 0.0


def _spacing(value: float, dtype: np.dtype[Any] | None) -> float:
    """The distance from the value to the next larger one of the dtype; infinite for integers."""
    if dtype is None:
        return math.inf
    limits = np.finfo(dtype)
    return float(np.spacing(np.asarray(min(value, float(limits.max) / 2), dtype)))


def _cosine(xx: float, yy: float, xy: float, dd: float) -> float:
    if not dd:
        return 1.0
    if not xx or not yy:
        return 0.0
    return max(-1.0, min(1.0, xy / math.sqrt(xx) / math.sqrt(yy)))
