"""The exchange formats: one folder each, found through the ``workbench.formats`` entry points."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from workbench.errors import ModelError, OptionError
from workbench.formats.base import Draft, Format, Options, Source, make_options

GROUP = "workbench.formats"
_OWN = {name: f"workbench.formats.{name}" for name in ("onnx", "nnef", "coreml")}

__all__ = [
    "Draft",
    "Format",
    "Options",
    "Source",
    "all_formats",
    "format_for_suffix",
    "format_named",
    "format_of",
    "make_options",
]


@functools.lru_cache(maxsize=1)
def all_formats() -> dict[str, Format]:
    """Every registered format by name, our own first.

    Raises:
        ModelError: two packages register one name.
    """
    found: dict[str, Format] = {name: import_module(module).FORMAT for name, module in _OWN.items()}
    for entry in entry_points(group=GROUP):
        if entry.value.split(":")[0] in _OWN.values():
            continue
        if entry.name in found:
            raise ModelError(f"the format {entry.name!r} is registered twice; the second time by {entry.value}.")
        found[entry.name] = entry.load()
    return found


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        OptionError: there is none; the message lists those that exist.
    """
    formats = all_formats()
    if name not in formats:
        raise OptionError(f"unknown format {name!r}; there are {', '.join(formats)}.")
    return formats[name]


def format_for_suffix(path: str | Path) -> Format:
    """The format that a file to be written belongs to, by its suffix.

    Raises:
        OptionError: no format has that suffix; the message lists those that exist.
    """
    found = _by_suffix(str(path).rstrip("/"))
    if found is not None:
        return found
    known = ", ".join(suffix for candidate in all_formats().values() for suffix in candidate.suffixes)
    raise OptionError(f"{path}: the suffix belongs to no format; there are {known}. Name the format with --to.")


def _by_suffix(name: str) -> Format | None:
    """The format with the longest suffix that the name ends with (``.mlpackage.zip`` before ``.zip``)."""
    found = [
        (len(suffix), candidate)
        for candidate in all_formats().values()
        for suffix in candidate.suffixes
        if name.lower().endswith(suffix)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def format_of(source: Path | object) -> Format:
    """The format that a path's content, or an in-memory object, is of.

    Raises:
        ModelError: the path does not exist, or no format recognises it.
    """
    if isinstance(source, Path):
        if not source.exists():
            raise ModelError(f"{source}: no such file or folder.")
        if not (source.is_file() or source.is_dir()):
            raise ModelError(f"{source}: a pipe or a device, which may never end; give a file or a folder.")
        for candidate in all_formats().values():
            if candidate.claims(source):
                return candidate
        damaged = _by_suffix(source.name)
        if damaged is not None:
            return damaged  # its reader can say what is wrong
        known = ", ".join(suffix for candidate in all_formats().values() for suffix in candidate.suffixes)
        raise ModelError(f"{source}: the content is of no format that is known here ({known}).")
    for candidate in all_formats().values():
        if candidate.adopts(source):
            return candidate
    raise ModelError(f"an object of type {type(source).__module__}.{type(source).__qualname__} is no model known here.")
