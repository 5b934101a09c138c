"""Float32 values in float16, and the constants that stand for "nothing may come of this" among them.

An attention mask adds a number so low that softmax makes zero of it: float32's lowest, −1e9, −1e6. In float16 they are
all infinite, and a row that is masked throughout is NaN where float32 gives equal shares. So constants far beyond
float16's range become its largest number, as their authors mean them; whatever is computed overflows as it does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LARGEST = 65504.0
BEYOND = 1e6
"""From here on a finite constant is a bound, not a quantity."""
SURELY = 1e9
"""From here on a number that was calculated is one too: a mask with the scores added to it."""
_NEAR_LARGEST = 65440.0  # what is left of ±65504 after a score below 32 was added
_MAGNITUDE, _INFINITY = np.uint16(0x7FFF), np.uint16(0x7C00)  # bits of a float16: magnitudes are ordered as integers


def to_half(array: Array) -> Array:
    """The array in float16: rounded to nearest even, infinite beyond ±65504, ±65504 from ±1e6 on; infinities stay."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(array, np.float16)
    if not (_magnitude(rounded) == _INFINITY).any():
        return rounded
    bounds = np.isfinite(array) & (np.abs(array) >= BEYOND)
    return np.where(bounds, np.copysign(np.float16(LARGEST), rounded), rounded)


def as_half_bounds(reference: Array, half: Array) -> Array:
    """The reference (any float) with float16's bounds in the places where both are bounds of one sign."""
    if half.dtype != np.float16 or reference.dtype.kind != "f" or not half.size:
        return reference
    bits = _magnitude(half)
    bounds = (bits >= _magnitude(np.asarray(_NEAR_LARGEST, np.float16))) & (bits < _INFINITY)
    if not bounds.any():
        return reference
    bounds &= np.isfinite(reference) & (np.abs(reference) >= SURELY) & (np.signbit(reference) == np.signbit(half))
    return np.where(bounds, half.astype(reference.dtype), reference)


def _magnitude(half: Array) -> Array:
    """The bits of float16 numbers without their signs: integers, which numpy compares many times as fast."""
    bits: Array = half.view(np.uint16) & _MAGNITUDE
    return bits
