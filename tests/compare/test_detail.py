"""The summary of two tensors: counts that add up, whatever stands in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.compare import summarize
from workbench.compare.detail import CELLS


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
