"""Between the layouts of two models: a matched pair side by side, and the reference's tensor in the target's place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.compare.match import Pair
from workbench.document import Dim
from workbench.hub.half import to_half

Array = np.ndarray[Any, Any]


class Misfit(Exception):
    """The two tensors cannot be put side by side; the message says why."""


def side_by_side(pair: Pair, reference: Any, target: Any) -> tuple[Array, Array]:
    """Both tensors in the shape and order that they are compared in (the reference's, unless it was the converted one).

    Raises:
        Misfit: other numbers of elements or other sizes, another kind of dtype, or values that are no tensors.
    """
    if not isinstance(reference, np.ndarray) or not isinstance(target, np.ndarray):
        raise Misfit("not a tensor (a sequence or an optional value)")
    x, y = _permuted(reference, pair.reference_perm), _permuted(target, pair.target_perm)
    wanted, given = list(x.shape), list(y.shape)
    if wanted != given:
        loose = [size for size in wanted if size != 1] == [size for size in given if size != 1]
        if x.size != y.size or pair.same_shape or (pair.output and not loose):
            raise Misfit(f"shape {given} instead of {wanted}")
    kinds = _kind(x.dtype), _kind(y.dtype)
    if not _holds(kinds[1], kinds[0]):
        raise Misfit(f"dtype {y.dtype.name} instead of {x.dtype.name}")
    if "complex" in kinds:
        raise Misfit("complex numbers are not compared")
    return x, y.reshape(x.shape)


def in_place_of(pair: Pair, reference: Any, dtype: np.dtype[Any] | None, dims: Sequence[Dim] | None) -> Array | None:
    """The reference's tensor as the target holds it; ``None`` where that cannot be said.

    Args:
        dtype: of the target's tensor; ``None`` if unknown.
        dims: its shape as far as the hub knows it.
    """
    if not isinstance(reference, np.ndarray) or dtype is None:
        return None
    if (
        not _holds(_kind(dtype), _kind(reference.dtype))
        or len(pair.reference_perm or reference.shape) != reference.ndim
    ):
        return None
    x = _permuted(reference, pair.reference_perm)
    if pair.target_perm is None:
        shape = _sizes(dims, x.shape)
        found = None if shape is None else x.reshape(shape)
    else:
        permuted = (
            None if dims is None or len(dims) != len(pair.target_perm) else [dims[axis] for axis in pair.target_perm]
        )
        shape = _sizes(permuted, x.shape)
        if shape is None or len(shape) != len(pair.target_perm):
            return None
        found = x.reshape(shape).transpose(np.argsort(pair.target_perm))
    if found is None:
        return None
    if dtype == np.float16 and found.dtype.kind == "f":  # beyond it: the target's tensor would be infinite as well
        found = to_half(found)
    placed: Array = np.asarray(found, dtype=dtype, order="C")
    return placed


def _holds(kind: str, given: str) -> bool:
    """Whether the one kind of dtype can stand for the other.

    Formats without integers hold them, and booleans, in floats; nothing may turn a float into an integer.
    """
    return kind == given or (kind == "float" and given in ("integer", "bool")) or (kind, given) == ("integer", "bool")


def _sizes(dims: Sequence[Dim] | None, given: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sizes that the dimensions have if they hold a tensor of the given shape."""
    if dims is None:
        return given
    if len(dims) == len(given) and all(d == g or not isinstance(d, int) for d, g in zip(dims, given, strict=True)):
        return given
    fixed = [dim for dim in dims if isinstance(dim, int)]
    size, known = math.prod(given), math.prod(fixed)
    if len(fixed) == len(dims):
        return tuple(fixed) if size == known else None
    if len(fixed) + 1 != len(dims) or not known or size % known:
        return None
    return tuple(dim if isinstance(dim, int) else size // known for dim in dims)


def _permuted(array: Array, perm: tuple[int, ...] | None) -> Array:
    if perm is None:
        return array
    if len(perm) != array.ndim:
        raise Misfit(f"rank {array.ndim}, the record of the conversion speaks of rank {len(perm)}")
    permuted: Array = array.transpose(perm)
    return permuted


def _kind(dtype: np.dtype[Any]) -> str:
    kinds = {"f": "float", "i": "integer", "u": "integer", "b": "bool", "c": "complex"}
    return kinds.get(dtype.kind, "string")
