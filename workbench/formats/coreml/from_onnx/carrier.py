"""What a hub tensor is carried by in an ML program.

A program computes in float32, float16, int32 and bool. Integers of any other width are carried by int32: exact as long
as the values fit, which is checked for constants; operators whose result would wrap around at the narrower width see to
that themselves. float64 is carried by float32, which each layer that touches it declares as an approximation.

Tensors of more than five dimensions are held as one row of their elements, which is all that the operators that only
move elements need (:mod:`shape`); every other operator refuses them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.formats.coreml.toolkit import mil
from workbench.hub.sizes import OpenSize, Size, is_measured, least
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]

MAX_RANK = 5

_CARRIERS = {
    "float32": "fp32",
    "float64": "fp32",
    "float16": "fp16",
    "int64": "int32",
    "int32": "int32",
    "int16": "int32",
    "int8": "int32",
    "uint8": "int32",
    "uint16": "int32",
    "uint32": "int32",
    "uint64": "int32",
    "int4": "int32",
    "uint4": "int32",
    "int2": "int32",
    "uint2": "int32",
    "bool": "bool",
}

NARROW = {
    **{"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)},
    **{"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)},
}
"""Integers that arithmetic would wrap around at a width below 32 bits."""

_NUMPY = {"fp32": np.float32, "fp16": np.float16, "int32": np.int32, "bool": np.bool_}

_INT32 = np.iinfo(np.int32)


def carrier(dtype: str) -> str:
    """MIL's name of the carrier of a hub dtype (``fp32``, ``fp16``, ``int32``, ``bool``).

    Raises:
        Refused: ML programs have nothing that carries it.
    """
    if dtype not in _CARRIERS:
        raise Refused(f"Core ML has no tensors of {dtype}", "cast to float32 or int32 in the source model")
    return _CARRIERS[dtype]


def carrier_type(dtype: str) -> Any:
    """The same as MIL's type object."""
    return getattr(mil().types, carrier(dtype))


def numpy_carrier(dtype: str) -> type[np.generic]:
    """The same as numpy's type."""
    return _NUMPY[carrier(dtype)]


def carried(array: Array, what: str) -> Array:
    """The array in its carrier's dtype.

    Raises:
        Refused: an integer lies beyond int32.
    """
    kind = numpy_carrier(array.dtype.name)
    if array.dtype.name in NARROW:
        return np.asarray(array.astype(kind, copy=False), order="C")
    if kind is np.int32 and array.size and (array.min() < _INT32.min or array.max() > _INT32.max):
        raise Refused(
            f"{what} holds {int(array.max())}, beyond the 32 bits of Core ML's integers"
            if array.max() > _INT32.max
            else f"{what} holds {int(array.min())}, beyond the 32 bits of Core ML's integers"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite; float64 is declared approximate
        return np.asarray(array.astype(kind, copy=False), order="C")


def held_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a program holds a tensor: its own, or one row of its elements where the rank is too high."""
    return shape if len(shape) <= MAX_RANK else (math.prod(shape),)


def check_rank(name: str, shape: tuple[int, ...]) -> None:
    """Refuse ranks that no Core ML tensor has."""
    if len(shape) > MAX_RANK:
        raise Refused(
            f"{name!r} has rank {len(shape)}, Core ML's tensors have at most {MAX_RANK} dimensions",
            "merge dimensions in the source model",
        )


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuse shapes that no Core ML tensor has."""
    check_rank(name, shape)
    check_filled(name, shape)


def is_empty(shape: tuple[int, ...]) -> bool:
    """Whether a size of the shape is 0."""
    return any(not isinstance(size, Size) and size == 0 for size in shape)


def may_be_empty(shape: tuple[int, ...]) -> bool:
    """Whether a size of the shape is open and might be 0."""
    return any(isinstance(size, Size) and least(size) <= 0 for size in shape)


def check_filled(name: str, shape: tuple[int, ...]) -> None:
    """Refuse tensors without elements."""
    if is_empty(shape):
        raise Refused(f"{name!r} has the shape {list(shape)}: Core ML has no empty tensors")


def check_always_filled(name: str, shape: tuple[int, ...]) -> None:
    """Refuse tensors that have no elements at some of the open sizes.

    Where only a run tells whether there are any, what measures that has declared it.
    """
    for size in shape:
        if isinstance(size, Size) and least(size) <= 0 and not is_measured(size):
            raise OpenSize(size, f"{name!r} may be empty, for {size} may be 0, and Core ML has no empty tensors")
