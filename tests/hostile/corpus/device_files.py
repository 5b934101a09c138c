"""What is no file at all, under every suffix that is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus.case import Hostile

SUFFIXES = (".onnx", ".nnef", ".nnef.tgz", ".zip", ".mlmodel", ".mlpackage", ".mlmodelc", ".mlpackage.zip")


def _pipe(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        os.mkfifo(folder / f"model{suffix}")
        return folder / f"model{suffix}"

    return make


def _device(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / f"model{suffix}").symlink_to("/dev/zero")
        return folder / f"model{suffix}"

    return make


def _loop(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / f"model{suffix}").symlink_to(folder / f"model{suffix}")
        return folder / f"model{suffix}"

    return make


def _pipe_inside(suffix: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"model{suffix}"
        (path / name).parent.mkdir(parents=True)
        os.mkfifo(path / name)
        return path

    return make


def _random(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"model{suffix}"
        path.write_bytes(bytes((7 * index * index + 3) % 256 for index in range(5000)))
        return path

    return make


def cases() -> Iterator[Hostile]:
    """All of them."""
    for suffix in SUFFIXES:
        yield Hostile(f"a pipe called model{suffix}", _pipe(suffix))
        yield Hostile(f"a device called model{suffix}", _device(suffix))
        yield Hostile(f"a link to itself called model{suffix}", _loop(suffix))
        yield Hostile(f"noise called model{suffix}", _random(suffix))
    yield Hostile("a folder whose graph.nnef is a pipe", _pipe_inside(".nnef", "graph.nnef"))
    yield Hostile("a folder whose Manifest.json is a pipe", _pipe_inside(".mlpackage", "Manifest.json"))
    yield Hostile("a folder whose model.mil is a pipe", _pipe_inside(".mlmodelc", "model.mil"))
