"""Recordings: a model's tensors in a file that stands for it on either side of a comparison."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.digits import SHAPES, faulty
from tests.compare.support import build, chain, source
from workbench.compare import Report, record
from workbench.errors import ConversionError, ExecutionError, ModelError, OptionError, SaveError, WorkbenchError
from workbench.hub import Emitter
from workbench.model import Model
from workbench.npz import read_npy
from workbench.recorded import MANIFEST, RecordedDocument

FEEDS = [{"image": np.random.default_rng(seed).random((1, 1, 8, 8), dtype=np.float32) * 16} for seed in range(3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Digits, conversions of it with a fault, and a recording of each on three samples."""
    folder = tmp_path_factory.mktemp("recordings")
    found = {"digits": wb.load(wb.samples.digits())}
    for target in ("nnef", "coreml"):
        found[target] = faulty().convert(target, shapes=SHAPES)
    for name in list(found):
        found[f"{name}, recorded"] = wb.load(wb.record(found[name], folder / f"{name}.recording", FEEDS))
    return found


def figures(report: Report) -> list[tuple[str, str, Any]]:
    """Rows, verdicts and errors; the recorded outputs are of the model as it runs, optimised."""
    return [
        (row.tensor, row.status, row.accumulated and pytest.approx(row.accumulated.relative_l2, rel=1e-4, abs=1e-6))
        for row in report.rows
    ]


def errors(report: Report) -> list[tuple[str, str, float | None]]:
    return [(row.tensor, row.status, row.accumulated and row.accumulated.relative_l2) for row in report.rows]


@pytest.mark.parametrize("target", ["nnef", "coreml"])
@pytest.mark.parametrize("which", ["reference", "target", "both"])
def test_a_recording_stands_for_either_model(which: str, target: str, models: dict[str, Model]) -> None:
    plain = wb.compare(models["digits"], models[target], FEEDS, mode="accumulated")
    reference = models["digits" if which == "target" else "digits, recorded"]
    other = models[target if which == "reference" else f"{target}, recorded"]
    report = wb.compare(reference, other)
    assert errors(report) == figures(plain), "the same rows, verdicts and figures"
    assert report.samples == 3
    assert report.feeds == "those of the recording"
    assert report.relation == plain.relation
    assert [row.operator for row in report.rows] == [row.operator for row in plain.rows]
    expected = "Core ML, translated to onnxruntime" if target == "coreml" else "NNEF, translated to onnxruntime"
    assert report.executors[1] == (expected if which == "reference" else f"{expected}, recorded")


def test_a_recorded_reference_isolates_the_culprit(models: dict[str, Model]) -> None:
    report = wb.compare(models["digits, recorded"], models["coreml"])
    assert [row.layer for row in report.rows if row.blame == "own"] == ["dense1"]
    x, y = report.tensors(report.row("dense1"), mode="isolated")
    assert x.shape == y.shape


def test_a_recorded_target_cannot_be_fed(models: dict[str, Model]) -> None:
    report = wb.compare(models["digits"], models["coreml, recorded"])
    assert report.mode == "accumulated"
    assert all(row.isolated is None for row in report.rows)
    with pytest.raises(OptionError, match="its layers cannot be fed"):
        wb.compare(models["digits"], models["coreml, recorded"], mode="isolated")


def test_what_needs_layers_that_compute_is_refused(models: dict[str, Model], tmp_path: Path) -> None:
    """Else a recorded tensor would be taken for a layer that was computed anew."""
    target = wb.compare(models["digits"], models["coreml, recorded"])
    reference = wb.compare(models["digits, recorded"], models["coreml"])
    assert reference.counterfactual("dense1", fed=True).ok, "this needs the reference's tensors only"
    for report, side in ((target, "target"), (reference, "reference")):
        with pytest.raises(WorkbenchError, match=f"the {side} '.*' is a recording"):
            report.counterfactual("dense1")
        with pytest.raises(WorkbenchError, match="a repro needs the model itself"):
            report.repro("dense1", tmp_path / "repro")
    with pytest.raises(WorkbenchError, match="is a recording"):
        target.tensors(target.row("dense1"), mode="isolated")
    assert target.first_bad is not None
    assert target.to_html(tmp_path / "r.html").is_file()
    assert target.to_model_explorer(tmp_path / "explorer").is_dir()


def test_a_recording_says_what_it_is(models: dict[str, Model]) -> None:
    recorded = models["coreml, recorded"]
    original = models["coreml"]
    assert recorded.format == "coreml"
    assert recorded.inputs == original.inputs
    assert recorded.outputs == original.outputs
    assert [layer.name for layer in recorded.layers] == [layer.name for layer in original.layers]
    assert recorded.provenance == original.provenance


def test_only_recorded_feeds_can_be_run(models: dict[str, Model]) -> None:
    recorded = models["digits, recorded"]
    for sample in FEEDS:
        expected = models["digits"].run(sample)
        np.testing.assert_array_equal(recorded.run(sample)["probabilities"], expected["probabilities"])
    tapped = recorded.run(FEEDS[1], taps=["dense1"])
    np.testing.assert_allclose(tapped["dense1"], models["digits"].run(FEEDS[1], taps=["dense1"])["dense1"], rtol=1e-5)
    with pytest.raises(ExecutionError, match="a recording of 3 samples, and these feeds are none of them"):
        recorded.run({"image": np.zeros((1, 1, 8, 8), np.float32)})
    subset = wb.compare(recorded, models["nnef"], FEEDS[2])
    assert subset.samples == 1


def test_a_recording_is_saved_but_not_converted(models: dict[str, Model], tmp_path: Path) -> None:
    recorded = models["digits, recorded"]
    path = recorded.save(tmp_path / "copy.recording")
    again = wb.load(path)
    np.testing.assert_array_equal(again.run(FEEDS[0])["probabilities"], recorded.run(FEEDS[0])["probabilities"])
    with pytest.raises(ConversionError, match="convert the model that was recorded"):
        recorded.convert("nnef")
    assert not recorded.plan("coreml").ok


def test_random_feeds_layers_and_replacing(tmp_path: Path) -> None:
    model = source(chain(3))
    path = record(model, tmp_path / "r", seed=5, layers=["tanh_1"])
    recorded = wb.load(path)
    assert isinstance(recorded.document, RecordedDocument)
    assert [tensor.spec.name for tensor in recorded.document.tensors] == ["t_1", "t_2"]
    assert wb.compare(recorded, model).count("ok") == 2
    with pytest.raises(SaveError, match="exists"):
        record(model, path)
    before = path.read_bytes()
    record(model, path, seed=5, layers=["tanh_1"], overwrite=True)
    assert path.read_bytes() == before, "the same every time"
    with pytest.raises(OptionError, match="no layer 'tanh_9'"):
        record(model, tmp_path / "s", layers=["tanh_9"])
    with pytest.raises(OptionError, match="no sample"):
        record(model, tmp_path / "s", [])
    assert [item.name for item in tmp_path.iterdir()] == ["r"]


def test_every_kind_of_tensor_is_kept_or_left_out(tmp_path: Path) -> None:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input("x", "float32", ["n"])
        outputs = []
        for name, operator, more in (("half", "Cast", {"to": 10}), ("less", "Less", {}), ("count", "Size", {})):
            with emitter.layer([name]):
                inputs = [x, emitter.const(0.0)] if operator == "Less" else [x]
                outputs.append(emitter.rename(emitter.op(operator, *inputs, **more), name))
        with emitter.layer(["chance"]):
            emitter.rename(emitter.op("RandomNormalLike", x), "chance")
        return outputs

    model = source(build(emit))
    recorded = wb.load(record(model, tmp_path / "r", {"x": np.asarray([1.0, -2.0], np.float32)}))
    assert isinstance(recorded.document, RecordedDocument)
    kinds = {tensor.spec.name: tensor.spec.describe() for tensor in recorded.document.tensors}
    assert kinds == {"half": "float16[2]", "less": "bool[2]", "count": "int64[]"}
    assert wb.compare(recorded, model).ok
    assert wb.compare(model, recorded).ok
    with pytest.raises(OptionError, match="samples of several sizes need a recording each"):
        record(model, tmp_path / "s", [{"x": np.zeros(2, np.float32)}, {"x": np.zeros(3, np.float32)}])


# -- files that lie -----------------------------------------------------------------------------------------------


def changed(path: Path, destination: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(destination, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return destination


def manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[MANIFEST] = json.dumps({**json.loads(members[MANIFEST]), **changes}).encode()

    return change


def npy(shape: tuple[int, ...], dtype: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + content


DAMAGES: list[tuple[str, Callable[[dict[str, bytes]], None]]] = [
    ("version", manifest(version=9)),
    ("no samples", manifest(samples=[])),
    ("inputs", manifest(inputs=[["x"]])),
    ("layers", manifest(layers=3)),
    ("no JSON", lambda members: members.update({MANIFEST: b"[" * 10000})),
    ("open size", manifest(tensors=[{"spec": ["t_0", "float32", ["n"]], "layers": [], "operators": [], "place": 0}])),
    ("output missing", manifest(tensors=[])),
    ("tensor missing", lambda members: members.pop("tensors/0/0.npy")),
    ("another shape", lambda members: members.update({"tensors/0/0.npy": npy((1,), "<f4", b"abcd")})),
    ("a huge shape", lambda members: members.update({"tensors/0/0.npy": npy((1 << 40,), "<f4", b"abcd")})),
    ("objects", lambda members: members.update({"tensors/0/0.npy": npy((1,), "|O", b"abcdefgh")})),
    ("feeds missing", lambda members: members.pop("feeds/0/0.npy")),
    ("feeds damaged", lambda members: members.update({"feeds/0/0.npy": b"\x93NUMPY"})),
]


@pytest.mark.parametrize(("name", "change"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_damaged_recordings_are_refused(name: str, change: Callable[[dict[str, bytes]], None], tmp_path: Path) -> None:
    model = source(chain(1))
    path = changed(record(model, tmp_path / "good"), tmp_path / "bad", change)
    with pytest.raises(ModelError):
        wb.compare(wb.load(path), model)


@pytest.mark.parametrize("size", [-4, True])
def test_a_recording_of_no_size_is_refused_when_it_is_opened(size: int, tmp_path: Path) -> None:
    path = changed(
        record(source(chain(1)), tmp_path / "good"), tmp_path / "bad", manifest(inputs=[["x", "float32", [1, size]]])
    )
    with pytest.raises(ModelError, match="'x' is of a negative size, or of one that is no number"):
        wb.load(path)


def test_arrays_are_read_as_numpy_writes_them() -> None:
    for array in (np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.float16(2), np.zeros((0, 2), bool)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        size = buffer.tell()
        buffer.seek(0)
        found = read_npy(buffer, size, "it")
        assert found.dtype == array.dtype
        assert found.shape == np.shape(array)
        np.testing.assert_array_equal(found, array)
