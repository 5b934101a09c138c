"""Copying weights from file to file: the same bytes wherever they begin, and an error where the file ends too early."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from workbench import ModelError
from workbench.hub import on_disk
from workbench.hub.on_disk import Held, OnDisk, write_elements

BYTES = np.random.default_rng(0).integers(0, 256, 1_000_003, np.uint8)


def tensor(path: Path, offset: int, count: int) -> OnDisk:
    """Bytes of a file that holds :data:`BYTES`."""
    path.write_bytes(BYTES.tobytes())
    return OnDisk(Held(path), offset, ir.DataType.UINT8, ir.Shape([count]))


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("before", [0, 1, 128, on_disk._PIECE - 1])
@pytest.mark.parametrize(("offset", "count"), [(0, BYTES.size), (4097, 900_001), (999_999, 4), (5, 0)])
def test_copied_bytes_are_the_files(
    mapped: bool, before: int, offset: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mapped:
        monkeypatch.delattr(mmap, "MAP_POPULATE", raising=False)
    with (tmp_path / "target").open("wb") as target:
        target.write(b"x" * before)
        write_elements(tensor(tmp_path / "source", offset, count), target)
        assert target.tell() == before + count
        target.write(b"end")
    assert (tmp_path / "target").read_bytes() == b"x" * before + BYTES[offset : offset + count].tobytes() + b"end"


def test_a_target_in_memory_is_written_to_as_well(tmp_path: Path) -> None:
    target = io.BytesIO()
    write_elements(tensor(tmp_path / "source", 7, 600_000), target)
    assert target.getvalue() == BYTES[7:600_007].tobytes()


@pytest.mark.skipif(os.name == "nt", reason="there a file that is held open cannot be cut")
@pytest.mark.parametrize("length", [0, 4096 * 100 + 5, BYTES.size - 1])
@pytest.mark.parametrize("mapped", [True, False])
def test_a_file_that_is_cut_after_the_look_at_it_is_an_error_and_no_signal(
    mapped: bool, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mapped:
        monkeypatch.delattr(mmap, "MAP_POPULATE", raising=False)
    found = tensor(tmp_path / "source", 0, BYTES.size)
    monkeypatch.setattr(Held, "check", lambda self: os.truncate(self.path, length))
    with (tmp_path / "target").open("wb") as target, pytest.raises(ModelError, match="ends before its weights do"):
        write_elements(found, target)


@pytest.mark.skipif(not hasattr(mmap, "MAP_POPULATE"), reason="elsewhere there is no map while a file is copied")
def test_pages_that_go_while_they_are_mapped_are_an_error_and_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, write = tensor(tmp_path / "source", 0, BYTES.size), os.write

    def cutting(number: int, data: memoryview) -> int:
        os.truncate(tmp_path / "source", 0)
        return write(number, data)

    monkeypatch.setattr(os, "write", cutting)
    with (tmp_path / "target").open("wb") as target, pytest.raises(ModelError, match="ends before its weights do"):
        write_elements(found, target)
