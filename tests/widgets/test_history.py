"""What was tried, the way back to it, and sessions that are saved by a click."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench as wb
from tests.widgets.test_workbench import hidden, idle, make, texts
from workbench import samples
from workbench.widgets import Export, Import, Workbench
from workbench.widgets.import_step import suggestions

SHAPES = {"image": (1, 1, 8, 8)}


def test_the_history_is_shown_with_the_code() -> None:
    shown = make()
    assert hidden(shown.tried.widget)
    shown.open("nets/tiny.onnx").convert("coreml", precision="fp16")
    shown.show_code()
    assert not hidden(shown.tried.widget)
    assert [row[:2] for row in shown.tried.table.all_rows] == [
        ["open", "source='nets/tiny.onnx'"],
        ["convert", "to='coreml', precision='fp16'"],
    ]


def test_a_click_takes_the_chosen_step_again() -> None:
    shown = make()
    shown.open("nets/tiny.onnx").convert("coreml", precision="fp16").convert("nnef")
    assert shown.tried.button.disabled
    shown.tried.table.selected = 1
    assert not shown.tried.button.disabled
    shown.tried.button.click()
    idle(shown)
    state = shown.session.state
    assert (state.converted_to, dict(state.converted_with)) == ("coreml", {"precision": "fp16"})


def test_what_the_history_did_not_keep_cannot_be_taken_again() -> None:
    shown = make()
    shown.open(object())
    shown.tried.table.selected = 0
    assert shown.tried.button.disabled


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    shown = Workbench(samples.digits())
    shown.convert("nnef", shapes=SHAPES).go("export")
    step = shown.steps["export"]
    assert isinstance(step, Export)
    assert step.session_path.value == "digits-nnef.workbench"
    step.session_path.value = str(tmp_path / "mine.workbench")
    step.session_button.click()
    idle(shown)
    assert "mine.workbench; open it like a model" in texts(step.written)
    return tmp_path / "mine.workbench"


def test_a_saved_session_is_opened_like_a_model(saved: Path) -> None:
    shown = Workbench(str(saved))
    assert shown.session.state.converted_to == "nnef"
    assert str(saved) in suggestions(f"{saved.parent}/mi", (".workbench",))
    other = Workbench()
    step = other.steps["import"]
    assert isinstance(step, Import)
    step.path.value = str(saved)
    step.button.click()
    idle(other)
    assert other.session.state.converted_to == "nnef"


def test_a_session_that_cannot_be_opened_says_why_in_place(saved: Path) -> None:
    saved.write_bytes(b"torn")
    shown = Workbench(str(saved))
    assert "no session that the workbench has saved" in texts(shown.status.message)
    assert shown.session.model is None


def test_the_session_of_the_workbench_is_that_of_python(saved: Path) -> None:
    assert wb.Session.load(saved).code() == Workbench(str(saved)).session.code()
