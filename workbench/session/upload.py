"""A model that arrives in pieces, from a browser."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from workbench import limits
from workbench.errors import ModelError
from workbench.files import inner_parts, is_folder, shown

MAX_BYTES = 2 << 30
"""A larger file is opened by its path."""

PIECE_BYTES = 1 << 20
"""What a browser should send at a time; a message of over 10 MB would cut the kernel's websocket."""


class Upload:
    """One file on its way into a temporary folder, which lives as long as this object.

    Args:
        name: the name that the browser gives; only its last part is kept, with unusual characters replaced.
        size: bytes that will come.

    Raises:
        ModelError: the file is empty or larger than :data:`MAX_BYTES`.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = safe_name(name)
        self.size = size
        self.received = 0
        if not 0 < size <= MAX_BYTES:
            raise ModelError(
                f"{self.name}: {size:,} bytes cannot be uploaded (at most {MAX_BYTES:,}); open the file by its path."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="workbench-upload-")
        self._path = Path(self._folder.name) / self.name
        self._file: BinaryIO | None = self._path.open("wb")

    def add(self, offset: int, piece: bytes | memoryview) -> bool:
        """Append the bytes that belong at ``offset``; whether the file is complete.

        Raises:
            ModelError: a piece is missing, repeated, or beyond the announced size.
        """
        if self._file is None or offset != self.received or offset + len(piece) > self.size:
            raise ModelError(f"{self.name}: the upload lost its order at byte {offset:,}; upload the file again.")
        self._file.write(piece)
        self.received += len(piece)
        if self.received < self.size:
            return False
        self._file.close()
        self._file = None
        return True

    def finish(self) -> Path:
        """The complete model: the file, or what a zip holds (the one entry at its top, else the whole folder).

        Raises:
            ModelError: pieces are missing, or the archive is damaged or unsafe.
        """
        if self._file is not None:
            raise ModelError(f"{self.name}: only {self.received:,} of {self.size:,} bytes arrived; upload it again.")
        if not zipfile.is_zipfile(self._path) or self._path.suffix.lower() != ".zip":
            return self._path
        folder = Path(self._folder.name) / "unpacked" / self._path.name.removesuffix(".zip")
        _unpack(self._path, folder)
        self._path.unlink()
        entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
        return entries[0] if len(entries) == 1 else folder

    def discard(self) -> None:
        """Delete what arrived."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._folder.cleanup()

    def __repr__(self) -> str:
        return f"Upload({self.name!r}, {self.received:,} of {self.size:,} bytes)"


def safe_name(name: str) -> str:
    """The last part of a path as a file name that every system takes (``../a<b>.onnx`` → ``a_b_.onnx``)."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    cleaned = re.sub(r"[^\w.\- ]", "_", last).lstrip(". ")
    return cleaned[-120:] or "model"


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack regular files only, within the limits, all below ``folder``."""
    try:
        with zipfile.ZipFile(archive) as package:
            entries = [entry for entry in package.infolist() if not is_folder(entry)]
            limits.check("archive_members", len(entries), archive.name)
            limits.check("archive_bytes", sum(entry.file_size for entry in entries), archive.name)
            for entry in entries:
                _unpack_entry(package, entry, folder)
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ModelError(f"{archive.name}: the archive cannot be unpacked ({error}).") from error


def _unpack_entry(package: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    parts = inner_parts(entry.filename)
    if parts is None or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        name = Path(package.filename or folder).name
        raise ModelError(f"{name}: the entry {shown(entry.filename)} would lie outside the archive's folder.")
    destination = folder.joinpath(*parts)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with package.open(entry) as source, destination.open("xb") as target:
        shutil.copyfileobj(source, target, PIECE_BYTES)
