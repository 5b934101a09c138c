"""Containment and atomic writing: nothing outside is read, nothing half-written is left, nothing old is lost."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench import files
from workbench.errors import ModelError, SaveError
from workbench.files import begin_flush, contained, replacing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "weights.bin").write_bytes(b"w")
    (tmp_path / "secret").write_bytes(b"s")
    return root


def test_a_file_below_the_folder_is_found(folder: Path) -> None:
    assert contained(folder, "sub/weights.bin").read_bytes() == b"w"


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/etc/passwd", "", "a\0b", "..\\secret", "C:\\x"])
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ModelError):
        contained(folder, name)


def test_links_folders_and_pipes_are_refused(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "linked_folder").symlink_to(folder.parent)
    os.link(folder.parent / "secret", folder / "hard")
    os.mkfifo(folder / "pipe")
    for name in ("link", "linked_folder/secret", "hard", "pipe", "sub", "absent"):
        with pytest.raises(ModelError, match=name.split("/")[0]):
            contained(folder, name)


def test_a_relative_root_is_contained_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert contained(Path("."), "sub/weights.bin").is_absolute()
    with pytest.raises(ModelError):
        contained(Path("."), "../secret")


def test_a_new_file_and_a_new_folder_arrive_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as partial:
        partial.write_bytes(b"new")
    with replacing(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "inside").write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_existing_destination_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(SaveError, match="overwrite=True"), replacing(tmp_path / "file") as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    with replacing(tmp_path / "file", overwrite=True) as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_keeps_the_old_one(tmp_path: Path, kind: str) -> None:
    destination = tmp_path / "model"
    if kind == "file":
        destination.write_bytes(b"old")
    else:
        destination.mkdir()
        (destination / "inside").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(destination, overwrite=True) as partial:
        partial.write_bytes(b"half")
        _ = 1 / 0
    kept = destination if kind == "file" else destination / "inside"
    assert kept.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_a_save_error(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="old state"), replacing(tmp_path / "file") as partial:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_parent_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="does not exist"), replacing(tmp_path / "absent" / "file"):
        pass


_WRITER = """
import sys
from pathlib import Path
from workbench.files import replacing
destination = Path(sys.argv[1])
for turn in range(10_000):
    with replacing(destination, overwrite=True) as partial:
        partial.mkdir()
        for name in ("a", "b"):
            (partial / name).write_bytes(str(turn).encode() * 1000)
    print(turn, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="names of folders cannot be exchanged in one step there")
def test_a_killed_writer_leaves_a_whole_folder(tmp_path: Path) -> None:
    destination = tmp_path / "model"
    for delay in (0.0, 0.003, 0.007, 0.011, 0.017):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(destination)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert (destination / "a").read_bytes() == (destination / "b").read_bytes()


def test_everything_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, rename, fsync = set(), os.replace, os.fsync

    def noted(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def renamed(new: Path, old: Path) -> None:
        parts = [new, *new.rglob("*")]
        assert len(parts) == 24
        assert {part.stat().st_ino for part in parts} <= flushed
        rename(new, old)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", renamed)
    with replacing(tmp_path / "model") as partial:
        (partial / "inner" / "most").mkdir(parents=True)
        for number in range(20):
            (partial / ("inner" if number % 2 else "inner/most") / f"{number}.dat").write_bytes(b"w")
        (partial / "graph.nnef").write_bytes(b"g")
    assert tmp_path.stat().st_ino in flushed


@pytest.mark.skipif(sys.platform != "linux", reason="the others have no such call")
def test_much_that_was_written_is_on_its_way_to_the_disk_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    monkeypatch.setattr(files, "_sync_file_range", lambda: lambda *given: begun.append(given[1:3]))
    monkeypatch.setattr(files, "_EARLY", 100)
    with (tmp_path / "file").open("wb") as target:
        place = 0
        for _ in range(5):
            target.write(b"w" * 60)
            place = begin_flush(target, place)
    assert begun == [(0, 120), (120, 120)]
    assert begin_flush(io.BytesIO(b"w" * 300), 0) == 0
