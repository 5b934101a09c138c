"""Writers that are killed, interrupted, out of space or without permission; what they write, byte for byte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from workbench.files import PARTIAL, digest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")

FORMS = ("onnx", "nnef folder", "nnef archive", "package", "package archive")


@pytest.mark.parametrize("form", FORMS)
def test_a_writer_that_is_ended_leaves_the_old_one_or_the_new_one(form: str) -> None:
    from tests.hostile.soak import trials

    ends = list(trials(form, 30))
    assert {"SIGKILL", "SIGTERM", "SIGINT", "file size"} == {how for how, _ in ends}
    assert [what for _, what in ends if what] == []


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_keeps_the_old_one(form: str) -> None:
    from tests.hostile.soak import full_disk

    assert full_disk(form) in ("", "no file system could be mounted")


@pytest.fixture
def model() -> wb.Model:
    return wb.load(wb.samples.digits())


def test_a_folder_without_permission_is_said(model: wb.Model, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    closed = Path("/proc") if os.geteuid() == 0 else tmp_path / "closed"  # root may write wherever files can be
    target = closed / "model.onnx"
    with pytest.raises(wb.SaveError, match="Nothing was written"):
        model.save(target)


def test_leftovers_of_a_dead_writer_are_removed_and_those_of_a_living_one_are_not(
    model: wb.Model, tmp_path: Path
) -> None:
    code = (
        "import sys, workbench.files as files\nfrom pathlib import Path\n"
        "with files.replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half'); print('ready', flush=True); sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "other")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdin is not None
    writer.stdout.readline()
    model.save(tmp_path / "a.onnx")
    assert len(list(tmp_path.glob(f"{PARTIAL}*"))) == 1, "another process is writing there"
    writer.kill()
    writer.wait()
    writer.stdout.close()
    writer.stdin.close()
    model.save(tmp_path / "b.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("name", ["model.mlpackage", "model.nnef"])
@pytest.mark.parametrize("holds", ["nothing of a model", "something beside a model", "a link"])
def test_a_folder_that_is_no_model_is_never_replaced(model: wb.Model, tmp_path: Path, name: str, holds: str) -> None:
    target = tmp_path / name
    shape = {"shapes": {"image": (1, 1, 8, 8)}}
    converted = model.convert("coreml" if name.endswith(".mlpackage") else "nnef", **shape)
    if holds == "nothing of a model":
        target.mkdir()
    else:
        converted.save(target)
        converted.save(target, overwrite=True)
    if holds == "a link":
        (target / "mine").symlink_to(tmp_path)
    else:
        (target / "thesis.txt").write_text("years of work")
    with pytest.raises(wb.SaveError, match="not replaced"):
        converted.save(target, overwrite=True)
    assert (target / ("mine" if holds == "a link" else "thesis.txt")).exists()


_WRITE = """
import sys, workbench as wb
model = wb.load(wb.samples.digits())
for target, name in (("onnx", "a.onnx"), ("nnef", "a.nnef"), ("nnef", "a.nnef.tgz"), ("coreml", "a.mlpackage"),
                     ("coreml", "a.mlpackage.zip")):
    model.convert(target, shapes={"image": (1, 1, 8, 8)}).save(f"{sys.argv[1]}/{name}")
"""


def test_what_is_written_is_the_same_in_every_process(tmp_path: Path) -> None:
    written = []
    for seed in ("0", "1", "4242"):
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(folder)], check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        written.append({path.name: digest(path) for path in sorted(folder.iterdir())})
    assert len(written[0]) == 5
    assert written[0] == written[1] == written[2]
    assert hashlib.sha256(b"").hexdigest() not in written[0].values()
