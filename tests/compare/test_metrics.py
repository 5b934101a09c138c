"""The figures, and the traps that other tools fall into; each trap is a test."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from workbench.compare import Metrics, measure
from workbench.compare.blocks import take
from workbench.compare.metrics import Accumulator
from workbench.compare.sums import BLOCK, Base, same_bits, squared_distance

RANDOM = np.random.default_rng(3)


def naive(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, float]:
    a, b = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    d = a - b
    return {
        "max_abs": float(np.abs(d).max()),
        "relative_l2": float(np.linalg.norm(d) / np.linalg.norm(a)),
        "sqnr_db": float(20 * np.log10(np.linalg.norm(a) / np.linalg.norm(d))),
        "cosine": float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
        "gain": float(a @ b / (a @ a)),
        "rms": float(np.sqrt(np.mean(a * a))),
        "peak": float(np.abs(a).max()),
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 5, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
def test_figures_are_those_of_the_definitions(dtype: type, size: int) -> None:
    x = RANDOM.standard_normal(size).astype(dtype)
    y = (x + RANDOM.standard_normal(size) * 0.01).astype(dtype)
    found = measure(x, y)
    for name, value in naive(x, y).items():
        assert getattr(found, name) == pytest.approx(value, rel=2e-3 if dtype is np.float16 else 1e-4), name
    assert abs(float(x[found.max_abs_index]) - float(y[found.max_abs_index])) == pytest.approx(found.max_abs, rel=1e-3)
    assert found.size == size


def test_sums_run_over_all_samples_and_the_largest_difference_is_found_in_its_sample() -> None:
    samples = [RANDOM.standard_normal((3, 50)).astype(np.float32) for _ in range(4)]
    others = [sample + np.float32(0.001) for sample in samples]
    others[2] = others[2].copy()
    others[2][1, 7] += 1
    accumulator = Accumulator()
    for number, (x, y) in enumerate(zip(samples, others, strict=True)):
        accumulator.update(x, y, number)
    found = accumulator.finish()
    assert found is not None
    assert (found.max_abs_sample, found.max_abs_index) == (2, (1, 7))
    for name, value in naive(np.stack(samples), np.stack(others)).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-4), name


def test_nothing_taken_gives_nothing() -> None:
    assert Accumulator().finish() is None


def test_sqnr_divides_by_the_size_not_by_the_length() -> None:
    """coremltools' PSNR divides by ``len(x)``; a batch dimension of one then changes the result."""
    x = RANDOM.standard_normal((64, 3)).astype(np.float32)
    y = x + np.float32(0.01)
    assert measure(x, y).sqnr_db == measure(x[None], y[None]).sqnr_db
    assert measure(x[None], y[None]).rms == pytest.approx(1, abs=0.3)


def test_relative_error_does_not_explode_near_zero() -> None:
    """A value of 5.6e-7 among values of 1 that is off by 3.6e-7 is three roundings, not an error of 64 %."""
    x = np.ones(1000, np.float32)
    x[5] = 5.6e-7
    y = x.copy()
    y[5] += np.float32(3.6e-7)
    found = measure(x, y)
    assert 0 < found.max_relative < 2e-3
    z = x.copy()
    z[7] *= np.float32(1.5)
    assert measure(x, z).max_relative == pytest.approx(0.5)


def test_cosine_does_not_see_a_factor_but_the_gain_does() -> None:
    x = RANDOM.standard_normal(1000).astype(np.float32)
    found = measure(x, 2 * x)
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert found.gain == pytest.approx(2, rel=1e-6)
    assert found.relative_l2 == pytest.approx(1, rel=1e-6)


def test_equal_nan_and_infinities_are_equal_and_do_not_spoil_the_rest() -> None:
    x = RANDOM.standard_normal(BLOCK + 10).astype(np.float32)
    x[[0, 5, BLOCK + 2]] = np.nan, np.inf, -np.inf
    y = x.copy()
    assert measure(x, y).pattern == 0
    y[9] += 0.5
    found = measure(x, y)
    assert found.pattern == 0
    assert (found.nan, found.inf) == ((1, 1), (2, 2))
    assert found.max_abs == pytest.approx(0.5)
    assert found.max_abs_index == (9,)
    assert math.isfinite(found.sqnr_db)


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, np.nan), (np.inf, 3e38)]
)
def test_another_pattern_counts(a: float, b: float) -> None:
    found = measure(np.asarray([1, a, 2], np.float32), np.asarray([1, b, 2], np.float32))
    assert found.pattern == 1
    assert found.max_abs == 0


def test_minus_zero_equals_zero() -> None:
    found = measure(np.asarray([0.0, -0.0, 1], np.float32), np.asarray([-0.0, 0.0, 1], np.float32))
    assert found.max_abs == 0
    assert found.cosine == 1


def test_tensors_without_dimensions_and_without_elements() -> None:
    found = measure(np.asarray(2.0, np.float32), np.asarray(2.5, np.float32))
    assert (found.max_abs, found.max_abs_index, found.size) == (0.5, (), 1)
    empty = measure(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32))
    assert (empty.size, empty.relative_l2, empty.pattern) == (0, 0, 0)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-18, 1e18, 3e38])
def test_sums_neither_overflow_nor_vanish(scale: float) -> None:
    x = (RANDOM.uniform(0.5, 0.99, 5000) * scale).astype(np.float32)
    y = (x.astype(np.float64) * 1.25).clip(-3.4e38, 3.4e38).astype(np.float32)
    expected = naive(x, y)
    found = measure(x, y)
    assert found.relative_l2 == pytest.approx(expected["relative_l2"], rel=1e-3)
    assert found.max_abs == pytest.approx(expected["max_abs"], rel=1e-3)


def test_tiny_differences_of_ordinary_values_do_not_vanish() -> None:
    x = np.full(100, 1e-8, np.float32)
    y = np.nextafter(x, np.float32(1))
    assert measure(x, y).relative_l2 == pytest.approx(float(y[0] - x[0]) / 1e-8, rel=1e-2)


def test_zero_reference() -> None:
    x = np.zeros(4, np.float32)
    found = measure(x, x + np.float32(1e-3))
    assert found.relative_l2 == math.inf
    assert found.sqnr_db == -math.inf
    same = measure(x, x)
    assert (same.relative_l2, same.sqnr_db, same.gain, same.cosine) == (0, math.inf, 1, 1)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.int64])
def test_integers_and_booleans_count_mismatches(dtype: type) -> None:
    x = np.asarray([0, 1, 1, 0, 1]).astype(dtype)
    y = np.asarray([0, 1, 0, 0, 0]).astype(dtype)
    found = measure(x, y)
    assert found.mismatches == 2
    assert found.max_abs == 1
    assert measure(x, x).mismatches == 0


def test_integers_beyond_float_precision() -> None:
    x = np.asarray([2**60, 2**60], np.int64)
    assert measure(x, x + np.asarray([0, 1])).mismatches == 1


def test_integers_held_as_floats() -> None:
    assert measure(np.asarray([1, 2, 3], np.int64), np.asarray([1, 2, 4], np.float32)).mismatches == 1


def test_strings() -> None:
    assert measure(np.asarray(["a", "b"], object), np.asarray(["a", "c"], object)).mismatches == 1


def test_top_k_agreement() -> None:
    x = np.tile(np.arange(10, dtype=np.float32), (4, 1))
    y = x.copy()
    y[0, [9, 8]] = y[0, [8, 9]]  # another winner, the same five
    y[1, 0] = 6.5  # the same winner, another fifth
    accumulator = Accumulator(classes=True)
    accumulator.update(x, y)
    found = accumulator.finish()
    assert found is not None
    assert found.top1 == pytest.approx(3 / 4)
    assert found.top5 == pytest.approx(19 / 20)
    assert measure(x, y).top1 is None


def test_transposed_views_are_measured_in_the_order_of_their_axes() -> None:
    x = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
    stored = np.ascontiguousarray(x.transpose(0, 2, 1))
    assert measure(x, stored.transpose(0, 2, 1)).max_abs == 0


def test_metrics_compare_by_value() -> None:
    x = RANDOM.standard_normal(9).astype(np.float32)
    assert measure(x, x + 1) == measure(x, x + 1)
    assert isinstance(measure(x, x), Metrics)


@pytest.mark.parametrize(
    ("dtype", "steps"), [(np.float16, 3), (np.float32, 1), (np.float32, 250), (np.float64, 7)], ids=str
)
def test_units_in_the_last_place_are_those_of_the_tensors_own_dtype(dtype: type, steps: int) -> None:
    x = RANDOM.uniform(1, 1.9, 500).astype(dtype)
    y = x.copy()
    y[77] += steps * np.spacing(y[77])
    assert measure(x, y).max_ulp == pytest.approx(steps)
    assert measure(x, x).max_ulp == 0


def test_units_in_the_last_place_are_those_of_the_coarser_dtype() -> None:
    x = RANDOM.uniform(1, 1.9, 500).astype(np.float32)
    found = measure(x, x.astype(np.float16))
    assert 0 < found.max_ulp <= 0.51
    assert measure(np.asarray([1, 2, 3]), np.asarray([1, 2, 4])).max_ulp == 0


def test_units_near_zero_are_those_of_the_floor_that_relative_errors_have() -> None:
    """A value of 1e-30 among values of one, off by 1e-9: 6e29 units of its own, and less than one of the floor's."""
    x = np.ones(1000, np.float32)
    x[5] = 1e-30
    y = x.copy()
    y[5] += np.float32(1e-11)
    assert measure(x, y).max_ulp < 1


def test_the_margin_says_whether_a_class_was_decided_by_less_than_the_error() -> None:
    x = np.tile(np.arange(10, dtype=np.float32), (3, 1))
    x[1, 8] = 8.75
    found = measure(x, x + np.float32(0.01), classes=True)
    assert found.margin == pytest.approx(0.25)
    assert found.max_abs < found.margin / 2
    assert measure(x, x).margin is None  # nobody said that it is a classifier's


def test_what_is_known_of_the_reference_changes_no_figure() -> None:
    """The engine computes the reference's sums once for both runs, and leaves out what is equal bit by bit."""
    for scale in (1.0, 1e20, 1e-20):
        x = (RANDOM.standard_normal(BLOCK + 9) * scale).astype(np.float32)
        for y in (x, (x * np.float32(1.001)).astype(np.float32), -x, np.zeros_like(x)):
            helped = Accumulator()
            rest = helped.begin(x, y, 0, Base(x), same_bits(x, y))
            assert (rest is None) == (x is y)
            take([rest] if rest else [])
            assert helped.finish() == measure(x, y)
    x[3] = np.nan
    helped = Accumulator()
    take([helped.begin(x, x.copy(), 0, Base(x), True)])
    assert helped.finish() == measure(x, x.copy())
    assert helped.finish().nan == (1, 1)


def test_two_runs_side_by_side_are_measured_as_each_by_itself() -> None:
    """Whatever of the reference's block one run has left for the next, also where the dtypes and the floors differ."""
    x = RANDOM.standard_normal(2 * BLOCK + 9).astype(np.float32)
    runs = [(x + RANDOM.standard_normal(x.size) * 1e-3).astype(dtype) for dtype in (np.float16, np.float32)]
    for first, second in itertools.product(runs, runs):
        found = [Accumulator(), Accumulator()]
        base = Base(x)
        between = take([found[0].begin(x, first, 0, base), found[1].begin(x, second, 0, base)])
        assert [item.finish() for item in found] == [measure(x, first), measure(x, second)]
        expected = np.square(first.astype(np.float64) - second.astype(np.float64)).sum()
        assert between == pytest.approx(expected, rel=1e-4)
    one, other = Base(x), Base(-2 * x)
    for base, array in ((one, x), (other, -2 * x), (one, x)):  # what is kept of a block is not taken for another's
        found = [Accumulator()]
        take([found[0].begin(array, runs[1], 0, base)])
        assert found[0].finish() == measure(array, runs[1])


def test_a_sum_of_squares_that_cancels_is_added_up_itself() -> None:
    """Σy² follows from Σx² and the difference, unless y is so much smaller that no digit of it would be left."""
    x = RANDOM.standard_normal(5000).astype(np.float32)
    y = x * np.float32(1e-5)
    assert measure(x, y).cosine == pytest.approx(1, abs=1e-6)
    z = (RANDOM.standard_normal(5000) * 1e-5).astype(np.float32)
    assert abs(measure(x, z).cosine) == pytest.approx(abs(naive(x, z)["cosine"]), abs=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "same"),
    [
        (np.ones(3, np.float32), np.ones(3, np.float32), True),
        (np.ones(3, np.float16), np.ones(3, np.float16), True),
        (np.zeros(3, np.float32), -np.zeros(3, np.float32), False),
        (np.full(4, np.nan), np.full(4, np.nan), True),
        (np.ones(3, np.float32), np.ones(3, np.int32), False),
        (np.ones((2, 3)), np.ones((3, 2)), False),
        (np.ones((), np.float32), np.ones((), np.float32), True),
        (np.asarray(["a"], object), np.asarray(["a"], object), False),
        ([1], [1], False),
    ],
)
def test_the_same_bits(x: Any, y: Any, same: bool) -> None:
    """What may be taken for the same is; what is not known to be is not."""
    assert same_bits(x, y) is same


def test_squared_distances_leave_out_what_is_not_finite() -> None:
    x = np.asarray([1, 2, np.nan, np.inf], np.float32)
    assert squared_distance(x, np.asarray([1, 4, 1, 1], np.float32)) == 4
    tiny = np.full(10, 1e-25, np.float32)
    assert squared_distance(tiny, 2 * tiny) == pytest.approx(1e-49, rel=1e-3)
