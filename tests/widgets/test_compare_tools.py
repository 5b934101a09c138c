"""What the Compare step offers beside its views: signature, noise floor, what-if, repro, recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.widgets.test_workbench import hidden, idle, settled, texts
from workbench import Workbench, samples
from workbench.errors import OptionError, WorkbenchError
from workbench.session import Session
from workbench.widgets import Compare

SHAPES = {"image": (1, 1, 8, 8)}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """The sample with the weights of its second convolution a twentieth too large."""
    model = onnx.load(samples.digits())
    node = next(node for node in model.graph.node if node.name == "conv2")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.05), weight.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    return tmp_path / "faulty.onnx"


def compared(target: Path) -> tuple[Workbench, Compare]:
    """A workbench in which the sample is compared with a file, as a user does it."""
    shown = Workbench(samples.digits())
    step = shown.go("compare").steps["compare"]
    assert isinstance(step, Compare)
    assert hidden(step.recordings.widget)
    step.more.value = True
    assert not hidden(step.recordings.widget)
    step.recordings.fields["target"].value = str(target)
    step.button.click()
    settled(lambda: shown.session.report is not None)
    return shown, step


def place(step: Compare, layer: str) -> int:
    return [row[0] for row in step.table.all_rows].index(layer)


def test_the_culprit_comes_with_its_signature_evidence_and_what_to_check(faulty: Path) -> None:
    shown, step = compared(faulty)
    facts = dict(next(block for block in step.verdict.blocks if block["kind"] == "facts")["rows"])
    assert facts["looks like"].startswith("gain")
    assert facts["evidence"]
    assert "scale of the weight" in facts["check"]
    step.table.selected = place(step, "conv2")
    settled(lambda: step.about.blocks)
    assert "gain" in texts(step.about)
    assert f"report = wb.compare(model, {str(faulty)!r}, mode='both')" in shown.session.code()


def test_a_layer_without_a_signature_gets_one_when_it_is_chosen(faulty: Path) -> None:
    import dataclasses

    _, step = compared(faulty)
    found = step.session.report
    assert found is not None
    bare = tuple(dataclasses.replace(row, signature=None) for row in found.rows)
    step.session._state = dataclasses.replace(step.session.state, report=dataclasses.replace(found, rows=bare))
    step.refresh()
    assert "gain" not in texts(step.verdict)
    step.select("conv2")
    assert "gain" in texts(step.about)


def test_marked_layers_are_corrected(faulty: Path) -> None:
    shown, step = compared(faulty)
    whatif = step.whatif
    assert whatif.correct.disabled
    step.table.marked = [place(step, "relu1")]
    assert whatif.correct.description == "What if the 1 marked were right?"
    whatif.correct.click()
    settled(lambda: shown.session.state.counterfactual is not None)
    assert "Correcting 1 layer (relu1) is not enough." in texts(whatif.outcome)
    step.table.marked = [place(step, "conv2")]
    whatif.correct.click()
    settled(lambda: shown.session.state.asked.get("layers") == ["conv2"])
    assert "Correcting 1 layer (conv2) makes all outputs ok." in texts(whatif.outcome)
    assert "print(report.counterfactual(layers=['conv2']))" in shown.session.code()
    assert hidden(whatif.keep)  # nothing is in float16
    assert shown.session.history[-1].outcome == "all outputs ok"


def test_the_fewest_layers_are_found_and_marked(faulty: Path) -> None:
    shown, step = compared(faulty)
    step.whatif.smallest.click()
    settled(lambda: shown.session.state.counterfactual is not None)
    assert step.table.marked == [place(step, "conv2")]
    assert "print(report.smallest_correction())" in shown.session.code()


def test_a_repro_of_the_chosen_layer_is_written_and_its_place_shown(faulty: Path, tmp_path: Path) -> None:
    shown, step = compared(faulty)
    assert step.whatif.repro.disabled
    step.table.selected = place(step, "conv2")
    assert step.whatif.folder.value == "repro-conv2"
    step.whatif.folder.value = str(tmp_path / "shown")
    step.whatif.repro.click()
    settled(lambda: shown.session.state.repro is not None)
    assert (tmp_path / "shown" / "show_difference.py").is_file()
    assert str(tmp_path / "shown") in texts(step.whatif.written)
    assert f"report.repro('conv2', {str(tmp_path / 'shown')!r})" in shown.session.code()
    step.whatif.repro.click()
    settled(lambda: shown.session.state.failure is not None)
    assert "exists" in texts(shown.status.message)


def test_outputs_that_are_ok_need_no_correction() -> None:
    shown = Workbench(samples.digits())
    shown.convert("nnef", shapes=SHAPES).compare().smallest_correction()
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    assert "nothing has to be corrected" in texts(step.whatif.outcome)


def test_what_a_comparison_showed_goes_with_it(faulty: Path) -> None:
    shown, step = compared(faulty)
    shown.counterfactual(["conv2"])
    shown.compare(target=str(faulty))
    assert shown.session.state.counterfactual is None
    assert not step.whatif.outcome.blocks
    with pytest.raises(WorkbenchError, match="there is no report yet"):
        shown.convert("onnx").smallest_correction()


def test_the_code_runs(faulty: Path, tmp_path: Path) -> None:
    shown, _ = compared(faulty)
    shown.record(tmp_path / "a.npz", side="source")
    shown.counterfactual(["conv2"])
    shown.repro("conv2", tmp_path / "shown")
    code = shown.session.code().replace("a.npz", "b.npz").replace("shown", "again")
    exec(compile(code, "code", "exec"), {})
    assert (tmp_path / "b.npz").exists()
    assert (tmp_path / "again").is_dir()


def test_what_float16_explains_stands_in_table_and_profile() -> None:
    shown = Workbench(samples.digits())
    shown.convert("coreml", precision="fp16", shapes=SHAPES).compare()
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    assert step.table.columns[-1]["title"] == "over fp16, dB"
    row = step.table.all_rows[place(step, "conv2")]
    found = shown.session.report
    assert found is not None
    assert row[-1] == found.row("conv2").db_above_noise
    assert step.profile.data["expected"]["isolated"][place(step, "conv2")] > 0
    shown.select("conv2")
    assert "float16 explains" in texts(step.details)
    shown.convert("nnef", shapes=SHAPES).compare()
    assert step.table.columns[-1]["title"] == "max abs"
    assert set(step.profile.data["expected"]["isolated"]) == {None}


def test_layers_that_matter_are_kept_in_float32() -> None:
    shown = Workbench(samples.digits())
    shown.convert("coreml", precision="fp16", shapes=SHAPES).compare(tolerance=1e-4)
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    step.whatif.smallest.click()
    settled(lambda: shown.session.state.counterfactual is not None)
    answer = shown.session.state.counterfactual
    assert answer is not None
    assert answer.ok
    assert not hidden(step.whatif.keep)
    step.whatif.keep.click()
    settled(lambda: shown.session.state.converted_with.get("precision") == "mixed")
    idle(shown)
    assert shown.session.state.converted_with["keep_fp32"] == list(answer.layers)
    assert shown.session.state.converted_with["shapes"] == SHAPES


def test_a_recording_is_made_and_takes_a_side(tmp_path: Path) -> None:
    shown = Workbench(samples.digits())
    shown.convert("nnef", shapes=SHAPES)
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    panel = step.recordings
    panel.button.click()
    assert "Say in the field before the button" in texts(panel.outcome)
    panel.side.value, panel.path.value = "source", str(tmp_path / "made.npz")
    np.savez(tmp_path / "feeds.npz", image=np.ones((1, 1, 8, 8), np.float32))
    panel.fields["feeds"].value = str(tmp_path / "feeds.npz")
    panel.button.click()
    settled(lambda: shown.session.state.recorded is not None)
    assert "made.npz" in texts(panel.outcome)
    assert f"wb.record(model, {str(tmp_path / 'made.npz')!r}, feeds=" in shown.session.code()
    panel.fields["feeds"].value = ""
    panel.fields["reference"].value = str(tmp_path / "made.npz")
    panel.fields["tolerance"].value = "1e-3"
    step.button.click()
    settled(lambda: shown.session.report is not None)
    assert shown.session.report is not None
    assert shown.session.report.ok
    assert shown.session.report.feeds == "those of the recording"
    assert "wb.compare('" in shown.session.code()
    assert "tolerance=0.001" in shown.session.code()
    panel.fields["tolerance"].value = "much"
    step.button.click()
    assert "is no number" in texts(step.verdict)


def test_a_cancelled_recording_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(samples.digits())

    def written(model: object, path: Path, **arguments: Any) -> Path:
        path.write_bytes(b"all of it")
        session.cancel()
        return path

    monkeypatch.setattr(sys.modules["workbench.compare"], "record", written)
    with pytest.raises(WorkbenchError, match="cancelled"):
        session.record(tmp_path / "made.npz", side="source")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OptionError, match="source, converted"):
        session.record(tmp_path / "made.npz", side="left")
    with pytest.raises(OptionError, match="not a dict"):
        session.compare(target={})
