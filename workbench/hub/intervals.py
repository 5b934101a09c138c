"""Arithmetic with pairs of the lowest and the highest value; the highest may be infinite."""

from __future__ import annotations

import math
from collections.abc import Iterable


def product(bounds: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """What the product of values within the bounds lies within."""
    low, high = 1.0, 1.0
    for least_, most in bounds:
        ends = [_times(a, b) for a in (low, high) for b in (least_, most)]
        low, high = min(ends), max(ends)
    return low, high


def scaled(bounds: tuple[float, float], by: int) -> tuple[float, float]:
    """What so many times a value within the bounds lies within."""
    ends = [_times(bound, by) for bound in bounds]
    return min(ends), max(ends)


def _times(a: float, b: float) -> float:
    return 0.0 if not a or not b else a * b


def divided(above: float, below: float) -> float:
    """The quotient rounded down, of numbers of which either may be infinite."""
    if math.isinf(below):
        return 0.0 if above >= 0 else -1.0
    return above if math.isinf(above) else float(above // below)
