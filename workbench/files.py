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
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.errors import ModelError, SaveError

_AT_FDCWD = -100  # "relative to the working directory" of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS

PARTIAL = ".workbench-partial-"  # prefix of the temporary siblings


def contained(root: Path, name: str, *, what: str = "file") -> Path:
    """Return the regular file that ``name`` means below the folder ``root``.

    Raises:
        ModelError: ``name`` is absolute, climbs out with ``..``, passes through a symbolic link, names something
            that is no regular file, or a file with several hard links.
    """
    base = Path(os.path.realpath(root))
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or "\0" in name or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise ModelError(f"{root}: the {what} {name!r} would lie outside the model's folder; nothing was read.")
    path = base
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ModelError(
                f"{root}: the {what} {name!r} goes through a symbolic link; copy the file into the folder."
            )
    try:
        status = path.lstat()
    except OSError as error:
        raise ModelError(f"{root}: the {what} {name!r} is missing ({error.strerror}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{root}: the {what} {name!r} is not a regular file.")
    if status.st_nlink > 1:
        raise ModelError(f"{root}: the {what} {name!r} has several hard links; copy the file into the folder.")
    return path


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file its bytes; of a folder each file's name and bytes, ordered by name."""
    found = hashlib.sha256()
    if not path.is_dir():
        _hash_into(found, path)
        return found.hexdigest()
    for file in sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink()):
        found.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        _hash_into(found, file)
    return found.hexdigest()


def _hash_into(found: Any, path: Path) -> None:
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            found.update(chunk)


@contextlib.contextmanager
def replacing(destination: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling path to write to (a file or a folder); rename it to ``destination`` on success.

    On any failure the sibling is removed and ``destination`` is what it was before. An existing destination is
    replaced only with ``overwrite=True``, and only once the new one is complete on the disk.

    Raises:
        SaveError: the destination exists and ``overwrite`` is false, or writing failed.
    """
    destination = Path(os.path.abspath(destination))
    if os.path.lexists(destination) and not overwrite:
        raise SaveError(f"{destination} exists; choose another name or pass overwrite=True. Nothing was written.")
    if not destination.parent.is_dir():
        raise SaveError(f"the folder {destination.parent} does not exist; create it first. Nothing was written.")
    try:
        workspace = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=destination.parent))
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
        shutil.rmtree(workspace, ignore_errors=True)


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


def _flush(path: Path) -> None:
    """Force a file, or all files of a folder, onto the disk."""
    if path.is_dir():
        for child in sorted(path.iterdir()):
            _flush(child)
        _flush_folder(path)
        return
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
