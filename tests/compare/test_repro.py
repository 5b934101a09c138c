"""A row as a folder that shows its difference without the workbench."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import workbench as wb
from tests.compare.digits import SHAPES, compared, faulty
from tests.compare.support import build, chain, converted, same_names, source
from tests.real_models import onnx_model
from workbench.compare import Report, compare, load_report
from workbench.compare.repro.texts import _code, _plain
from workbench.errors import ExecutionError, OptionError, SaveError, WorkbenchError
from workbench.hub import Emitter
from workbench.npz import write_npz

COMMON = {"REPORT.md", "expected.npz", "reference.onnx", "reference_inputs.npz", "repro.json", "show_difference.py"}


def run_script(folder: Path) -> tuple[int, str]:
    """The script where nothing of the workbench can be imported."""
    guard = "import sys; sys.modules['workbench'] = None; sys.argv = [sys.argv[1]]; import runpy; "
    code = guard + "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(folder / "show_difference.py")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert "Traceback" not in run.stderr, run.stderr[-2000:]
    return run.returncode, run.stdout


@dataclass(frozen=True)
class Case:
    """A comparison, and what its repro of the layer has beside :data:`COMMON`."""

    name: str
    make: Callable[[], Report]
    files: set[str]
    layer: str = "dense1"
    shown: tuple[str, ...] = ()
    ok: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _neural_network() -> Report:
    """A Core ML network of the older form, whose layers cannot stand alone."""
    coremltools = pytest.importorskip("coremltools")
    features = [("x", coremltools.models.datatypes.Array(4))], [("y", coremltools.models.datatypes.Array(4))]
    models = []
    for factor in (1.0, 1.5):
        builder = coremltools.models.neural_network.NeuralNetworkBuilder(*features, disable_rank5_shape_mapping=True)
        weights = np.eye(4, dtype=np.float32) * factor
        builder.add_inner_product("dense1", weights, None, 4, 4, False, "x", "h")
        builder.add_activation("act", "RELU", "h", "y")
        models.append(wb.load(builder.spec))
    return wb.compare(*models)


CASES = [
    Case("onnx", lambda: compared("onnx"), {"target.onnx", "target_inputs.npz"}, shown=("onnxruntime",)),
    Case(
        "nnef",
        lambda: compared("nnef"),
        {"target.nnef", "target_translated.onnx", "target_inputs.npz"},
        shown=("target.nnef, run by nnef_tools", "target_translated.onnx"),
    ),
    Case(
        "coreml",
        lambda: compared("coreml"),
        {"target.mlpackage", "target_translated.onnx", "target_inputs.npz"},
        shown=("target_translated.onnx",),
    ),
    Case(
        "coreml in float16",
        lambda: compared("coreml", precision="fp16", layer="conv2"),
        {"target.mlpackage", "target_translated.onnx", "target_inputs.npz"},
        layer="conv2",
        shown=("target_translated.onnx",),
    ),
    Case("healthy", lambda: compared("onnx", factor=1.0), {"target.onnx", "target_inputs.npz"}, ok=True),
    Case(
        "older core ml",
        _neural_network,
        {"target_translated.onnx", "target_inputs.npz"},
        shown=("target_translated.onnx",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_script_shows_what_was_found(case: Case, tmp_path: Path) -> None:
    report = case.make()
    row = report.row(case.layer)
    assert (row.status == "ok") is case.ok, str(report)
    folder = report.repro(row, tmp_path / "repro")
    assert {path.name for path in folder.iterdir()} == COMMON | case.files
    code, text = run_script(folder)
    assert code == 0, text
    assert all(part in text for part in case.shown), text
    assert ("The difference is there." in text) is not case.ok
    facts = json.loads((folder / "repro.json").read_text(encoding="utf-8"))
    assert facts["expected"]["differs"] is not case.ok
    onnx.checker.check_model(onnx.load(folder / "reference.onnx"))
    assert len(onnx.load(folder / "reference.onnx").graph.node) <= 3, "the layer, not the model"


def test_the_expected_outputs_are_those_of_the_report(tmp_path: Path) -> None:
    report = compared("onnx")
    folder = report.repro("dense1", tmp_path / "repro")
    x, y = report.tensors(report.row("dense1"), mode="isolated")
    with np.load(folder / "expected.npz") as recorded:
        np.testing.assert_array_equal(recorded["reference"], x)
        np.testing.assert_array_equal(recorded["target"], y)
    with np.load(folder / "reference_inputs.npz") as feeds:
        session = onnxruntime.InferenceSession(str(folder / "reference.onnx"))
        found = session.run(None, {name: feeds[name] for name in feeds.files})[0]
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_the_text_has_command_figures_and_versions(tmp_path: Path) -> None:
    text = (compared("coreml").repro("dense1", tmp_path / "repro") / "REPORT.md").read_text(encoding="utf-8")
    for part in ("python show_difference.py", "best-fit gain | 1.09", "coremltools 9", "onnxruntime 1", "Python 3"):
        assert part in text
    assert str(tmp_path) not in text


def test_a_core_ml_part_is_read_by_coremltools_and_has_its_own_weights_only(tmp_path: Path) -> None:
    coremltools = pytest.importorskip("coremltools")
    folder = compared("coreml").repro("dense1", tmp_path / "repro")
    spec = coremltools.models.MLModel(str(folder / "target.mlpackage"), skip_model_load=True).get_spec()
    block = spec.mlProgram.functions["main"].block_specializations
    kinds = [operation.type for operation in next(iter(block.values())).operations]
    assert kinds == ["const", "const", "linear"]
    weights = next((folder / "target.mlpackage").rglob("weight.bin"))
    whole = faulty().convert("coreml", shapes=SHAPES).save(tmp_path / "whole.mlpackage")
    assert weights.stat().st_size < next(whole.rglob("weight.bin")).stat().st_size


def test_nothing_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    report = compared("onnx")
    (tmp_path / "there").mkdir()
    with pytest.raises(SaveError, match="exists"):
        report.repro("dense1", tmp_path / "there")
    with pytest.raises(SaveError, match="does not exist"):
        report.repro("dense1", tmp_path / "no" / "where")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_rows_that_cannot_be_shown_say_why(tmp_path: Path) -> None:
    reference = source(chain(2))
    report = compare(reference, converted(chain(2), reference, {"t_1": "t_1"}, folded=("dense_0",)))
    with pytest.raises(WorkbenchError, match="no counterpart to show a difference from: folded"):
        report.repro("dense_0", tmp_path / "repro")
    with pytest.raises(OptionError, match="Did you mean 'dense_0'"):
        report.repro("dense_00", tmp_path / "repro")
    with pytest.raises(OptionError, match="there is no row 99"):
        report.repro(99, tmp_path / "repro")
    again = load_report(report.save(tmp_path / "r.json"))
    with pytest.raises(WorkbenchError, match=r"report\.attach\(reference, target\)"):
        again.repro("tanh_1", tmp_path / "repro")


def test_a_report_from_a_file_gets_its_models_back(tmp_path: Path) -> None:
    reference = wb.load(wb.samples.digits())
    target = faulty().convert("nnef", shapes=SHAPES)
    report = wb.compare(reference, target)
    again = load_report(report.save(tmp_path / "r.json")).attach(reference, target)
    assert again == report
    code, text = run_script(again.repro("dense1", tmp_path / "repro"))
    assert code == 0, text
    with pytest.raises(OptionError, match="these are not the models of the report"):
        load_report(tmp_path / "r.json").attach(source(chain(1)), source(chain(1)))
    given = wb.compare(reference, target, {"image": np.zeros((1, 1, 8, 8), np.float32)})
    with pytest.raises(OptionError, match="pass the same feeds"):
        load_report(given.save(tmp_path / "given.json")).attach(reference, target)


def test_a_branch_is_shown_whatever_the_other_one_would_need(tmp_path: Path) -> None:
    """silero's If has a network for each sampling rate; the one that is not taken does not fit the sample's sizes."""
    model = wb.load(onnx_model("silero-vad").path.with_name("silero_vad.onnx"))
    samples = np.random.default_rng(0).random((1, 576), dtype=np.float32)
    feeds = {"input": samples, "state": np.zeros((2, 1, 128), np.float32), "sr": np.asarray(16000, np.int64)}
    report = compare(model, model.convert("onnx"), feeds)
    folder = report.repro("If_0", tmp_path / "if")
    code, text = run_script(folder)
    assert code == 0, text
    assert report.repro(report.outputs[0], tmp_path / "output").is_dir(), "reads what the If makes, whose type is open"
    found = report.counterfactual([row for row in report.rows if row.target_tensor])
    assert found.ok
    with pytest.raises(ExecutionError, match="The sample was made up"):
        compare(model, model)


def test_layouts_are_brought_together(tmp_path: Path) -> None:
    def turned(last: bool) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [1, 2, 3, 4])
            with emitter.layer(["turn"]):
                h = emitter.rename(emitter.op("Transpose", x, perm=[0, 2, 3, 1]) if last else emitter.op("Neg", x), "h")
            with emitter.layer(["scale"]):
                h = emitter.op("Neg", h) if last else h
                scaled = emitter.op("Mul", h, emitter.const(2.0 if last else 3.0))
                return [emitter.rename(scaled, "s")]

        return build(emit)

    reference = source(turned(False))
    target = converted(turned(True), reference, {"s": ("s", (0, 3, 1, 2))})
    report = compare(reference, target)
    folder = report.repro("scale", tmp_path / "repro")
    code, text = run_script(folder)
    assert code == 0, text
    assert "relative L2 error   3.333e-01" in text


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    evil = "`<script>`\n# ../../x'\""

    def make(factor: float) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("file", "float32", [3])
            with emitter.layer([evil]):
                return [emitter.rename(emitter.op("Mul", x, emitter.const(factor)), "../out")]

        return build(emit)

    reference = source(make(1.0))
    report = compare(reference, converted(make(2.0), reference, same_names(make(2.0))))
    folder = report.repro(0, tmp_path / "repro")
    assert run_script(folder)[0] == 0
    text = (folder / "REPORT.md").read_text(encoding="utf-8")
    assert "\n# ../../x" not in text
    assert list(tmp_path.iterdir()) == [folder]


def test_texts_with_names_in_them_are_no_markup() -> None:
    assert _plain("a |`*b*`<i>[c](d)\\\n# e\x1b") == r"a \|\`\*b\*\`\<i\>\[c\](d)\\ # e\\x1b"
    assert _code("a`b``c \u202e") == "```a`b``c \\u202e```"
    assert _code("`") == "`` ` ``"


def test_the_text_says_what_to_install_and_what_it_looks_like(tmp_path: Path) -> None:
    report = compared("nnef")
    bare = replace(report.row("dense1"), signature=None)
    text = (report.repro(bare, tmp_path / "repro") / "REPORT.md").read_text(encoding="utf-8")
    assert "    pip install numpy onnxruntime nnef nnef_tools torch\n    python show_difference.py" in text
    assert "- it looks like: gain: the weight is multiplied by the factor 1.1" in text
    assert "- evidence: in Gemm" in text


def test_any_name_can_be_a_member_of_an_archive(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.float32(2), "ü": np.zeros((0, 2), bool)}
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", arrays)
    with np.load(tmp_path / "a.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {k: v.tolist() for k, v in arrays.items()}
        assert found["a/b:0"].shape == ()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
