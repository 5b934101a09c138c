"""Integers as scalars: ranges, and what wraps around when it leaves them."""

from __future__ import annotations

from workbench.formats.nnef.from_onnx.builder import Builder
from workbench.formats.nnef.from_onnx.precision import FLOATS
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.lowering import Refused


def bits_of(dtype: str) -> int:
    """The size of an integer dtype (``uint4`` has 4)."""
    return int(dtype.rpartition("int")[2])


def range_of(dtype: str) -> tuple[int, int]:
    """The least and the greatest value of an integer dtype."""
    bits = bits_of(dtype)
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def narrows(source: str, target: str) -> bool:
    """Whether a cast to the integer dtype may meet values that it does not have."""
    if source in FLOATS:
        return target != "int64"
    wide, narrow = range_of(source), range_of(target)
    return wide[0] < narrow[0] or wide[1] > narrow[1]


def wrapped_around(b: Builder, x: Tensor, dtype: str) -> Tensor:
    """Whole scalars modulo 2^bits, in the range of the dtype; exact where ``x`` is.

    Raises:
        Refused: the graph's scalar does not hold every value of the dtype.
    """
    low, span = range_of(dtype)[0], 2 ** bits_of(dtype)
    if span > b.whole:
        raise Refused(f"{dtype} wraps around, and {b.scalar_dtype} does not hold all of its values")
    turns = b.op("floor", b.op("div", b.op("sub", x, b.number(float(low))) if low else x, b.number(float(span))))
    return b.op("sub", x, b.op("mul", turns, b.number(float(span))))


def product_of_words(b: Builder, x: Tensor, y: Tensor, dtype: str) -> Tensor:
    """The product of integers of sixteen bits, wrapped around: by the bytes of ``y``, so that nothing is rounded."""
    high = b.op("floor", b.op("div", y, b.number(256.0)))
    low = b.op("sub", y, b.op("mul", high, b.number(256.0)))
    upper = wrapped_around(b, b.op("mul", x, high), dtype)
    upper = wrapped_around(b, b.op("mul", upper, b.number(256.0)), dtype)
    lower = wrapped_around(b, b.op("mul", x, low), dtype)
    return wrapped_around(b, b.op("add", upper, lower), dtype)
