"""What a case of the corpus is, and the ways out of a folder that all formats are tried with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECRET = b"SECRET42" * 512
"""What lies outside the model's folder, and must never be read."""

WAYS = ("full path", "relative path", "bare name")
"""How the model is opened: the working directory is another folder, the folder above, the model's own."""


@dataclass(frozen=True)
class Hostile:
    """One crafted model.

    Attributes:
        make: builds it in the folder that is given, beside which the folder ``outside`` has the file ``secret``;
            returns what is to be opened.
        refused: the last step by which it has to be refused: ``load``, ``hub``, ``run``, ``plan`` or ``convert``.
        way: one of :data:`WAYS`.
        limits: set for this case; the defaults allow more than a test has time and memory for.
        feeds: what it is run on, by name: a shape, or the values of an int64 input.
    """

    name: str
    make: Callable[[Path], Path]
    refused: str = "load"
    way: str = "full path"
    limits: Mapping[str, int] = field(default_factory=dict)
    feeds: Mapping[str, tuple[int, ...] | list[int]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def outside_of(folder: Path) -> Path:
    """The file that no model may reach."""
    return folder.parent / "outside" / "secret"


@dataclass(frozen=True)
class Escape:
    """A name that leads out of a folder, or to something that is no file.

    Attributes:
        name: what the model says; ``{outside}`` is the absolute path of the secret.
        prepare: what is put into the folder for it.
    """

    title: str
    name: str
    prepare: Callable[[Path], None] = lambda folder: None

    def text(self, folder: Path) -> str:
        """The name as it stands in the model."""
        return self.name.format(outside=outside_of(folder))


def _symbolic_link(folder: Path) -> None:
    (folder / "link").symlink_to(outside_of(folder))


def _linked_folder(folder: Path) -> None:
    (folder / "linked").symlink_to(outside_of(folder).parent)


def _hard_link(folder: Path) -> None:
    (folder / "hard").hardlink_to(outside_of(folder))


def _pipe(folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe")


def _folder(folder: Path) -> None:
    (folder / "folder").mkdir()


def _device(folder: Path) -> None:
    (folder / "zero").symlink_to("/dev/zero")


ESCAPES = (
    Escape("climbs out", "../outside/secret"),
    Escape("climbs out from below", "below/../../outside/secret"),
    Escape("climbs out with backslashes", "..\\outside\\secret"),
    Escape("is absolute", "{outside}"),
    Escape("is absolute twice", "/{outside}"),
    Escape("has a drive", "C:\\outside\\secret"),
    Escape("is a symbolic link", "link", _symbolic_link),
    Escape("goes through a linked folder", "linked/secret", _linked_folder),
    Escape("is a hard link", "hard", _hard_link),
    Escape("is a pipe", "pipe", _pipe),
    Escape("is a folder", "folder", _folder),
    Escape("links to a device", "zero", _device),
    Escape("is a device", "/dev/zero"),
    Escape("is the environment", "/proc/self/environ"),
    Escape("has a NUL", "a\0b"),
    Escape("is of 100 kB", "n" * 100_000),
    Escape("is deep", "a/" * 3000 + "w"),
    Escape("is missing", "nowhere"),
)
