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
PIXELS = 64
"""A picture of the difference has at most so many cells in each direction."""
CHANNELS = 32
"""So many channels are described at most, those that differ most."""
SAMPLED = 16_384
"""From so many elements of a channel its quartiles are taken."""


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
class Channels:
    """The difference of each channel.

    Attributes:
        axis: of the channels.
        total: how many there are.
        indices: of those that are described, [n] int64, ascending.
        quartiles: [n, 5] float64: minimum, lower quartile, median, upper quartile, maximum of target - reference.
    """

    axis: int
    total: int
    indices: Array
    quartiles: Array


@dataclass(frozen=True)
class Plane:
    """Where two arrays differ: the absolute difference over the last two dimensions, the largest of all others.

    Attributes:
        cells: [rows, columns] float64, at most :data:`PIXELS` in each direction, each the largest of its block.
        axes: of the rows and of the columns; one axis where the arrays have only one.
        reduced: whether there are further dimensions.
    """

    cells: Array
    axes: tuple[int, ...]
    reduced: bool


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
        channels: the difference by channel; ``None`` for arrays of fewer than two dimensions.
        plane: where they differ; ``None`` for arrays without elements.
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
    channels: Channels | None = None
    plane: Plane | None = None


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
        channels=_channels(difference.reshape(reference.shape)),
        plane=_plane(difference.reshape(reference.shape)),
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


def _channels(difference: Array) -> Channels | None:
    """By the second dimension, where networks have their channels; by the last of two."""
    if difference.ndim < 2 or not difference.size:
        return None
    flat = np.nan_to_num(
        np.moveaxis(difference, 1, 0).reshape(difference.shape[1], -1), nan=0.0, posinf=0.0, neginf=0.0
    )
    most = np.abs(flat).max(axis=1)
    indices = np.sort(np.argsort(-most, kind="stable")[:CHANNELS])
    chosen = flat[indices]
    step = -(-chosen.shape[1] // SAMPLED)
    quartiles = np.quantile(chosen[:, ::step], [0, 0.25, 0.5, 0.75, 1], axis=1).T
    quartiles[:, 0], quartiles[:, 4] = chosen.min(axis=1), chosen.max(axis=1)
    return Channels(1, len(flat), indices, quartiles)


def _plane(difference: Array) -> Plane | None:
    if not difference.size:
        return None
    rank = difference.ndim
    magnitude = np.nan_to_num(np.abs(difference), nan=0.0, posinf=0.0)
    flat = magnitude.reshape(-1, *magnitude.shape[-2:]).max(axis=0) if rank >= 2 else magnitude.reshape(1, -1)
    axes = (rank - 2, rank - 1) if rank >= 2 else (0,)
    return Plane(coarser(flat, PIXELS, np.maximum), axes, rank > 2)


def coarser(plane: Array, cells: int, reduce: np.ufunc) -> Array:
    """A plane [rows, columns] of at most ``cells`` in each direction, its blocks reduced by ``np.add`` or the like."""
    for axis in (0, 1):
        length = plane.shape[axis]
        if length > cells:
            starts = np.arange(cells) * length // cells
            plane = reduce.reduceat(plane, starts, axis=axis)
    return plane
