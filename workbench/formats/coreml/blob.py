"""``weight.bin``: the storage format of an ML program's weights, read by own code and memory-mapped.

A header of 64 bytes begins the file (uint32 number of records, uint32 version). A program refers to a tensor by where
its metadata record begins, 64 bytes on a boundary of 64: uint32 sentinel, uint32 dtype, uint64 size in bytes, uint64
offset of the data (on a boundary of 64), uint64 bits of padding at the end of data whose elements are less than a byte.
Such elements are packed from the lowest bit of the first byte on. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench import limits
from workbench.errors import ModelError

Array = np.ndarray[Any, Any]

_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_RECORD = struct.Struct("<IIQQQ")

DTYPES: dict[int, str] = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32", 16: "float8e4m3fn", 17: "float8e5m2",
}  # fmt: skip
"""The record's dtype number → our name of it."""

BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
"""Width of the dtypes whose elements are less than a byte; their arrays are uint8, for ``int4`` int8."""


@dataclass(frozen=True)
class Blob:
    """One tensor of the file: its dtype and its elements, one-dimensional, mapped (sub-byte ones: unpacked)."""

    dtype: str
    data: Array


class BlobFile:
    """One weight file, mapped for as long as the object or an array from it lives.

    Raises:
        ModelError: the file is not of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        self._bytes: Array = np.memmap(path, dtype=np.uint8, mode="r") if size else np.empty(0, dtype=np.uint8)
        if size < _ALIGNMENT or struct.unpack("<I", self._bytes[4:8].tobytes())[0] != _VERSION:
            raise ModelError(f"{path}: not a weight file of storage version {_VERSION}.")

    def read(self, offset: int) -> Blob:
        """The tensor whose metadata record stands at ``offset``.

        Raises:
            ModelError: there is no sound record there, or its data lies outside the file.
        """
        where = f"{self.path}: the weights at offset {offset}"
        length = self._bytes.size
        if offset % _ALIGNMENT or not 0 < offset <= length - _RECORD.size:
            raise ModelError(f"{where} are outside the file or not on a boundary of {_ALIGNMENT} bytes.")
        record = self._bytes[offset : offset + _RECORD.size].tobytes()
        sentinel, kind, size, start, padding = _RECORD.unpack(record)
        if sentinel != _SENTINEL:
            raise ModelError(f"{where} have no metadata record; the file is damaged or belongs to another model.")
        if kind not in DTYPES:
            raise ModelError(f"{where} are of dtype number {kind}, which is not known.")
        if start % _ALIGNMENT or start > length or size > length - start:
            raise ModelError(f"{where} claim {size} bytes from {start}; the file has {length}.")
        dtype = DTYPES[kind]
        data = self._bytes[start : start + size]
        if dtype not in BITS:
            return Blob(dtype, typed(data, dtype, where))
        if padding > min(7, 8 * size):
            raise ModelError(f"{where} claim {padding} bits of padding.")
        return Blob(dtype, unpack(data, dtype, (8 * size - padding) // BITS[dtype]))


def typed(data: Array, dtype: str, where: str) -> Array:
    """View bytes as elements of a dtype of at least one byte.

    Raises:
        ModelError: the number of bytes is no multiple of the element's size.
    """
    item = numpy_dtype(dtype)
    if data.size % item.itemsize:
        raise ModelError(f"{where}: {data.size} bytes are no whole number of {dtype} elements.")
    return data.view(item)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype that holds elements of the named dtype."""
    if name in BITS:
        return np.dtype(np.int8 if name == "int4" else np.uint8)
    if name in ("bfloat16", "float8e4m3fn", "float8e5m2"):
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name.replace("float8", "float8_")))
        return found
    return np.dtype(name)


def unpack(data: Array, dtype: str, count: int) -> Array:
    """Unpack ``count`` elements of a sub-byte dtype from bytes, lowest bit first.

    Raises:
        ModelError: there are fewer bytes than elements.
    """
    bits = BITS[dtype]
    limits.check("tensor_elements", count, f"a weight of dtype {dtype}")
    if count * bits > 8 * data.size:
        raise ModelError(f"{data.size} bytes hold fewer than {count} elements of {dtype}.")
    flags = np.unpackbits(np.asarray(data), count=count * bits, bitorder="little").reshape(count, bits)
    values = flags @ (1 << np.arange(bits)).astype(np.uint8)
    if dtype == "int4":
        return np.where(values >= 8, values.astype(np.int8) - 16, values.astype(np.int8)).astype(np.int8)
    return values.astype(np.uint8)
