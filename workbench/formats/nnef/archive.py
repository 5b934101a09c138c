"""NNEF models as folders or archives (``.tgz``, ``.tar.gz``, ``.tar``, ``.zip``), opened without trust.

Members of an archive are regular files below its root or the archive is refused; what they unpack to is bounded.
Archives are written byte-identically: members sorted, without times, owners or a file name in the gzip header.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from workbench import limits
from workbench.errors import ModelError, SaveError
from workbench.files import inner_parts, is_folder, shown

GRAPH = "graph.nnef"
_CHUNK = 1 << 20
_HEADER_BYTES = 1 << 20  # bound of the extended headers that tarfile reads as a whole
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"X")
ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")


class ModelFolder:
    """A folder with ``graph.nnef`` in it. If it was unpacked from an archive, it lives as long as this object."""

    def __init__(self, root: Path, temporary: Path | None = None) -> None:
        self.root = root
        self._remove = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True) if temporary else None

    def close(self) -> None:
        """Remove what was unpacked; mapped tensors must not be used afterwards."""
        if self._remove is not None:
            self._remove()


def is_archive(path: Path) -> bool:
    """Whether the file is a gzip, tar or zip by its first bytes."""
    try:
        with path.open("rb") as handle:
            head = handle.read(265)
    except OSError:
        return False
    return head[:2] == b"\x1f\x8b" or head[:4] == b"PK\x03\x04" or head[257:262] == b"ustar"


def open_folder(path: Path) -> ModelFolder:
    """Open an NNEF folder, a ``graph.nnef`` file in one, or an archive.

    Raises:
        ModelError: there is no ``graph.nnef``, or the archive is damaged or holds what no model needs (links,
            devices, absolute names, ``..``).
        LimitError: it unpacks to more than ``archive_bytes`` or ``archive_members``.
    """
    if path.is_dir():
        return ModelFolder(_graph_folder(path, path))
    if not path.is_file():
        raise ModelError(f"{path} is no file or folder.")
    if not is_archive(path):
        return ModelFolder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix="workbench-nnef-"))
    folder = ModelFolder(temporary, temporary)
    try:
        _unpack(path, temporary)
        folder.root = _graph_folder(temporary, path)
    except BaseException:
        folder.close()
        raise
    return folder


def _graph_folder(folder: Path, path: Path) -> Path:
    """The folder itself or, if it holds nothing else, the one folder inside it that has the graph."""
    if (folder / GRAPH).is_file():
        return folder
    children = [child for child in folder.iterdir() if child.is_dir() and not child.is_symlink()]
    if len(children) == 1 and (children[0] / GRAPH).is_file():
        return children[0]
    raise ModelError(f"{path}: no {GRAPH} in it, so it is not an NNEF model.")


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses extended headers of absurd size, which tarfile would read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedTarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENDED and info.size > _HEADER_BYTES:
            raise ModelError(f"a tar header of {info.size:,} bytes is refused.")
        return info


def _unpack(path: Path, target: Path) -> None:
    try:
        if zipfile.is_zipfile(path) and path.open("rb").read(2) == b"PK":
            with zipfile.ZipFile(path) as archive:
                _copy_all(_zip_members(archive, path), target, path)
        else:
            with tarfile.open(path, "r:*", tarinfo=_BoundedTarInfo) as archive:
                _copy_all(_tar_members(archive, path), target, path)
    except ModelError as error:
        raise type(error)(f"{path.name}: {error}" if path.name not in str(error) else str(error)) from error
    except OSError as error:
        cause = error.strerror or str(error)[:200]
        raise ModelError(f"{path.name}: the archive is damaged, or cannot be unpacked here ({cause}).") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path.name}: the archive is damaged ({error}).") from error
    except Exception as error:  # zlib.error and lzma.LZMAError derive from Exception alone
        if type(error).__name__ not in ("error", "LZMAError"):
            raise
        raise ModelError(f"{path.name}: the archive is damaged ({error}).") from error


Member = tuple[str, int, IO[bytes]]


def _tar_members(archive: tarfile.TarFile, path: Path) -> Iterator[Member]:
    for index, info in enumerate(archive):
        limits.check("archive_members", index + 1, f"{path.name}, members")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise ModelError(f"the member {info.name[:80]!r} is no plain file; links and devices are refused.")
        stream = archive.extractfile(info)
        if stream is not None:
            yield info.name, info.size, stream


def _zip_members(archive: zipfile.ZipFile, path: Path) -> Iterator[Member]:
    limits.check("archive_members", len(archive.infolist()), f"{path.name}, members")
    for info in archive.infolist():
        if is_folder(info):
            continue
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise ModelError(f"the member {info.filename[:80]!r} is no plain file; links and devices are refused.")
        if info.flag_bits & 1:
            raise ModelError(f"the member {info.filename[:80]!r} is encrypted.")
        yield info.filename, info.file_size, archive.open(info)


def _copy_all(members: Iterator[Member], target: Path, path: Path) -> None:
    total = 0
    for name, size, stream in members:
        limits.check("archive_bytes", total + size, f"{path.name}, unpacked size in bytes")
        destination = target.joinpath(*_checked_parts(name))
        destination.parent.mkdir(parents=True, exist_ok=True)
        with stream, destination.open("xb") as handle:
            while chunk := stream.read(_CHUNK):
                total += len(chunk)
                limits.check("archive_bytes", total, f"{path.name}, unpacked size in bytes")
                handle.write(chunk)


def _checked_parts(name: str) -> tuple[str, ...]:
    parts = inner_parts(name)
    if parts is None:
        raise ModelError(f"the member {shown(name)} would be unpacked outside of the model's folder.")
    return parts


def holds_only_a_model(folder: Path) -> bool:
    """Whether there is a graph in the folder, and beside it nothing but tensors and the files that belong to it."""
    belonging = (GRAPH, "graph.quant", "workbench.json")
    files = [file.relative_to(folder) for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()]
    return Path(GRAPH) in files and all(file.suffix == ".dat" or str(file) in belonging for file in files)


def pack(folder: Path, destination: Path) -> None:
    """Write the files of a folder into a deterministic archive; its kind is told by the suffix of ``destination``.

    Raises:
        SaveError: the suffix is none of :data:`ARCHIVE_SUFFIXES`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [(path.relative_to(folder).as_posix(), path) for path in files]
    name = destination.name
    if name.endswith(".zip"):
        _pack_zip(members, destination)
    elif name.endswith((".tgz", ".tar.gz")):
        with destination.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as stream:
            _pack_tar(members, stream)
    elif name.endswith(".tar"):
        with destination.open("wb") as stream:
            _pack_tar(members, stream)
    else:
        raise SaveError(f"{name}: an NNEF archive ends in {', '.join(ARCHIVE_SUFFIXES)}.")


def _pack_tar(members: list[tuple[str, Path]], stream: IO[bytes] | gzip.GzipFile) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, path in members:
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            with path.open("rb") as handle:
                archive.addfile(info, handle)


def _pack_zip(members: list[tuple[str, Path]], destination: Path) -> None:
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # the same bytes on every operating system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)
