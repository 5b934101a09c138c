"""A session that is saved and opened again, and steps that are gone back to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.widgets.fakes import FakeModel
from workbench import limits, samples
from workbench.errors import LimitError, ModelError, SaveError, WorkbenchError
from workbench.session import Session

SHAPES = {"image": (1, 1, 8, 8)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(samples.digits(), tmp_path / "digits.onnx"))


def walked(source: object, **comparison: Any) -> Session:
    session = Session(source)
    session.plan("coreml", shapes=SHAPES)
    session.convert("nnef", shapes=SHAPES)
    session.convert("coreml", shapes=SHAPES, precision="fp16", metadata={"author": "somebody"})
    session.compare(**comparison)
    return session


def test_a_saved_session_goes_on_where_it_was(model: Path, tmp_path: Path) -> None:
    session = walked(model)
    path = session.save(tmp_path / "mine.workbench")
    assert path.stat().st_size < 20_000, "the models are not in it"
    again = wb.Session.load(path)
    assert again.code() == session.code()
    assert again.converted is not None
    assert again.report is not None
    assert session.report is not None
    assert again.report.to_json() == session.report.to_json()
    assert [attempt.step for attempt in again.history][:4] == ["open", "plan", "convert", "convert"]
    again.export(tmp_path / "digits.mlpackage")


def test_both_files_may_move_together(model: Path, tmp_path: Path) -> None:
    Session(model).save(tmp_path / "mine.workbench")
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("digits.onnx", "mine.workbench"):
        shutil.move(tmp_path / name, other / name)
    assert Session.load(other / "mine.workbench").model is not None


def test_feeds_and_options_survive(model: Path, tmp_path: Path) -> None:
    feeds = {"image": np.full((1, 1, 8, 8), 0.5, np.float32)}
    session = Session(model)
    session.convert("coreml", shapes={"image": (wb.Range(1, 4), 1, 8, 8)}, images={})
    session.compare(feeds=feeds, mode="isolated")
    again = Session.load(session.save(tmp_path / "mine.workbench"))
    assert again.state.converted_with["shapes"]["image"][0] == wb.Range(1, 4)
    np.testing.assert_array_equal(again.state.compared_with["feeds"]["image"], feeds["image"])
    assert again.report is not None
    assert again.report.mode == "isolated"


def changed(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"\x00")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(Path.unlink, "is no longer at"), (changed, "has changed since")],
    ids=["gone", "changed"],
)
def test_a_model_that_is_not_what_it_was_is_refused_and_can_be_named(
    model: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = walked(model).save(tmp_path / "mine.workbench")
    spoil(model)
    with pytest.raises(ModelError, match=message):
        Session.load(path)
    assert Session.load(path, source=samples.digits()).report is not None


def test_a_live_model_is_handed_over_again(tmp_path: Path) -> None:
    live = wb.load(samples.digits()).convert("nnef", shapes=SHAPES)
    path = Session(live).save(tmp_path / "mine.workbench")
    with pytest.raises(ModelError, match="was a live object"):
        Session.load(path)
    assert Session.load(path, source=live).model is live


@pytest.mark.parametrize("content", [b"", b"no session", b"PK\x03\x04junk"], ids=["empty", "text", "torn"])
def test_what_is_no_session_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.workbench"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"mine\.workbench: no session that the workbench has saved"):
        Session.load(path)


def test_a_session_of_a_newer_workbench_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.workbench"
    with path.open("wb") as handle:
        np.savez(handle, session=np.array('{"kind": "workbench-session", "version": 99}'))
    with pytest.raises(ModelError, match="version 99; this workbench knows 1"):
        Session.load(path)


def test_a_failing_step_leaves_the_open_session_as_it_was(model: Path, tmp_path: Path) -> None:
    path = walked(model).save(tmp_path / "mine.workbench")
    session = Session(model)
    before = session.state
    changed(model)
    with pytest.raises(ModelError, match="has changed"):
        session.open(path)
    assert (session.state.model, session.state.converted) == (before.model, None)


def test_nothing_to_save_and_nothing_in_the_way(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="the session is empty"):
        Session().save(tmp_path / "mine.workbench")
    session = Session(model)
    path = session.save(tmp_path / "mine.workbench")
    with pytest.raises(SaveError, match="exists"):
        session.save(path)
    assert session.save(path, overwrite=True) == path


def test_going_back_takes_the_step_again(model: Path) -> None:
    session = walked(model)
    assert session.state.converted_to == "coreml"
    session.again(2)
    assert session.state.converted_to == "nnef"
    assert session.report is None, "it spoke of another conversion"
    session.again(3)
    assert dict(session.state.converted_with) == {
        "shapes": SHAPES, "precision": "fp16", "metadata": {"author": "somebody"},
    }  # fmt: skip


def test_going_back_to_what_was_not_kept_is_refused(model: Path) -> None:
    session = walked(model, feeds={"image": np.zeros((1, 1, 8, 8), np.float32)})
    with pytest.raises(WorkbenchError, match=r"entry 4 \(compare\) was given what the history does not keep"):
        session.again(4)
    with pytest.raises(WorkbenchError, match="no entry 99"):
        session.again(99)


def test_a_conversion_without_a_target_is_gone_back_to_as_it_was() -> None:
    session = Session(load=lambda source: FakeModel())  # type: ignore[arg-type,return-value]
    session.open("x.onnx")
    session.plan("coreml", precision="fp16")
    session.convert()
    session.convert("nnef")
    session.again(2)
    assert (session.state.converted_to, dict(session.state.converted_with)) == ("coreml", {"precision": "fp16"})


def rewritten(model: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A saved session with something else in its text."""
    walked(model).save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    content = json.loads(str(arrays.pop("session")))
    change(content)
    with path.open("wb") as handle:
        np.savez(handle, session=np.array(json.dumps(content)), **arrays)
    return path


def test_opening_a_session_writes_nothing_whatever_the_file_says(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious.onnx"
    target.write_text("precious")
    for step in ("export", "export_report", "save"):

        def change(content: dict[str, Any], step: str = step) -> None:
            content["steps"][step] = {"path": str(target), "overwrite": True}

        path = rewritten(model, tmp_path / f"{step}.workbench", change)
        with pytest.raises(ModelError, match=f"the step '{step}' taken; opening one takes plan, convert, compare only"):
            Session.load(path)
        assert target.read_text() == "precious"


FOREIGN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an argument that no step takes": (lambda said: said["steps"]["compare"].update(nonsense=1), "the step compare"),
    "an argument of ours": (lambda said: said["steps"]["convert"].update(task=1), "the step convert"),
    "an argument of opening": (lambda said: said["options"].update(task=1), "the step open"),
    "a target of another type": (lambda said: said["steps"]["convert"].update(to=[]), "the step convert"),
    "a list for the whole": (lambda said: said.update(steps=[1]), "no session that"),
    "a version in words": (lambda said: said.update(version="one"), "no session that"),
    "a history of numbers": (lambda said: said.update(history=[1]), "no session that"),
    "a value of another class": (lambda said: said.update(options={"$value": "load"}), "no session that"),
    "a range upside down": (
        lambda said: said.update(options={"$value": "Range", "lower": 9, "upper": 1}),
        "no session that",
    ),
    "a source that never ends": (lambda said: said.update(source="/dev/zero"), "a pipe or a device"),
    "the whole disk": (lambda said: said.update(source="/"), "of no format that is known"),
    "a name that no file has": (lambda said: said.update(source="n" * 5000), "no longer at"),
}


@pytest.mark.skipif(os.name == "nt", reason="the paths are those of other systems")
@pytest.mark.parametrize("what", FOREIGN)
def test_a_session_that_asks_for_what_no_session_has_is_refused(what: str, model: Path, tmp_path: Path) -> None:
    change, says = FOREIGN[what]
    with pytest.raises(WorkbenchError, match=says):
        Session.load(rewritten(model, tmp_path / "mine.workbench", change))


def test_a_session_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.workbench"
    with path.open("wb") as handle:
        np.savez_compressed(handle, session=np.array("{}"), array0=np.zeros(1 << 22, np.uint8))
    with limits.changed(archive_bytes=1 << 20), pytest.raises(LimitError, match="archive_bytes"):
        Session.load(path)
