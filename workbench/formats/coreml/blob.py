"""``weight.bin``: the storage format of an ML program's weights, read by own code and memory-mapped.

A header of 64 bytes begins the file (uint32 number of records, uint32 version). A program refers to a tensor by where
its metadata record begins, 64 bytes on a boundary of 64: uint32 sentinel, uint32 dtype, uint64 size in bytes, uint64
offset of the data (on a boundary of 64), uint64 bits of padding at the end of data whose elements are less than a byte.
Such elements are packed from the lowest bit of the first byte on. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from workbench import limits
from workbench.errors import ModelError

Array = np.ndarray[Any, Any]

_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_PIECE = 1 << 20
"""Bytes written at once: for more, the kernel looks for large pages of its cache, several times as long."""
_TILE = 32
_RECORD = struct.Struct("<IIQQQ")

DTYPES: dict[int, str] = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32", 16: "float8e4m3fn", 17: "float8e5m2",
}  # fmt: skip
"""The record's dtype number → our name of it."""

_NUMBERS = {name: number for number, name in DTYPES.items()}

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

    def stored(self, offset: int) -> tuple[int, Array, int]:
        """The tensor's dtype number, its bytes as they are stored, and the bits of padding behind them.

        Raises:
            ModelError: as :meth:`read`.
        """
        self.read(offset)
        record = self._bytes[offset : offset + _RECORD.size].tobytes()
        _, kind, size, start, padding = _RECORD.unpack(record)
        return kind, self._bytes[start : start + size], padding


def write_blobs(path: Path, blobs: Sequence[tuple[int, Array, int]]) -> list[int]:
    """Write a weight file of tensors as :meth:`BlobFile.stored` gives them; returns where their records stand."""
    offsets = []
    with path.open("wb") as handle:
        handle.write(struct.pack("<II", len(blobs), _VERSION).ljust(_ALIGNMENT, b"\0"))
        for kind, data, padding in blobs:
            offset = handle.tell()
            offsets.append(offset)
            record = _RECORD.pack(_SENTINEL, kind, data.size, offset + _ALIGNMENT, padding)
            handle.write(record.ljust(_ALIGNMENT, b"\0"))
            handle.write(np.ascontiguousarray(data).data)
            handle.write(b"\0" * (-data.size % _ALIGNMENT))
    return offsets


class BlobWriter:
    """Writes a weight file, tensor by tensor, without a copy of any of them in memory; use it in a ``with``.

    Args:
        path: of the file; it is made when the first tensor is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: BinaryIO | None = None
        self._count = 0

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.seek(0)
            self._handle.write(struct.pack("<II", self._count, _VERSION))
            self._handle.close()

    def write(self, array: Array, dtype: str) -> int:
        """Append a tensor of one of :data:`DTYPES`; returns where its metadata record stands."""
        if self._handle is None:
            self._handle = self.path.open("wb")
            self._handle.write(b"\0" * _ALIGNMENT)
        data = pack(array, dtype) if dtype in BITS else array
        spare = 8 * data.size - BITS[dtype] * array.size if dtype in BITS else 0
        offset = self._aligned()
        record = _RECORD.pack(_SENTINEL, _NUMBERS[dtype], data.nbytes, offset + _ALIGNMENT, spare)
        self._handle.write(record.ljust(_ALIGNMENT, b"\0"))
        for piece in _pieces(data):
            self._handle.write(piece.data)
        self._count += 1
        return offset

    def _aligned(self) -> int:
        """Fill up to the next boundary."""
        assert self._handle is not None
        self._handle.write(b"\0" * (-self._handle.tell() % _ALIGNMENT))
        return self._handle.tell()


def _pieces(array: Array) -> Iterator[Array]:
    """The bytes in the order of the elements, in pieces; of an array that lies otherwise in memory, some rows each."""
    if array.flags.c_contiguous:
        data = array.reshape(-1).view(np.uint8)
        for begin in range(0, data.size, _PIECE):
            yield data[begin : begin + _PIECE]
        return
    rows = max(1, _PIECE * array.shape[0] // array.nbytes)
    for begin in range(0, array.shape[0], rows):
        part = array[begin : begin + rows]
        piece = np.empty(part.shape, part.dtype)
        for place in range(0, part.shape[-1], _TILE):  # a turned matrix a few columns at a time: they lie together
            piece[..., place : place + _TILE] = part[..., place : place + _TILE]
        yield piece.reshape(-1).view(np.uint8)


def pack(array: Array, dtype: str) -> Array:
    """The inverse of :func:`unpack`: elements of a sub-byte dtype as bytes."""
    bits = BITS[dtype]
    values = np.asarray(array).reshape(-1).view(np.uint8) & np.uint8(2**bits - 1)
    if bits == 4:
        even = np.concatenate([values, np.zeros(values.size % 2, np.uint8)])
        packed: Array = even[::2] | (even[1::2] << 4)
        return packed
    flags = (values[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(flags.reshape(-1), bitorder="little")


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
