"""Sums over tensors, block by block, as exact as they need to be and as quick as they can be."""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BLOCK = 65_536
PIECE = 8_192
PROBE = 256
TINY, HUGE = 1e-15, 1e15  # squares of values in between, and sums of a block of them, are normal float32 numbers


class _Scratch(threading.local):
    """Blocks to calculate in, one set for each thread: memory allocated anew is in no cache of the processor."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[type[np.floating[Any]], int], Array] = {}
        self._holds: dict[type[np.floating[Any]], object] = {}
        """What :meth:`at_least` has calculated last."""

    def block(self, kind: type[np.floating[Any]], place: int, size: int) -> Array:
        """The block of that number, as far as it is needed."""
        found = self._blocks.get((kind, place))
        if found is None:
            found = self._blocks[kind, place] = np.empty(BLOCK, kind)
        return found if size == BLOCK else found[:size]

    def at_least(self, x: Array, floor: Any, kind: type[np.floating[Any]], known: tuple[object, int] | None) -> Array:
        """The magnitudes of a block, the floor in the place of those below it; valid until the next call.

        Args:
            known: what identifies the block: asked for again, it is not calculated again. ``None``: nothing does.
        """
        found = self.block(kind, 2, x.size)
        asked = (known, float(floor))
        if known is None or self._holds.get(kind) != asked:
            floors = self.block(kind, 4, x.size)
            floors.fill(floor)  # numpy has no quick maximum of an array and a number
            np.maximum(np.abs(x, out=found), floors, out=found)
            self._holds[kind] = asked
        return found


scratch = _Scratch()


class Base:
    """What is known of the reference's tensor in one sample, whatever it is compared with.

    Attributes:
        token: identifies it, without keeping it alive.
        flat: its elements in a row.
        peak: largest finite magnitude.
        wide: whether float32 is too narrow for sums of squares.
    """

    def __init__(self, array: Array) -> None:
        self.token = object()
        self.flat = array.reshape(-1)
        self.peak = peak_of(self.flat) if self.flat.size else 0.0
        self.wide = not (array.dtype.kind == "f" and array.itemsize <= 4 and TINY < self.peak < HUGE)

    @functools.cached_property
    def squares(self) -> list[float]:
        """Σx² of each block; not finite where the block is not."""
        precision = np.float64 if self.wide else np.float32
        blocks = (self.flat[start : start + BLOCK] for start in range(0, self.flat.size, BLOCK))
        with np.errstate(all="ignore"):
            return [dot(block, block) for block in (block.astype(precision, copy=False) for block in blocks)]

    @functools.cached_property
    def total(self) -> float:
        """Σx² of all."""
        return sum(self.squares)

    @property
    def special(self) -> bool:
        """Whether NaN or infinities are in it."""
        return not math.isfinite(self.total)


def dot(x: Array, y: Array) -> float:
    """Dot product of two vectors, in pieces that BLAS leaves to one thread.

    Handing a block to other threads costs more than the block where they are busy, and would make the sum depend on
    how many there are.
    """
    whole = x.size // PIECE * PIECE
    pieces = np.vecdot(x[:whole].reshape(-1, PIECE), y[:whole].reshape(-1, PIECE)).tolist() if whole else ()
    rest = float(np.dot(x[whole:], y[whole:])) if whole < x.size else 0.0
    return sum(pieces, 0.0) + rest


def peak_of(x: Array) -> float:
    """Largest finite magnitude."""
    high, low = float(x.max()), float(x.min())
    if math.isfinite(high) and math.isfinite(low):
        return max(high, -low)
    finite = x[np.isfinite(x)]
    return max(float(finite.max()), -float(finite.min())) if finite.size else 0.0


def same_bits(x: Any, y: Any) -> bool:
    """Whether two values are arrays of one dtype and shape with the same bits."""
    if x is y:
        return isinstance(x, np.ndarray)
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)) or x.dtype != y.dtype or x.shape != y.shape:
        return False
    if x.dtype.kind not in "biuf" or not (x.flags.c_contiguous and y.flags.c_contiguous):
        return False
    for width in (np.uint64, np.uint32, np.uint16, np.uint8):
        if x.nbytes % width().itemsize == 0:
            first, second = x.reshape(-1).view(width), y.reshape(-1).view(width)
            return (
                np.array_equal(first[:PROBE], second[:PROBE])
                and all(  # most that differ do so at once
                    np.array_equal(first[start : start + BLOCK], second[start : start + BLOCK])
                    for start in range(0, first.size, BLOCK)
                )
            )
    return False


def squared_distance(x: Array, y: Array) -> float:
    """Σ(x - y)² of two float arrays of one shape; positions where either is NaN or infinite count nothing."""
    total = 0.0
    x, y = x.reshape(-1), y.reshape(-1)
    with np.errstate(all="ignore"):
        for start in range(0, x.size, BLOCK):
            first, second = x[start : start + BLOCK], y[start : start + BLOCK]
            room = scratch.block(np.float32, 0, first.size)
            difference = np.subtract(first, second, out=room, dtype=np.float32, casting="same_kind")
            found = dot(difference, difference)
            if not TINY < found < math.inf:
                wide = np.nan_to_num(difference.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
                found = dot(wide, wide)
            total += found
    return total
