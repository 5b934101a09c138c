"""The elements of a tensor literal → ``MILSpec.TensorValue``, in the field that coremltools has for the dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench import limits
from workbench.formats.coreml import blob
from workbench.formats.coreml.compiled.tokens import Tokens

DTYPES = {
    "bool": 1, "string": 2, "fp16": 10, "fp32": 11, "fp64": 12, "bf16": 13, "int8": 21, "int16": 22, "int32": 23,
    "int64": 24, "int4": 25, "uint8": 31, "uint16": 32, "uint32": 33, "uint64": 34, "uint4": 35, "uint2": 36,
    "uint1": 37, "uint6": 38, "uint3": 39, "fp8e4m3fn": 40, "fp8e5m2": 41,
}  # fmt: skip
"""MIL text's word for a dtype → ``MILSpec.DataType``."""

_NAMES = {number: name for name, number in DTYPES.items()}
_FLOATS = {
    "fp16": "float16", "fp32": "float32", "fp64": "float64", "bf16": "bfloat16", "fp8e4m3fn": "float8e4m3fn",
    "fp8e5m2": "float8e5m2",
}  # fmt: skip
_FIELDS = {
    "fp32": "floats", "fp64": "doubles", "int16": "ints", "int32": "ints", "uint16": "ints", "int64": "longInts",
    "uint64": "longInts",
}  # fmt: skip
"""The repeated field of a dtype; those that are not here are bytes."""

_TRUTH = {"true": True, "false": False}


def fill(into: Any, tensor: Any, tokens: Tokens) -> None:
    """Take a literal of a tensor's type: an element for rank 0, else arrays nested as deep as the rank.

    Args:
        into: the ``TensorValue`` to fill.
        tensor: the ``TensorType``; a size that it does not know is as long as the literal makes it.
        tokens: the literal comes next.

    Raises:
        ModelError: the literal does not have the shape, or an element is not of the dtype.
        LimitError: the shape has more elements than ``tensor_elements`` of :mod:`workbench.limits`.
    """
    dims = [int(dim.constant.size) if dim.HasField("constant") else None for dim in tensor.dimensions]
    count = math.prod(dim or 0 for dim in dims)
    if count > limits.current.tensor_elements:
        limits.check("tensor_elements", count, f"{tokens.place()}, elements of a literal")
    places: list[int] = []
    _array(dims, 0, places, tokens)
    dtype = _NAMES[tensor.dataType]
    if dtype == "string":
        into.strings.SetInParent()
        into.strings.values.extend(tokens.string(place) for place in places)
    elif dtype == "bool":
        into.bools.SetInParent()
        into.bools.values.extend(_truth(place, tokens) for place in places)
    elif dtype in _FLOATS:
        _floats(into, dtype, places, tokens)
    else:
        _integers(into, dtype, places, tokens)


def _array(dims: Sequence[int | None], axis: int, places: list[int], tokens: Tokens) -> None:
    """Take the (nested) array; note where its elements stand."""
    if not dims:
        if tokens.next in ("", ")", "]", "}", ",", "["):
            tokens.expected("a value")
        places.append(tokens.at)
        tokens.at += 1
        return
    begin = tokens.at
    tokens.expect("[")
    count = _row(places, tokens) if axis == len(dims) - 1 else _rows(dims, axis, places, tokens)
    size = dims[axis]
    if size is not None and size != count:
        tokens.wrong(f"the array has {count} items; the type says {size}.", begin)


def _row(places: list[int], tokens: Tokens) -> int:
    """Take the items of an innermost array, all in one go."""
    try:
        end = tokens.items.index("]", tokens.at)
    except ValueError:
        tokens.expected("']'", len(tokens.items) - 1)
    begin = tokens.at
    tokens.at = end + 1
    if begin == end:
        return 0
    separators = tokens.items[begin + 1 : end : 2]
    if (end - begin) % 2 == 0 or separators.count(",") != len(separators):
        for index, token in enumerate(separators):
            if token != ",":
                tokens.expected("','", begin + 2 * index + 1)
        tokens.expected("a value", end)
    places.extend(range(begin, end, 2))
    return len(separators) + 1


def _rows(dims: Sequence[int | None], axis: int, places: list[int], tokens: Tokens) -> int:
    count = 0
    while not tokens.accept("]"):
        if count:
            tokens.expect(",")
        _array(dims, axis + 1, places, tokens)
        count += 1
    return count


def _truth(place: int, tokens: Tokens) -> bool:
    token = tokens.items[place]
    if token not in _TRUTH:
        tokens.expected("'true' or 'false'", place)
    return _TRUTH[token]


def _floats(into: Any, dtype: str, places: Sequence[int], tokens: Tokens) -> None:
    numbers = np.asarray([_float(place, tokens) for place in places], dtype=np.float64)
    with np.errstate(over="ignore"):
        made = numbers.astype(blob.numpy_dtype(_FLOATS[dtype]))
    _check_range(numbers, np.isfinite(made.astype(np.float64)) | ~np.isfinite(numbers), dtype, places, tokens)
    _store(into, dtype, made)


def _float(place: int, tokens: Tokens) -> float:
    token = tokens.items[place]
    try:
        return float.fromhex(token) if "x" in token or "X" in token else float(token)
    except (ValueError, OverflowError):
        tokens.expected("a number", place)


def _integers(into: Any, dtype: str, places: Sequence[int], tokens: Tokens) -> None:
    bits = int(dtype.lstrip("uint"))
    low, high = (0, (1 << bits) - 1) if dtype.startswith("u") else (-(1 << bits - 1), (1 << bits - 1) - 1)
    numbers = [_integer(place, tokens) for place in places]
    for number, place in zip(numbers, places, strict=True):
        if not low <= number <= high:
            tokens.wrong(f"{number} does not fit into {dtype}.", place)
    if bits < 8:
        into.bytes.values = _packed(numbers, bits)
    else:
        _store(into, dtype, np.asarray(numbers, dtype=dtype))


def _integer(place: int, tokens: Tokens) -> int:
    token = tokens.items[place]
    try:
        return int(token, 16) if "x" in token or "X" in token else int(token)
    except ValueError:
        tokens.expected("an integer", place)


def _check_range(numbers: Any, fits: Any, dtype: str, places: Sequence[int], tokens: Tokens) -> None:
    if not fits.all():
        index = int(np.argmin(fits))
        tokens.wrong(f"{numbers[index]:g} does not fit into {dtype}.", places[index])


def _packed(numbers: Sequence[int], bits: int) -> bytes:
    """Elements of less than a byte, from the lowest bit of the first byte on."""
    values = np.asarray(numbers, dtype=np.int64).reshape(-1, 1) >> np.arange(bits) & 1
    return np.packbits(values.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def _store(into: Any, dtype: str, made: np.ndarray[Any, Any]) -> None:
    if dtype not in _FIELDS:
        into.bytes.values = made.tobytes()
        return
    field = getattr(into, _FIELDS[dtype])
    field.SetInParent()
    field.values.extend((made.view(np.int64) if dtype == "uint64" else made).tolist())
