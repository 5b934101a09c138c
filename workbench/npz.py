"""``.npz`` archives: written array by array, under any names; read within the limits, whatever is in them."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from workbench import limits

Array = np.ndarray[Any, Any]

DAMAGES = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What Python's own readers of JSON, zip and numpy's headers raise."""

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can say: the same arrays make the same bytes


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, as ``numpy.load`` reads them; unlike ``numpy.savez`` it takes any name (``file``)."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            add_array(archive, f"{name}.npy", array)


def add_array(archive: zipfile.ZipFile, member: str, array: Any) -> None:
    """Add one array to an archive; pickled objects are refused by numpy with a ``ValueError``."""
    with archive.open(zipfile.ZipInfo(member, _TIME), "w", force_zip64=True) as handle:
        whole = np.ascontiguousarray(array).reshape(np.shape(array))
        np.lib.format.write_array(handle, whole, allow_pickle=False)  # type: ignore[no-untyped-call]


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an archive by name.

    Raises:
        Exception: one of :data:`DAMAGES`: there is no such file, or it is something else.
        LimitError: it is beyond the limits.
    """
    _check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        limits.check("archive_members", len(members), str(path))
        limits.check("archive_bytes", sum(member.file_size for member in members), str(path))
        found = {}
        for member in members:
            with archive.open(member) as handle:
                array = read_npy(handle, member.file_size, f"{path}/{member.filename}")
            found[member.filename.removesuffix(".npy")] = array
        return found


def read_npy_file(path: Path) -> Array:
    """The array of an ``.npy`` file; raises like :func:`read_npz`."""
    _check_regular(path)
    with path.open("rb") as handle:
        return read_npy(handle, path.stat().st_size, str(path))


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError("it is a folder, a pipe or a device")


def read_npy(handle: IO[bytes], size: int, where: str) -> Array:
    """An ``.npy`` stream of that many bytes in all; objects are refused, and so is a header that lies about the size.

    Raises:
        ValueError: it is something else.
        LimitError: more elements than :mod:`workbench.limits` allows.
    """
    version = np.lib.format.read_magic(handle)  # type: ignore[no-untyped-call]
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = readers[version](handle)  # type: ignore[no-untyped-call]
    count = math.prod(shape)
    limits.check("tensor_elements", count, where)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read, since they could run code; write plain numbers")
    if count * dtype.itemsize != size - handle.tell():
        raise ValueError(f"{count} elements of {dtype} are declared, {size - handle.tell()} bytes are there")
    array: Array = np.frombuffer(handle.read(), dtype=dtype).reshape(shape, order="F" if fortran else "C")
    whole: Array = np.ascontiguousarray(array).reshape(shape)
    return whole
