"""How two tensors differ, reduced block by block while they stream past; nothing of them is kept.

Per block of 32,768 elements four float32 dot products and one maximum are taken; sums over blocks are float64. Blocks
that float32 cannot add up (values beyond 1e15 or all below 1e-15, float64 and integer tensors) go through float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BLOCK = 32_768
TOP = 5
_PIECE = 8_192
_TINY, _HUGE = 1e-15, 1e15  # squares of values in between, and sums of a block of them, are normal float32 numbers


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
        mismatches: elements that are not equal, for integers, booleans and strings; ``None`` for floats.
        pattern: positions where one has NaN or an infinity and the other has not the same.
        nan: how many NaN in the reference and in the target; ``inf`` likewise.
        peak: largest finite |x|.
        rms: root mean square of x.
        top1: share of rows with the same largest element, for classifier outputs; ``top5``: share of the five largest
            elements that the two have in common.
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
    _dd: float = 0.0
    _max: float = 0.0
    _index: tuple[int, ...] = ()
    _sample: int = 0
    _relative: float = 0.0
    _mismatches: int | None = None
    _pattern: int = 0
    _nan: list[int] = field(default_factory=lambda: [0, 0])
    _inf: list[int] = field(default_factory=lambda: [0, 0])
    _peak: float = 0.0
    _agreement: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    _wide: bool = False
    _floor: float = 0.0

    @property
    def peak(self) -> float:
        """Largest finite magnitude of the reference so far."""
        return self._peak

    def update(self, reference: Array, target: Array, sample: int = 0) -> None:
        """Take one sample: two arrays of one shape, in any dtypes but complex ones."""
        assert reference.shape == target.shape
        self.samples += 1
        self.size += reference.size
        if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
            self._count_mismatches(int(np.count_nonzero(reference != target)))
            return
        if reference.dtype.kind != "f":
            self._count_mismatches(int(np.count_nonzero(reference != target)))
        if not reference.size:
            return
        if self.classes and reference.ndim and reference.shape[-1] >= TOP:
            self._compare_ranking(reference, target)
        x, y = reference.reshape(-1), target.reshape(-1)
        own_peak = peak_of(x)
        peak = max(own_peak, peak_of(y))
        narrow = reference.dtype.itemsize <= 4 and reference.dtype.kind == target.dtype.kind == "f" and y.itemsize <= 4
        self._wide = not (narrow and _TINY < peak < _HUGE)
        self._floor = math.sqrt(max(_epsilon(x.dtype), _epsilon(y.dtype))) * own_peak
        at, largest = -1, self._max
        for start in range(0, x.size, BLOCK):
            where, value = self._block(x[start : start + BLOCK], y[start : start + BLOCK])
            if value > largest:
                at, largest = start + where, value
        self._peak = max(self._peak, own_peak)
        if at >= 0:
            self._max = largest
            self._index = tuple(int(i) for i in np.unravel_index(at, reference.shape))
            self._sample = sample

    def _block(self, x: Array, y: Array) -> tuple[int, float]:
        """Add one block; returns the place and the size of its largest difference."""
        precision = np.float64 if self._wide else np.float32
        x = x.astype(precision, copy=False)
        y = y.astype(precision, copy=False)
        with np.errstate(all="ignore"):
            xx, yy = _dot(x, x), _dot(y, y)
            if not math.isfinite(xx + yy):
                x, y = self._without_special(x, y)
                xx, yy = _dot(x, x), _dot(y, y)
            difference = x - y
            magnitude = np.abs(difference)
            where = int(magnitude.argmax())
            largest = float(magnitude[where])
            self._xx += xx
            self._yy += yy
            if largest == 0:
                return where, 0.0
            if largest < _TINY:
                difference = difference.astype(np.float64)
            self._xd += _dot(x.astype(difference.dtype, copy=False), difference)
            self._dd += _dot(difference, difference)
            floor = precision(self._floor) or np.finfo(precision).tiny
            np.divide(magnitude, np.maximum(np.abs(x), floor), out=magnitude)
            self._relative = max(self._relative, float(magnitude.max()))
        return where, largest

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
        self._agreement[2] += float((best_x[:, :, None] == best_y[:, None, :]).any(axis=2).sum()) / TOP

    def finish(self) -> Metrics | None:
        """The metrics of everything taken so far; ``None`` if nothing was."""
        if not self.samples:
            return None
        xx, yy, dd = self._xx, self._yy, self._dd
        xy = xx - self._xd
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
        )


def measure(reference: Array, target: Array, *, classes: bool = False) -> Metrics:
    """The metrics of one pair of equally shaped arrays."""
    accumulator = Accumulator(classes)
    accumulator.update(reference, target)
    found = accumulator.finish()
    assert found is not None
    return found


def _dot(x: Array, y: Array) -> float:
    """Dot product of two vectors, in pieces that BLAS leaves to one thread.

    Handing a block to other threads costs more than the block where they are busy, and would make the sum depend on
    how many there are.
    """
    whole = x.size // _PIECE * _PIECE
    pieces = np.vecdot(x[:whole].reshape(-1, _PIECE), y[:whole].reshape(-1, _PIECE))
    return float(pieces.sum(dtype=np.float64)) + float(np.dot(x[whole:], y[whole:]))


def peak_of(x: Array) -> float:
    """Largest finite magnitude."""
    high, low = float(x.max()), float(x.min())
    if math.isfinite(high) and math.isfinite(low):
        return max(high, -low)
    finite = x[np.isfinite(x)]
    return max(float(finite.max()), -float(finite.min())) if finite.size else 0.0


def _epsilon(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _cosine(xx: float, yy: float, xy: float, dd: float) -> float:
    if not dd:
        return 1.0
    if not xx or not yy:
        return 0.0
    return max(-1.0, min(1.0, xy / math.sqrt(xx) / math.sqrt(yy)))
