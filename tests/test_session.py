"""The session: state, code, threads, cancellation. With a fake model; the real ones come in the other tests."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hostile.corpus.archive_files import nameless
from tests.widgets.fakes import FakeModel
from workbench import Range, load, samples
from workbench.errors import Cancelled, ConversionError, LimitError, ModelError, SaveError, WorkbenchError
from workbench.session import Session, Task, Upload, upload


def make(model: FakeModel | None = None, **report: Any) -> Session:
    model = model or FakeModel()
    shown = SimpleNamespace(**{"ok": True, "to_html": lambda path: Path(path).write_text("report"), **report})
    return Session(load=lambda source: model, compare=lambda a, b, **arguments: shown)  # type: ignore[arg-type,return-value]


def walk(session: Session, folder: Path) -> Path:
    session.open("nets/tiny.onnx")
    session.plan("coreml", precision="fp16")
    session.convert()
    session.compare(mode="both")
    return session.export(folder / "tiny.mlpackage")


def test_every_step_leaves_its_value(tmp_path: Path) -> None:
    session = make()
    written = walk(session, tmp_path)
    state = session.state
    assert state.origin is not None
    assert state.origin.name == "tiny.onnx"
    assert (state.converted_to, dict(state.converted_with)) == ("coreml", {"precision": "fp16"})
    assert state.exported == written == tmp_path / "tiny.mlpackage"
    assert state.reached() == "export"
    assert [attempt.step for attempt in session.history] == ["open", "plan", "convert", "compare", "export"]
    assert all(attempt.ok for attempt in session.history)


def test_code_repeats_the_path(tmp_path: Path) -> None:
    session = make()
    walk(session, tmp_path)
    session.export_report(tmp_path / "report.html")
    written = session.code()
    assert written.splitlines()[0] == "import workbench as wb"
    assert "model = wb.load('nets/tiny.onnx')" in written
    assert "plan = model.plan('coreml', precision='fp16')" in written
    assert "converted = model.convert('coreml', precision='fp16')" in written
    assert "report = wb.compare(model, converted, mode='both')" in written
    assert f"converted.save({str(tmp_path / 'tiny.mlpackage')!r})" in written
    assert f"report.to_html({str(tmp_path / 'report.html')!r})" in written
    compile(written, "shown", "exec")


def test_code_runs_and_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make()
    walk(session, tmp_path)
    fake = SimpleNamespace(load=lambda path: FakeModel(), compare=lambda *models, **arguments: "the report")
    monkeypatch.setitem(__import__("sys").modules, "workbench", fake)
    (tmp_path / "tiny.mlpackage").unlink()
    exec(session.code(), {})
    assert (tmp_path / "tiny.mlpackage").read_text() == "coreml"


def test_a_path_with_quotes_stays_data() -> None:
    session = make()
    session.open('it\'s "here"\n.onnx')
    tree = compile(session.code(), "shown", "exec")
    assert 'it\'s "here"\n.onnx' in tree.co_consts


def test_code_for_a_live_object_and_for_an_upload() -> None:
    session = Session(load=lambda source, **options: FakeModel(), compare=lambda *a, **b: None)  # type: ignore[arg-type,return-value]
    session.open(object(), example_inputs=(1,))
    assert "model = wb.load(source, example_inputs=example_inputs)" in session.code()
    session.open(Path("somewhere/temporary/upload.onnx"), name="mine.onnx", uploaded=True)
    assert "model = wb.load('mine.onnx')" in session.code()
    assert "temporary" not in session.code()


def test_a_model_that_is_open_already_is_known_by_its_file() -> None:
    import workbench as wb

    session = Session(wb.load(wb.samples.digits()))
    assert f"wb.load({str(wb.samples.digits())!r})" in session.code()


def test_errors_are_raised_and_held() -> None:
    session = make(FakeModel(refuse=(1, 3)))
    session.open("tiny.onnx")
    with pytest.raises(ConversionError):
        session.convert("nnef")
    failure = session.state.failure
    assert failure is not None
    assert (failure.step, failure.kind, failure.expected) == ("convert", "ConversionError", True)
    assert len(failure.items) == 2
    assert failure.message == "onnx model 'tiny' cannot be converted: 2 layers refused"
    assert session.history[-1].ok is False
    session.plan("nnef")
    assert session.state.failure is None


def test_a_defect_is_told_from_a_refusal() -> None:
    session = Session(load=lambda source: 1 / 0, compare=lambda *a, **b: None)  # type: ignore[arg-type,return-value]
    task = session.start("open", source="x.onnx")
    assert task.wait(5)
    failure = session.state.failure
    assert failure is not None
    assert not failure.expected
    assert "defect" in failure.message
    assert "ZeroDivisionError" in failure.trace


def test_a_failed_open_keeps_what_was_there() -> None:
    models = iter([FakeModel(), ModelError("damaged")])

    def load(source: object) -> Any:
        found = next(models)
        if isinstance(found, Exception):
            raise found
        return found

    session = Session(load=load, compare=lambda *a, **b: None)  # type: ignore[arg-type,return-value]
    first = session.open("good.onnx")
    with pytest.raises(ModelError):
        session.open("bad.onnx")
    assert session.model is first


@pytest.mark.parametrize("step", ["plan", "convert", "compare", "export"])
def test_a_step_before_its_time_says_what_is_missing(step: str) -> None:
    arguments = {"plan": ["nnef"], "export": ["x"]}
    with pytest.raises(WorkbenchError, match="first"):
        getattr(make(), step)(*arguments.get(step, []))


def test_unknown_step() -> None:
    with pytest.raises(WorkbenchError, match="no step 'konvert'"):
        make().start("konvert")


@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
def test_cancel_answers_at_once_and_drops_the_result(deaf: bool) -> None:
    gate = threading.Event()
    session = make(FakeModel(gate=gate, deaf=deaf))
    session.open("tiny.onnx")
    task = session.start("convert", to="coreml")
    deadline = time.monotonic() + 5
    while task.stage != "lowering" and time.monotonic() < deadline:
        time.sleep(0.005)
    began = time.monotonic()
    assert session.cancel()
    with pytest.raises(Cancelled):
        task.result(timeout=1)
    assert time.monotonic() - began < 0.5
    assert not session.busy
    assert session.state.failure is not None
    assert session.state.failure.cancelled
    gate.set()
    session.plan("nnef")  # waits until the abandoned worker has ended
    assert session.converted is None
    assert session.state.target == "nnef"


def test_the_newest_wins() -> None:
    gate = threading.Event()
    session = make(FakeModel(gate=gate, deaf=True))
    session.open("tiny.onnx")
    first = session.start("convert", to="coreml")
    second = session.start("convert", to="nnef")
    assert first.done
    assert first.cancelled
    gate.set()
    assert second.result(timeout=5).format == "nnef"
    assert session.state.converted_to == "nnef"


def test_cancel_with_nothing_running() -> None:
    assert make().cancel() is False


def test_listeners_hear_of_progress_and_can_leave() -> None:
    session = make()
    heard: list[str] = []
    leave = session.subscribe(lambda: heard.append(session.task.stage if session.task else "idle"))
    session.open("tiny.onnx")
    assert heard == ["", "reading", "idle"]
    leave()
    session.plan("nnef")
    assert len(heard) == 3


def test_converting_anew_forgets_what_hung_on_the_old(tmp_path: Path) -> None:
    session = make()
    walk(session, tmp_path)
    session.convert("nnef")
    state = session.state
    assert (state.report, state.exported, state.plan) == (None, None, None)
    assert state.converted_to == "nnef"


def test_export_keeps_an_existing_file(tmp_path: Path) -> None:
    session = make()
    walk(session, tmp_path)
    with pytest.raises(SaveError):
        session.export(tmp_path / "tiny.mlpackage")
    session.export(tmp_path / "tiny.mlpackage", overwrite=True)
    assert "overwrite=True" in session.code()


def test_repr_has_no_address(tmp_path: Path) -> None:
    session = make()
    assert repr(session) == "Session(empty)"
    walk(session, tmp_path)
    assert repr(session) == "Session('tiny.onnx', export)"


def test_the_package_compare_does_not_hide_the_function() -> None:
    code = "import workbench.compare.run, workbench as wb; assert callable(wb.compare), wb.compare"
    subprocess.run([sys.executable, "-c", code], check=True)


# Uploads


def test_upload_in_pieces() -> None:
    data = bytes(range(256)) * 10
    received = Upload("C:\\nets\\my <net>.onnx", len(data))
    assert received.name == "my _net_.onnx"
    assert not received.add(0, data[:1000])
    assert received.add(1000, memoryview(data[1000:]))
    path = received.finish()
    assert path.read_bytes() == data
    received.discard()
    assert not path.exists()


@pytest.mark.parametrize("offset", [0, 5, 20], ids=["again", "gap", "beyond"])
def test_upload_out_of_order(offset: int) -> None:
    received = Upload("a.onnx", 10)
    received.add(0, b"1234")
    with pytest.raises(ModelError, match="lost its order"):
        received.add(offset, b"1234567")
    with pytest.raises(ModelError, match="only 4 of 10"):
        received.finish()


@pytest.mark.parametrize("size", [0, -1, upload.MAX_BYTES + 1])
def test_upload_of_impossible_size(size: int) -> None:
    with pytest.raises(ModelError, match="by its path"):
        Upload("a.onnx", size)


def zipped(*entries: tuple[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name, content in entries:
            package.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = 0o120777 << 16
            package.writestr(entry, "/etc/hostname")
    return buffer.getvalue()


def uploaded(name: str, data: bytes) -> Upload:
    received = Upload(name, len(data))
    received.add(0, data)
    return received


def test_a_zip_with_one_folder_is_that_folder() -> None:
    data = zipped(
        ("net.mlpackage/Manifest.json", b"{}"), ("net.mlpackage/Data/model.mlmodel", b"x"), ("__MACOSX/a", b"")
    )
    received = uploaded("net.mlpackage.zip", data)
    path = received.finish()
    assert path.name == "net.mlpackage"
    assert (path / "Data" / "model.mlmodel").read_bytes() == b"x"


def test_a_zip_of_the_contents_gets_the_archives_name() -> None:
    received = uploaded("net.mlpackage.zip", zipped(("Manifest.json", b"{}"), ("Data/model.mlmodel", b"x")))
    assert received.finish().name == "net.mlpackage"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil"])
def test_a_zip_cannot_write_outside(name: str) -> None:
    with pytest.raises(ModelError, match="outside"):
        uploaded("a.zip", zipped((name, b"x"))).finish()


def test_a_zip_with_a_member_without_a_name_is_refused() -> None:
    with pytest.raises(ModelError, match="outside"):
        uploaded("a.zip", nameless(zipped(("?", b"x")))).finish()


def test_a_zip_with_a_link_is_refused() -> None:
    with pytest.raises(ModelError, match="outside"):
        uploaded("a.zip", zipped(link="inside")).finish()


def test_a_zip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from workbench import limits

    monkeypatch.setattr(limits, "current", dataclasses.replace(limits.current, archive_bytes=1000))
    with pytest.raises(LimitError, match="archive_bytes"):
        uploaded("a.zip", zipped(("big", b"0" * 2000))).finish()


def test_a_broken_zip_is_a_typed_error() -> None:
    data = bytearray(zipped(("a", b"hello world")))
    data[35] ^= 0xFF
    with pytest.raises(ModelError, match="cannot be unpacked"):
        uploaded("a.zip", bytes(data)).finish()


def test_the_operating_system_of_core_ml_is_an_option_beside_the_target() -> None:
    """``target`` is the name of an option of Core ML, so no method may claim it for itself."""
    session = Session(samples.digits())
    shapes = {"image": (1, 1, 8, 8)}
    assert session.plan("coreml", target="iOS16", shapes=shapes).ok
    session.convert()
    assert session.state.options == {"target": "iOS16", "shapes": shapes}
    session.start("convert", to="coreml", target="iOS18", shapes=shapes).wait()
    assert session.state.failure is None
    assert "target='iOS18'" in session.code()


def test_layers_that_a_function_chooses_are_written_down_by_name() -> None:
    session = Session(samples.digits())
    options: dict[str, Any] = {"shapes": {"image": (1, 1, 8, 8)}, "precision": "mixed"}
    chosen = [layer.name for layer in load(samples.digits()).layers if layer.operator.startswith("Gemm")]
    assert session.plan("coreml", **options, keep_fp32=lambda layer: layer.operator.startswith("Gemm")).ok
    session.convert()
    assert chosen
    assert session.state.converted_with == {**options, "keep_fp32": chosen}
    assert f"keep_fp32={chosen!r}" in session.code()


def test_ranges_are_written_down_as_they_are_called() -> None:
    session = Session(samples.digits())
    assert session.plan("coreml", shapes={"image": (Range(1, 4, default=2), 1, 8, 8)}).ok
    assert "shapes={'image': (wb.Range(1, 4, default=2), 1, 8, 8)}" in session.code()


def test_the_time_left_is_that_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("workbench.session.task.time.monotonic", lambda: now[0])
    task = Task("compare", lambda: None)
    task.progress("matching", 0.0)
    now[0] += 50
    task.progress("matching", 1.0)
    assert task.seconds_left == 0
    task.progress("comparing", 0.1)
    assert task.seconds_left is None  # nothing is known of this stage yet
    now[0] += 3
    task.progress("comparing", 0.25)
    assert task.seconds_left == 9
