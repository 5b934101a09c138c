"""Conversions to float16 and back give numpy's own results, whichever of the two ways they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workbench.hub import half
from workbench.hub.half import LARGEST, as_half_bounds, from_half, to_half

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def floats() -> np.ndarray[Any, Any]:
    """What rounding may get wrong: every float16, halfway to its neighbours, and a little to either side of that."""
    finite = EVERY[np.isfinite(EVERY)].astype(np.float32)
    with np.errstate(over="ignore"):
        middle = ((finite.astype(np.float64) + np.nextafter(finite.astype(np.float16), np.float16(np.inf))) / 2).astype(
            np.float32
        )
    middle = middle[np.isfinite(middle)]
    special = np.array([65519.99, 65520.0, 70000.0, 999_999.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 0.0, -0.0])
    sides = (np.nextafter(middle, np.float32(side)) for side in (np.inf, -np.inf))
    return np.concatenate([finite, middle, *sides, special.astype(np.float32)])


def same_numbers(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found)[~np.isnan(found)], np.signbit(expected)[~np.isnan(found)])


@pytest.mark.parametrize("few", [True, False])
def test_rounding_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch, few: bool) -> None:
    monkeypatch.setattr(half, "_MANY", 1 << 30 if few else 1)
    given = floats()
    with np.errstate(over="ignore"):
        expected = given.astype(np.float16)
    same_numbers(to_half(given), expected)
    same_numbers(to_half(given.reshape(1, -1, 1)), expected.reshape(1, -1, 1))
    same_numbers(from_half(EVERY), EVERY.astype(np.float32))
    same_numbers(from_half(EVERY.reshape(256, 256).T), EVERY.reshape(256, 256).T.astype(np.float32))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("many", [1, 1 << 15])
def test_bounds_become_the_largest_number_and_overflow_stays(sign: int, many: int) -> None:
    given = np.full(many, 2.0, np.float32)
    given[0] = sign * 1e9
    assert to_half(given)[0] == sign * LARGEST
    given[0] = sign * 70000.0
    assert np.isinf(to_half(given)[0])


@pytest.mark.parametrize("value", [np.float16(np.inf), np.float16(-np.inf), np.float16(np.nan)])
def test_what_is_not_finite_is_seen_among_the_largest_numbers(value: np.float16) -> None:
    numbers = np.array([LARGEST, -LARGEST, 0.0, -0.0], np.float16)
    assert not half._has_infinity(numbers)
    assert half._has_infinity(np.append(numbers, value))


def test_a_known_peak_decides_whether_there_are_bounds() -> None:
    reference = np.array([1.0, -3e38], np.float32)
    held = np.array([1.0, -LARGEST], np.float16)
    for peak in (None, 3e38):
        assert as_half_bounds(reference, held, peak).tolist() == [1.0, -LARGEST]
    low = np.array([1.0, -2.0], np.float32)
    assert as_half_bounds(low, held, 2.0) is low
