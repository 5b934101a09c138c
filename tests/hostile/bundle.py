"""A model as the bytes of its files, so that it can be changed before it is put onto a disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bundle:
    """The files of one model.

    Attributes:
        reader: which way of reading it is for: one of :data:`tests.hostile.seeds.READERS`.
        entry: the file or folder that is opened, relative to the folder that everything is in.
        files: relative path → bytes.
    """

    reader: str
    entry: str
    files: dict[str, bytes]

    def write(self, folder: Path) -> Path:
        """Put the files into the folder; returns what is to be opened."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / self.entry

    def with_file(self, name: str, data: bytes) -> Bundle:
        """The same with other bytes in one file."""
        return Bundle(self.reader, self.entry, {**self.files, name: data})


def bundle_of(reader: str, path: Path) -> Bundle:
    """The files at a path."""
    if path.is_file():
        return Bundle(reader, path.name, {path.name: path.read_bytes()})
    files = {
        f"{path.name}/{file.relative_to(path).as_posix()}": file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return Bundle(reader, path.name, files)
