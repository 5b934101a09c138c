"""Weights that stay in the file they came from: read when they are asked for, copied from file to file in pieces.

A memory map would do the same for reading, but a program that writes into the file while it is mapped (an exporter that
is run again) ends the process that looks at the map. Here the file is held open, and looked at again before every
reading: what was changed is an error, not a crash and not other weights. Replacing the file by another one, or deleting
it, does no harm.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import threading
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.files import begin_flush

Array = np.ndarray[Any, Any]

_PIECE = 256 << 10  # with larger ones a system that looks for large pages of memory takes longer
_LARGE = 4 << 20
_IDENTITY = "workbench.identity"
_IN_PIECES = "MADV_DONTNEED"  # Linux and macOS: what was read of a map does not stay in memory


class Held:
    """A file held open for reading, and what it was when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: IO[bytes] = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self._identity = _identity(os.fstat(self._handle.fileno()))
        weakref.finalize(self, self._handle.close)

    def reader(self) -> IO[bytes]:
        """Another handle of the same open file, whatever its name stands for by now."""
        return os.fdopen(os.dup(self._handle.fileno()), "rb")

    def check(self) -> None:
        """Raise :class:`ModelError` if the file was written to since it was opened."""
        if _identity(os.fstat(self._handle.fileno())) != self._identity:
            raise ModelError(f"{self.path}: the file was changed after the model was loaded; load it again.")

    def read(self, offset: int, into: memoryview) -> None:
        """Fill the buffer with the bytes at the offset.

        Raises:
            ModelError: the file was changed meanwhile.
        """
        self.check()
        with self._lock:
            self._handle.seek(offset)
            done = 0
            while done < len(into):
                count = self._handle.readinto(into[done : done + (1 << 30)])  # type: ignore[attr-defined]
                if not count:
                    raise ModelError(f"{self.path}: the file ends before its weights do; it was changed.")
                done += count

    def copy(self, offset: int, length: int, target: IO[bytes]) -> None:
        """Append bytes of the file to another one. Raises as :meth:`read`."""
        self.check()
        with self._lock:
            _copy(self._handle, offset, length, target)


class OnDisk(ir.LazyTensor):
    """An onnx-ir tensor whose little-endian elements lie in a held file, one after the other.

    Its array is read when it is asked for, and shared for as long as somebody has it.
    """

    __slots__ = ("_array", "held", "offset")

    def __init__(self, held: Held, offset: int, dtype: ir.DataType, shape: ir.Shape, name: str | None = None) -> None:
        super().__init__(self._read, dtype=dtype, shape=shape, name=name)
        self.held = held
        self.offset = offset
        self._array: weakref.ref[Array] | None = None

    def reshaped(self, shape: tuple[int, ...]) -> OnDisk:
        """The same elements in another shape."""
        return OnDisk(self.held, self.offset, self.dtype, ir.Shape(shape), self.name)

    def _read(self) -> ir.TensorProtocol:
        array = None if self._array is None else self._array()
        if array is None:
            array = _memory(self.shape.numpy(), np.dtype(self.dtype.numpy()).newbyteorder("<"))
            self.held.read(self.offset, array.reshape(-1).view(np.uint8).data)
            array.flags.writeable = False
            self._array = weakref.ref(array)
        return ir.Tensor(array, dtype=self.dtype, name=self.name)

    def __repr__(self) -> str:
        return f"OnDisk({self.dtype.name.lower()}{list(self.shape.numpy())})"


def _memory(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array to fill. For a large one numpy asks the kernel for huge pages, which it may search for long."""
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        return np.empty(shape, dtype)
    held: Array = np.ndarray(shape, dtype, mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return held


def remember(tensor: ir.ExternalTensor) -> None:
    """Note what the tensor's file is now, so that :func:`write_elements` may copy from it."""
    tensor.meta[_IDENTITY] = _identity(os.stat(tensor.path))


def write_elements(tensor: ir.TensorProtocol, target: IO[bytes]) -> None:
    """Append the tensor's elements as onnx stores them: little-endian, in order; those below a byte packed.

    What lies in a file is not held in memory meanwhile.

    Raises:
        ModelError: the file that the tensor lies in was changed.
    """
    if isinstance(tensor, OnDisk):
        tensor.held.copy(tensor.offset, tensor.nbytes, target)
    elif isinstance(tensor, ir.ExternalTensor):
        _write_external(tensor, target)
    elif tensor.dtype.bitwidth < 8:
        target.write(tensor.tobytes())
    else:
        _write_array(tensor.numpy(), target)


def _write_external(tensor: ir.ExternalTensor, target: IO[bytes]) -> None:
    identity = tensor.meta.get(_IDENTITY)
    if identity is not None:
        with open(tensor.path, "rb", buffering=0) as source:
            if _identity(os.fstat(source.fileno())) == identity:
                _copy(source, tensor.offset or 0, tensor.nbytes, target)
                return
        if tensor.raw is None:
            raise ModelError(f"{tensor.path}: the file was changed after the model was loaded; load it again.")
    array = tensor.numpy()  # the map that was made of the file when it was first read
    if tensor.dtype.bitwidth < 8:
        target.write(tensor.tobytes())
    else:
        _write_array(array, target, tensor.raw)


def _write_array(array: Array, target: IO[bytes], mapped: mmap.mmap | None = None) -> None:
    """The elements in pieces; of a map, each piece leaves the memory again."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    count = max(_PIECE // array.itemsize, 1)
    little = array.dtype.newbyteorder("<")
    begun = target.tell()
    for begin in range(0, array.size, count):
        target.write(np.ascontiguousarray(flat[begin : begin + count], little).view(np.uint8).data)
        begun = begin_flush(target, begun)
        if mapped is not None and hasattr(mmap, _IN_PIECES):
            mapped.madvise(getattr(mmap, _IN_PIECES))


def _copy(source: IO[bytes], offset: int, length: int, target: IO[bytes]) -> None:
    """Append a part of one file to another, in pieces that end where blocks of the target end.

    A copy within the kernel (``copy_file_range``) takes a third more time where the two offsets do not lie alike in
    their pages, and those of weights do not.
    """
    append = _append_mapped if hasattr(mmap, "MAP_POPULATE") and _is_file(target) else _append_read
    place = begun = target.tell()
    end = place + length
    while place < end:
        count = min(_PIECE - place % _PIECE, end - place)
        try:
            append(source, offset, count, target)
        except (ValueError, EOFError) as error:
            raise ModelError(f"{source.name}: the file ends before its weights do; it was changed.") from error
        place, offset = place + count, offset + count
        target.seek(place)
        begun = begin_flush(target, begun)


def _is_file(target: IO[bytes]) -> bool:
    try:
        return target.fileno() >= 0
    except OSError:  # io.UnsupportedOperation: it is in memory
        return False


def _append_read(source: IO[bytes], offset: int, count: int, target: IO[bytes]) -> None:
    source.seek(offset)
    data = source.read(count)
    if len(data) < count:
        raise EOFError
    target.write(data)


def _append_mapped(source: IO[bytes], offset: int, count: int, target: IO[bytes]) -> None:
    """Linux: from a map whose pages are all there at once.

    Only the kernel looks at it: should the file have become shorter meanwhile, that is an error and no signal.
    """
    skipped = offset % mmap.ALLOCATIONGRANULARITY
    flags, begin = mmap.MAP_SHARED | mmap.MAP_POPULATE, offset - skipped
    try:
        mapped = mmap.mmap(source.fileno(), skipped + count, flags=flags, prot=mmap.PROT_READ, offset=begin)
    except OSError:  # a file system without maps
        _append_read(source, offset, count, target)
        return
    target.flush()
    with mapped, memoryview(mapped) as view:
        while skipped < len(view):
            with view[skipped:] as rest:
                skipped += _written(target.fileno(), rest)


def _written(number: int, data: memoryview) -> int:
    try:
        return os.write(number, data)
    except OSError as error:
        if error.errno == errno.EFAULT:  # the pages are beyond the end of the file
            raise EOFError from error
        raise


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
