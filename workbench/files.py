"""Where files may be read, and how they are written.

Reading: a name that stands inside a model file (an external-data location, an NNEF label, an entry of a package's
manifest) is resolved by :func:`contained`, and by nothing else. Writing: everything reaches its destination through
:func:`replacing`, so that the destination is at every moment the old one or the new one, whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any
from zipfile import ZipInfo

from workbench.errors import ModelError, SaveError

if sys.platform == "win32":
    fcntl: Any = None
else:
    import fcntl

_AT_FDCWD = -100  # "relative to the working directory" of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS

_EARLY = 16 << 20  # bytes that are much
_SYNC_WRITE = 2  # SYNC_FILE_RANGE_WRITE of Linux
_FLUSHED_AT_ONCE = 8

PARTIAL = ".workbench-partial-"  # prefix of the temporary siblings


MAX_NAME = 4096
"""Bytes of a path that Linux takes (man 7 path_resolution); longer names are refused without being tried."""


def inner_parts(name: str) -> tuple[str, ...] | None:
    """The parts of a relative path below some folder; ``None`` if the name would lead elsewhere.

    Every name that stands in a model file or an archive is judged here. A backslash separates too, whatever the system.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = tuple(part for part in path.parts if part != ".")
    outside = path.is_absolute() or ".." in parts or "\0" in name or len(name) > MAX_NAME
    if not parts or outside or ":" in parts[0] or (os.name == "nt" and any(":" in part for part in parts)):
        return None
    return parts


def is_folder(member: ZipInfo) -> bool:
    """Whether a member of a zip is a folder; its own ``is_dir`` reads a last letter that a hostile name has not."""
    return member.filename.endswith("/")


def shown(name: str) -> str:
    """A name out of a file, quoted for a message, of a length that can be read."""
    return repr(name if len(name) <= 120 else f"{name[:80]}… ({len(name):,} characters)")


def contained(root: Path, name: str, *, what: str = "file") -> Path:
    """Return the regular file that ``name`` means below the folder ``root``.

    Raises:
        ModelError: ``name`` is absolute, climbs out with ``..``, passes through a symbolic link, names something
            that is no regular file, or a file with several hard links.
    """
    where = f"{root}: the {what} {shown(name)}"
    parts = inner_parts(name)
    if parts is None:
        raise ModelError(f"{where} would lie outside the model's folder; nothing was read.")
    path = Path(os.path.realpath(root))
    try:
        for part in parts:
            path = path / part
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise ModelError(f"{where} goes through a symbolic link; copy the file into the folder.")
    except (OSError, ValueError) as error:  # ValueError: no name that a file can have
        raise ModelError(f"{where} is missing ({getattr(error, 'strerror', None) or error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{where} is not a regular file.")
    if status.st_nlink > 1:
        raise ModelError(f"{where} has several hard links; copy the file into the folder.")
    return path


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file its bytes; of a folder each file's name and bytes, ordered by name.

    Raises:
        ModelError: a file cannot be read, or is there no longer.
    """
    found = hashlib.sha256()
    try:
        if not path.is_dir():
            _hash_into(found, path)
            return found.hexdigest()
        for file in sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink()):
            found.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            _hash_into(found, file)
    except OSError as error:
        raise ModelError(f"{path}: the file cannot be read (any more): {error.strerror or error}.") from error
    return found.hexdigest()


def _hash_into(found: Any, path: Path) -> None:
    piece = memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as handle:
        while count := handle.readinto(piece):
            found.update(piece[:count])


def check_replaceable(folder: Path, mark: str, *, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it is to be replaced and has the file by which folders of its kind are known.

    A folder that is anything else (a home, a repository) is never replaced.

    Raises:
        SaveError: it is refused.
    """
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise SaveError(f"{folder} exists; choose another name or pass overwrite=True. Nothing was written.")
    if folder.is_symlink() or not (folder / mark).is_file():
        raise SaveError(f"{folder} exists and has no {mark}, so it is not replaced; choose another name.")


@contextlib.contextmanager
def replacing(destination: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling path to write to (a file or a folder); rename it to ``destination`` on success.

    On any failure the sibling is removed and ``destination`` is what it was before. An existing destination is
    replaced only with ``overwrite=True``, and only once the new one is complete on the disk. What a killed process has
    left behind in the same folder is removed.

    Raises:
        SaveError: the destination exists and ``overwrite`` is false, or writing failed.
    """
    destination = Path(os.path.abspath(destination))
    if os.path.lexists(destination) and not overwrite:
        raise SaveError(f"{destination} exists; choose another name or pass overwrite=True. Nothing was written.")
    if not destination.parent.is_dir():
        raise SaveError(f"the folder {destination.parent} does not exist; create it first. Nothing was written.")
    try:
        _remove_leftovers(destination.parent)
        workspace, lock = _workspace(destination.parent)
    except OSError as error:
        raise SaveError(f"cannot write in {destination.parent}: {error.strerror}. Nothing was written.") from error
    try:
        partial = workspace / destination.name
        yield partial
        _flush(partial)
        if destination.is_dir() and not destination.is_symlink():
            _swap_folders(partial, destination, workspace / "replaced")
        else:
            os.replace(partial, destination)
        _flush_folder(destination.parent)
    except OSError as error:
        raise SaveError(f"writing {destination} failed: {error.strerror or error}. The old state is kept.") from error
    finally:
        try:
            _discard(workspace)
        finally:
            if lock is not None:
                lock.release()


class _Lock:
    """An exclusive lock on a folder, for as long as this object lives: also where Ctrl-C has skipped its release.

    Raises:
        OSError: another holds it, or the folder is gone.
    """

    def __init__(self, folder: Path) -> None:
        self._handle: int | None = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle is not None:
            os.close(handle)

    __del__ = release


def _workspace(parent: Path) -> tuple[Path, _Lock | None]:
    """A new temporary folder and the lock on it, which its process holds for as long as it lives."""
    while True:
        workspace = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=parent))
        if fcntl is None:
            return workspace, None
        lock = _lock(workspace)
        if lock is not None and workspace.exists():
            return workspace, lock
        if lock is not None:  # another process took the new folder for a leftover, and has removed it
            lock.release()


def _lock(workspace: Path) -> _Lock | None:
    """The lock on a temporary folder; ``None`` if another process holds it, or the folder is gone."""
    try:
        return _Lock(workspace)
    except OSError:
        return None


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of processes that are no more: those that nobody has locked."""
    if fcntl is None:  # Windows: nothing tells a leftover from a folder that is being written
        return
    for workspace in parent.glob(f"{PARTIAL}*"):
        lock = None if workspace.is_symlink() else _lock(workspace)
        if lock is not None:
            _discard(workspace)
            lock.release()


def _discard(workspace: Path) -> None:
    try:
        shutil.rmtree(workspace, ignore_errors=True)
    except OSError as error:  # after Ctrl-C it closes a handle twice; what is left, the next one removes
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None


def _swap_folders(new: Path, old: Path, aside: Path) -> None:
    """Put a folder in the place of another; a full folder cannot be renamed over.

    Linux and macOS exchange the two names in one step. Elsewhere the old one steps aside first, and comes back if the
    new one cannot take its place.
    """
    if _exchange(new, old):
        return
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically; ``False`` where the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux":
        call = getattr(ctypes.CDLL(None), "renameat2", None)  # man 2 renameat2
        return call is not None and call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0
    if sys.platform == "darwin":
        call = getattr(ctypes.CDLL(None), "renamex_np", None)  # man 2 renamex_np
        return call is not None and call(names[0], names[1], _EXCHANGE) == 0
    return False


def begin_flush(target: IO[bytes], begin: int) -> int:
    """Have Linux begin to put on the disk what was written from ``begin`` on, once that is much.

    :func:`replacing` waits for the disk in the end; what is on its way by then need not be waited for as long.

    Returns:
        Where what was begun ends: the next call's ``begin``.
    """
    place = target.tell()
    call = _sync_file_range()
    if call is None or place - begin < _EARLY:
        return begin
    try:
        target.flush()
        call(target.fileno(), begin, place - begin, _SYNC_WRITE)
    except OSError:  # no file (io.UnsupportedOperation), or a full disk, which writing on meets too
        return begin
    return place


@cache
def _sync_file_range() -> Any:
    """Linux's call (man 2 sync_file_range), or ``None``."""
    call = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
    if call is not None:
        call.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
    return call


def _flush(path: Path) -> None:
    """Force a file, or all files of a folder, onto the disk."""
    if not path.is_dir():
        _flush_file(path)
        return
    inside = sorted(path.rglob("*"))
    files = [item for item in inside if not item.is_dir()]
    with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:  # what waits together takes one entry of the disk's journal
        list(pool.map(_flush_file, files))
    for folder in [*reversed([item for item in inside if item.is_dir()]), path]:
        _flush_folder(folder)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _flush_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
