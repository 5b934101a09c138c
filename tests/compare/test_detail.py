"""The summary of two tensors: counts that add up, whatever stands in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.compare import summarize
from workbench.compare.detail import CELLS, CHANNELS, PIXELS, coarser


def test_counts_add_up() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((4, 5000)).astype(np.float32)
    y = x + np.float32(0.1) * generator.standard_normal(x.shape).astype(np.float32)
    detail = summarize(x, y)
    assert detail.reference_counts.sum() == detail.target_counts.sum() == detail.density.sum() == x.size
    assert detail.difference_counts.sum() == x.size
    assert detail.density.shape == (CELLS, CELLS)
    assert len(detail.edges) == len(detail.reference_counts) + 1
    assert detail.statistics[0].mean == pytest.approx(float(x.mean()), rel=1e-4)
    assert detail.statistics[2].deviation == pytest.approx(0.1, rel=0.05)
    worst = np.abs(y - x)
    assert detail.worst[0].index == tuple(int(i) for i in np.unravel_index(worst.argmax(), worst.shape))
    assert len(detail.worst) == 10
    assert [abs(e.difference) for e in detail.worst] == sorted((abs(e.difference) for e in detail.worst), reverse=True)


def test_rows_of_the_density_are_the_target() -> None:
    x, y = np.zeros(4), np.asarray([0.0, 1.0, 1.0, 1.0])
    detail = summarize(x, y)
    assert detail.density[0].sum() == 1
    assert detail.density[-1, 0] == 3


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        (3.0, 4.0),
        ([2.0, 2.0], [2.0, 2.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([np.nan, np.inf], [np.nan, -np.inf]),
        ([1e300, -1e308], [1e308, 1e-300]),
        ([1e-45, 0], [0, 1e-45]),
    ],
)
def test_extremes(x: object, y: object) -> None:
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    detail = summarize(first, second)
    both = int((np.isfinite(first) & np.isfinite(second)).sum())
    assert detail.reference_counts.sum() == detail.density.sum() == both
    assert np.all(np.diff(detail.edges) > 0)


def test_other_nan_come_first_among_the_worst() -> None:
    detail = summarize(np.asarray([1.0, np.nan, 3.0, np.nan]), np.asarray([2.0, np.nan, np.nan, 5.0]))
    assert [e.index for e in detail.worst] == [(2,), (3,), (0,)]
    assert detail.statistics[0].nan == 2
    assert math.isnan(detail.worst[0].difference)


def test_booleans_and_integers() -> None:
    detail = summarize(np.asarray([True, False]), np.asarray([True, True]))
    assert detail.dtypes == ("bool", "bool")
    assert [e.index for e in detail.worst] == [(1,)]
    with pytest.raises(TypeError, match="only numbers"):
        summarize(np.asarray(["a"], object), np.asarray(["a"], object))


def test_coarser_keeps_sums_and_maxima() -> None:
    plane = np.arange(100 * 130).reshape(100, 130)
    assert coarser(plane, 64, np.add).sum() == plane.sum()
    assert coarser(plane, 64, np.maximum).max() == plane.max()
    assert coarser(plane, 64, np.add).shape == (64, 64)


def test_channels_are_those_that_differ_most() -> None:
    reference = np.zeros((2, 100, 3, 3))
    target = reference + np.arange(100).reshape(1, 100, 1, 1)
    found = summarize(reference, target).channels
    assert found is not None
    assert (found.axis, found.total) == (1, 100)
    assert found.indices.tolist() == list(range(100 - CHANNELS, 100))
    np.testing.assert_array_equal(found.quartiles, np.repeat(found.indices[:, None], 5, axis=1))
    assert summarize(reference[0, :, 0, 0], target[0, :, 0, 0]).channels is None


def test_the_extremes_of_a_channel_are_exact_however_large_it_is() -> None:
    reference = np.zeros((1, 2, 300, 301))
    target = reference.copy()
    target[0, 1, 7, 1] = 5.0
    found = summarize(reference, target).channels
    assert found is not None
    assert found.quartiles[1].tolist() == [0, 0, 0, 0, 5]


def test_the_plane_shows_where_they_differ() -> None:
    reference = np.zeros((2, 3, 128, 20))
    target = reference.copy()
    target[1, 2, 127, 3] = -4.0
    found = summarize(reference, target).plane
    assert found is not None
    assert found.cells.shape == (PIXELS, 20)
    assert found.cells[PIXELS - 1, 3] == 4.0
    assert np.count_nonzero(found.cells) == 1
    assert (found.axes, found.reduced) == ((2, 3), True)
