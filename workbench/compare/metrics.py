"""How two tensors differ, reduced while they stream past; nothing of them is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.compare.blocks import Pass, Sums, take
from workbench.compare.sums import Base

Array = np.ndarray[Any, Any]

TOP = 5


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
    peak: float = 0.0
    """Largest finite magnitude of the reference so far."""
    _sums: Sums = field(default_factory=Sums)
    _mismatches: int | None = None
    _agreement: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    _margin: float = math.inf

    def update(self, reference: Array, target: Array, sample: int = 0) -> None:
        """Take one sample: two arrays of one shape, in any dtypes but complex ones."""
        found = self.begin(reference, target, sample)
        if found is not None:
            take([found])

    def begin(
        self, reference: Array, target: Array, sample: int = 0, base: Base | None = None, same: bool = False
    ) -> Pass | None:
        """Begin to take one sample, which :func:`workbench.compare.blocks.take` may take together with another.

        Args:
            base: of the reference, where it was made already.
            same: whether the two are known to be equal bit by bit.

        Returns:
            What is still to be done, block by block; ``None`` where nothing is.
        """
        assert reference.shape == target.shape
        self.samples += 1
        self.size += reference.size
        if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
            self._count_mismatches(int(np.count_nonzero(reference != target)))
            return None
        if reference.dtype.kind != "f":
            self._count_mismatches(0 if same else int(np.count_nonzero(reference != target)))
        if not reference.size:
            return None
        if self.classes and reference.ndim and reference.shape[-1] >= TOP:
            self._compare_ranking(reference, target)
        base = base or Base(reference)
        self.peak = max(self.peak, base.peak)
        if same and not base.special:
            self._sums.add_same(base.total)
            return None
        return Pass(self._sums, base, reference.dtype, target, sample)

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
        sums = self._sums
        xx, yy, xy, dd = sums.xx, sums.yy, sums.xy, sums.dd
        rows = self._agreement[0]
        return Metrics(
            size=self.size,
            max_abs=sums.max,
            max_abs_index=sums.index,
            max_abs_sample=sums.sample,
            relative_l2=math.sqrt(dd / xx) if xx else (math.inf if dd else 0.0),
            sqnr_db=10 * math.log10(xx / dd) if xx and dd else (-math.inf if dd else math.inf),
            cosine=_cosine(xx, yy, xy, dd),
            gain=1 - sums.xd / xx if xx else (1.0 if not dd else math.inf),
            max_relative=sums.relative,
            mismatches=self._mismatches,
            pattern=sums.pattern,
            nan=(sums.nan[0], sums.nan[1]),
            inf=(sums.inf[0], sums.inf[1]),
            peak=self.peak,
            rms=math.sqrt(xx / self.size) if self.size else 0.0,
            top1=self._agreement[1] / rows if rows else None,
            top5=self._agreement[2] / rows if rows else None,
            max_ulp=sums.ulp,
            margin=self._margin if rows and math.isfinite(self._margin) else None,
        )


def measure(reference: Array, target: Array, *, classes: bool = False) -> Metrics:
    """The metrics of one pair of equally shaped arrays."""
    accumulator = Accumulator(classes)
    accumulator.update(reference, target)
    found = accumulator.finish()
    assert found is not None
    return found


def _cosine(xx: float, yy: float, xy: float, dd: float) -> float:
    if not dd:
        return 1.0
    if not xx or not yy:
        return 0.0
    return max(-1.0, min(1.0, xy / math.sqrt(xx) / math.sqrt(yy)))
