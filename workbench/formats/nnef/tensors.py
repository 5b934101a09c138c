"""NNEF's tensor files, ``<label>.dat`` (NNEF 1.0.5, section 5, "Storing Data in Tensor Files").

A header of 128 bytes, little-endian: the bytes 4E EF, version major and minor, data length in bytes, rank, eight
extents, bits per item, item type, nineteen reserved words. The items follow in row-major order; logical items are
packed eight to a byte, highest bit first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench import limits
from workbench.errors import ModelError, SaveError
from workbench.hub.on_disk import write_elements

HEADER_SIZE = 128
MAX_RANK = 8
_MAGIC = b"\x4e\xef"
_LAYOUT = struct.Struct("<2s2BII8III76s")

FLOAT, UINT, QUINT, QINT, INT, BOOL = range(6)
_DTYPES: dict[tuple[int, int], str] = {
    (FLOAT, 16): "<f2",
    (FLOAT, 32): "<f4",
    (FLOAT, 64): "<f8",
    **{(kind, bits): f"<u{bits // 8}" for kind in (UINT, QUINT) for bits in (8, 16, 32, 64)},
    **{(kind, bits): f"<i{bits // 8}" for kind in (INT, QINT) for bits in (8, 16, 32, 64)},
}
_KINDS = {"f": FLOAT, "u": UINT, "i": INT}


@dataclass(frozen=True)
class TensorHeader:
    """What a tensor file says of itself. ``item_type`` is one of ``FLOAT`` … ``BOOL``."""

    item_type: int
    bits: int
    shape: tuple[int, ...]
    length: int

    @property
    def quantized(self) -> bool:
        """Whether the items are quantised values, to be read with ``graph.quant``."""
        return self.item_type in (QUINT, QINT)

    @property
    def count(self) -> int:
        """Number of items."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype that the items are read as."""
        return np.dtype(bool) if self.item_type == BOOL else np.dtype(_DTYPES[self.item_type, self.bits])


def read_header(path: Path) -> TensorHeader:
    """Read and check the header of a tensor file.

    Raises:
        ModelError: no tensor file, of another version, an item type or size not known, sizes that contradict one
            another or the file's length.
        LimitError: more elements than ``tensor_elements``.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(HEADER_SIZE)
            size = handle.seek(0, 2)
    except OSError as error:
        raise ModelError(f"{path.name}: cannot be read ({error.strerror}).") from error
    if len(data) < HEADER_SIZE or data[:2] != _MAGIC:
        raise ModelError(f"{path.name}: not an NNEF tensor file (it does not begin with the bytes 4E EF).")
    _, major, minor, length, rank, *rest = _LAYOUT.unpack(data)
    extents, bits, item_type, reserved = rest[:8], rest[8], rest[9], rest[10]
    if (major, minor) != (1, 0):
        raise ModelError(f"{path.name}: tensor file version {major}.{minor} cannot be read; it must be 1.0.")
    if rank > MAX_RANK:
        raise ModelError(f"{path.name}: rank {rank} is beyond the {MAX_RANK} that a tensor file can have.")
    if item_type == UINT and any(reserved[:4]):
        item_type = INT  # how writers before 1.0.3 said "signed"
    header = TensorHeader(item_type, bits, tuple(extents[:rank]), length)
    if (item_type, bits) not in (*_DTYPES, (BOOL, 1), (BOOL, 8)):
        raise ModelError(f"{path.name}: items of type {item_type} with {bits} bits cannot be read.")
    limits.check("tensor_elements", header.count, f"{path.name}, elements")
    if length != (header.count * bits + 7) // 8:
        raise ModelError(
            f"{path.name}: {length} bytes of data do not fit {header.count} items of {bits} bits, shape {header.shape}."
        )
    if size != HEADER_SIZE + length:
        raise ModelError(f"{path.name}: the file has {size} bytes, its header speaks of {HEADER_SIZE + length}.")
    return header


def map_tensor(path: Path, header: TensorHeader | None = None) -> NDArray[Any]:
    """The items of a tensor file, memory-mapped read-only (logical ones unpacked). Raises as :func:`read_header`."""
    header = header or read_header(path)
    if header.count == 0:
        return np.empty(header.shape, header.dtype)
    if header.item_type == BOOL and header.bits == 8:  # whatever is not zero is true
        return np.asarray(np.fromfile(path, np.uint8, offset=HEADER_SIZE) != 0).reshape(header.shape)
    if header.bits == 1:
        packed = np.fromfile(path, np.uint8, offset=HEADER_SIZE)
        return np.unpackbits(packed, count=header.count).astype(bool).reshape(header.shape)
    return np.memmap(path, header.dtype, mode="r", offset=HEADER_SIZE, shape=header.shape)


def write_tensor(path: Path, tensor: NDArray[Any] | ir.TensorProtocol, quantized: bool = False) -> None:
    """Write an array as a tensor file; a tensor that lies in a file is copied without being held.

    Raises:
        SaveError: a dtype, rank or size that the form has no place for; or the file cannot be written.
    """
    if isinstance(tensor, np.ndarray | np.generic):
        tensor = ir.Tensor(_plain(np.asarray(tensor), path.name))
    shape = tuple(int(extent) for extent in tensor.shape.numpy())
    item_type, bits = _item_type(np.dtype(tensor.dtype.numpy()), quantized, path.name)
    length = (tensor.size * bits + 7) // 8
    if len(shape) > MAX_RANK:
        raise SaveError(f"{path.name}: rank {len(shape)} is beyond the {MAX_RANK} that an NNEF tensor file can have.")
    if length >= 2**32:
        raise SaveError(f"{path.name}: {length:,} bytes are beyond the 4 GiB of an NNEF tensor file; split the tensor.")
    extents = [*shape, *[0] * (MAX_RANK - len(shape))]
    header = _LAYOUT.pack(_MAGIC, 1, 0, length, len(shape), *extents, bits, item_type, bytes(76))
    with path.open("wb") as handle:
        handle.write(header)
        if bits == 1:
            handle.write(np.packbits(tensor.numpy().reshape(-1)).tobytes())
        else:
            write_elements(tensor, handle)


def _plain(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The array in this machine's byte order, of a dtype that tensors can have at all."""
    if array.dtype.kind not in "fiub":
        raise SaveError(f"{name}: NNEF tensor files have no item type for {array.dtype}.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _item_type(dtype: np.dtype[Any], quantized: bool, name: str) -> tuple[int, int]:
    if dtype == np.dtype(bool) and not quantized:
        return BOOL, 1
    kind = _KINDS.get(dtype.kind)
    bits = dtype.itemsize * 8
    if kind is None or (kind, bits) not in _DTYPES or (quantized and kind == FLOAT):
        what = f"quantised {dtype}" if quantized else str(dtype)
        raise SaveError(f"{name}: NNEF tensor files have no item type for {what}.")
    if quantized:
        kind = QINT if kind == INT else QUINT
    return kind, bits
