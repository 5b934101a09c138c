"""One row in detail: what a tensor view shows of two arrays, summarised so that no raw points have to be sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS = 64
CELLS = 256
WORST = 10


@dataclass(frozen=True)
class Element:
    """One element of both tensors."""

    index: tuple[int, ...]
    reference: float
    target: float
    difference: float


@dataclass(frozen=True)
class Statistics:
    """Of the finite elements of one array."""

    minimum: float
    maximum: float
    mean: float
    deviation: float
    nan: int
    inf: int


@dataclass(frozen=True)
class Detail:
    """Two arrays side by side.

    Attributes:
        title: of the row; ``mode``: ``accumulated`` or ``isolated``.
        shape: of both arrays; ``dtypes`` of the reference and the target.
        statistics: of the reference, the target and their difference (target - reference).
        edges: [bins + 1] float64, of both histograms; ``reference_counts`` and ``target_counts`` [bins] int64.
        difference_edges, difference_counts: the histogram of the difference.
        density: [cells, cells] int64, how many elements lie in each cell of the scatter of target (rows, upwards)
            over reference (columns); ``density_edges`` [cells + 1] float64 for both axes.
        worst: the elements that differ most, NaN and infinities first.
    """

    title: str
    mode: str
    shape: tuple[int, ...]
    dtypes: tuple[str, str]
    statistics: tuple[Statistics, Statistics, Statistics]
    edges: Array
    reference_counts: Array
    target_counts: Array
    difference_edges: Array
    difference_counts: Array
    density: Array
    density_edges: Array
    worst: tuple[Element, ...]


def summarize(reference: Array, target: Array, *, title: str = "", mode: str = "accumulated") -> Detail:
    """Summarise two arrays of one shape, of any real dtype or booleans.

    Raises:
        TypeError: strings.
    """
    if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf":
        raise TypeError(f"{reference.dtype.name} against {target.dtype.name}: only numbers can be summarised")
    x, y = (np.asarray(array, dtype=np.float64).reshape(-1) for array in (reference, target))
    both = np.isfinite(x) & np.isfinite(y)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = y - x
    bins = max(8, min(BINS, int(2 * math.sqrt(x.size))))  # few elements in many bins show nothing
    edges = _edges(np.concatenate([x[both], y[both]]), bins)
    cells = _edges(np.concatenate([x[both], y[both]]), max(16, min(CELLS, int(4 * math.sqrt(x.size)))))
    finite = difference[both]
    difference_edges = _edges(finite, bins)
    density, _, _ = np.histogram2d(y[both], x[both], bins=(cells, cells))
    return Detail(
        title=title,
        mode=mode,
        shape=reference.shape,
        dtypes=(reference.dtype.name, target.dtype.name),
        statistics=(_statistics(x), _statistics(y), _statistics(difference)),
        edges=edges,
        reference_counts=np.histogram(x[both], edges)[0],
        target_counts=np.histogram(y[both], edges)[0],
        difference_edges=difference_edges,
        difference_counts=np.histogram(finite, difference_edges)[0],
        density=density.astype(np.int64),
        density_edges=cells,
        worst=_worst(x, y, difference, reference.shape),
    )


def _edges(values: Array, bins: int) -> Array:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if not high - low > abs(high) * 1e-12:  # one value only, or so near that bins could not tell them apart
        margin = max(abs(high) * 1e-6, 1e-12)
        low, high = low - margin, high + margin
    share = np.linspace(0, 1, bins + 1)
    return low * (1 - share) + high * share  # high - low may be beyond float64


def _statistics(values: Array) -> Statistics:
    finite = values[np.isfinite(values)]
    nan = int(np.count_nonzero(np.isnan(values)))
    infinite = values.size - finite.size - nan
    if not finite.size:
        return Statistics(math.nan, math.nan, math.nan, math.nan, nan, infinite)
    with np.errstate(over="ignore", invalid="ignore"):
        return Statistics(
            float(finite.min()), float(finite.max()), float(finite.mean()), float(finite.std()), nan, infinite
        )


def _worst(x: Array, y: Array, difference: Array, shape: tuple[int, ...]) -> tuple[Element, ...]:
    equal = (x == y) | (np.isnan(x) & np.isnan(y))
    magnitude = np.where(equal, 0.0, np.nan_to_num(np.abs(difference), nan=math.inf))
    count = min(WORST, magnitude.size)
    nearest = np.argpartition(-magnitude, count - 1)[:count] if count else np.empty(0, np.int64)
    order = nearest[np.lexsort((nearest, -magnitude[nearest]))]
    return tuple(
        Element(
            tuple(int(i) for i in np.unravel_index(int(at), shape)), float(x[at]), float(y[at]), float(difference[at])
        )
        for at in order
        if magnitude[at] > 0
    )
