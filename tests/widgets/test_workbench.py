"""The five steps: by clicks and by methods, with a model that takes no time; and once with a real one."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.widgets.fakes import FakeModel, FakeReport
from tests.widgets.test_content import HOSTILE
from workbench import Range, samples
from workbench.errors import ConversionError, OptionError, WorkbenchError
from workbench.session import Session
from workbench.widgets import Compare, Convert, Export, Import, Inspect, Workbench
from workbench.widgets.export_step import default_stem
from workbench.widgets.import_step import suggestions

WORKERS = tuple(f"workbench-{work}" for work in ("open", "plan", "convert", "compare", "export", "save", "tensors"))


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def settled(condition: Callable[[], object]) -> None:
    """Wait for another thread, and until all of them have drawn what they did."""
    until(condition)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith(WORKERS)])


def make(model: FakeModel | None = None, failing: tuple[int, ...] = ()) -> Workbench:
    model = model or FakeModel()
    report = FakeReport(model, failing)
    session = Session(load=lambda source: model, compare=lambda a, b, **arguments: report)  # type: ignore[arg-type,return-value]
    return Workbench(session=session)


def converting(model: FakeModel) -> tuple[Workbench, Convert]:
    """A workbench on the model, and its step to convert it in."""
    shown = make(model)
    shown.open("x.onnx")
    step = shown.steps["convert"]
    assert isinstance(step, Convert)
    return shown, step


def idle(shown: Workbench) -> None:
    settled(lambda: not shown.session.busy)


def hidden(widget: Any) -> bool:
    return widget.layout.display == "none"


def texts(content: Any) -> str:
    return content.static_html()


def click_through(shown: Workbench, path: Path) -> None:
    """All five steps as a user does them: traits that change, buttons that are clicked."""
    steps = shown.steps
    source, convert, compare, export = steps["import"], steps["convert"], steps["compare"], steps["export"]
    assert isinstance(source, Import)
    assert isinstance(convert, Convert)
    assert isinstance(compare, Compare)
    assert isinstance(export, Export)
    source.path.value = "nets/tiny.onnx"
    source.button.click()
    settled(lambda: shown.bar.current == "inspect")
    shown.bar.current = "convert"
    convert.target.value = "coreml"
    settled(lambda: not convert.button.disabled)
    convert.button.click()
    settled(lambda: not shown.next_button.disabled)
    shown.next_button.click()
    assert shown.bar.current == "compare"
    compare.button.click()
    settled(lambda: shown.bar.steps[3][2] == "done")
    shown.next_button.click()
    export.path.value = str(path)
    export.button.click()
    settled(lambda: shown.bar.steps[4][2] == "done")


def test_by_clicks(tmp_path: Path) -> None:
    shown = make()
    click_through(shown, tmp_path / "tiny.mlpackage")
    assert (tmp_path / "tiny.mlpackage").read_text() == "coreml"
    assert shown.session.state.failure is None
    assert [step[2] for step in shown.bar.steps] == ["done"] * 5
    assert "tiny.mlpackage" in texts(shown.steps["export"])


def test_by_methods(tmp_path: Path) -> None:
    shown = make()
    shown.open("nets/tiny.onnx")
    assert shown.bar.current == "inspect"
    assert shown.plan("coreml", precision="fp16").ok
    shown.convert().compare(mode="both").select("layer_3")
    assert shown.bar.current == "compare"
    path = shown.export(tmp_path / "tiny.mlpackage")
    assert path.exists()
    assert "precision='fp16'" in shown.show_code()
    assert shown.code_view.blocks[0]["text"] == shown.session.code()
    tried = shown.tried.table.all_rows
    assert [row[0] for row in tried] == ["open", "plan", "convert", "compare", "export"]
    assert tried[1][1:] == ["to='coreml', precision='fp16'", "5 layers: 5 exact", "ok"]
    assert repr(shown) == "Workbench('tiny.onnx', export)"


def test_clicks_and_methods_write_the_same_code(tmp_path: Path) -> None:
    clicked, called = make(), make()
    click_through(clicked, tmp_path / "a.mlpackage")
    called.open("nets/tiny.onnx").plan("coreml")
    called.convert().compare(mode="both").export(tmp_path / "b.mlpackage")
    assert clicked.session.code().replace("a.mlpackage", "b.mlpackage") == called.session.code()


def test_steps_open_as_their_turn_comes() -> None:
    shown = make()
    assert [step[2] for step in shown.bar.steps] == ["open", "locked", "locked", "locked", "locked"]
    shown.bar.current = "export"
    shown.refresh()
    assert shown.bar.current == "import"
    shown.open("x.onnx")
    assert [step[2] for step in shown.bar.steps] == ["done", "done", "open", "open", "locked"]
    shown.go("convert")
    assert shown.next_button.disabled  # Compare is open for a recording in the place of the converted model
    shown.convert("nnef")
    assert [step[2] for step in shown.bar.steps] == ["done", "done", "done", "open", "open"]


def test_only_the_current_step_is_shown() -> None:
    shown = make().open("x.onnx")
    for name in ("import", "inspect", "convert"):
        shown.go(name)
        assert [hidden(shown.steps[other].widget) for other in shown.steps] == [other != name for other in shown.steps]


# What goes wrong is shown, and raised where Python called


def test_a_source_that_cannot_be_read_is_shown_not_raised(tmp_path: Path) -> None:
    shown = Workbench(tmp_path / "missing.onnx")
    assert "no such file" in texts(shown.status.message)
    assert shown.status.message.blocks[0]["kind"] == "alert"
    assert shown.bar.steps[0][2] == "failed"
    assert "no such file" in shown._repr_mimebundle_()[0]["text/html"]


def test_a_method_raises_and_the_widget_shows_it() -> None:
    shown = make(FakeModel(refuse=(1, 2)))
    shown.open("x.onnx")
    with pytest.raises(ConversionError):
        shown.convert("nnef")
    alert = shown.status.message.blocks[0]
    assert alert["title"] == "ConversionError"
    assert len(alert["items"]) == 2
    assert "leave it out" in alert["items"][0]
    shown.plan("nnef")
    assert not shown.status.message.blocks


def test_a_refused_plan_names_causes_and_keeps_the_button_off() -> None:
    shown, convert = converting(FakeModel(refuse=(1, 2)))
    shown.plan("nnef")
    assert convert.target.value == "nnef"
    assert convert.button.disabled
    assert convert.table.all_rows[0] == ["layer_1", "Relu-14", "refused", "no such operator; leave it out"]
    assert [item[0] for item in convert.verdict.blocks[0]["items"]] == ["3 exact", "2 refused"]
    assert len(convert.verdict.blocks[1]["items"]) == 2
    convert.table.selected = 1
    assert "layer_2" in texts(convert.chosen)
    assert "leave it out" in texts(convert.chosen)


def test_an_unknown_argument_is_refused_with_advice() -> None:
    with pytest.raises(OptionError, match="Did you mean 'source'"):
        Workbench(sorce="x.onnx")
    with pytest.raises(OptionError, match=r"\.convert"):
        Workbench(precision="fp16")


def test_an_unknown_layer_or_step_is_refused_with_advice() -> None:
    shown = make().open("x.onnx")
    with pytest.raises(OptionError, match="Did you mean 'layer_1'"):
        shown.select("layer-1")
    with pytest.raises(OptionError, match="number 5"):
        shown.select(5)
    with pytest.raises(OptionError, match="no step 'fly'"):
        shown.go("fly")


def test_a_defect_in_a_view_is_seen_in_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = make()
    monkeypatch.setattr(shown, "_draw_next", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shown.refresh()
    assert "ZeroDivisionError" in texts(shown.status.message)


# Cancelling


def test_cancel_is_answered_at_once() -> None:
    gate = threading.Event()
    shown, convert = converting(FakeModel(gate=gate, deaf=True))
    convert.target.value = "coreml"
    until(lambda: not convert.button.disabled)
    assert hidden(shown.status.running)
    convert.button.click()
    until(lambda: shown.session.task is not None and shown.session.task.stage == "lowering")
    assert not hidden(shown.status.running)
    assert "lowering" in shown.status.progress.blocks[0]["text"]
    assert convert.button.disabled
    began = time.monotonic()
    shown.status.cancel_button.click()
    assert time.monotonic() - began < 1
    assert hidden(shown.status.running)
    assert not convert.button.disabled
    assert "Cancelled" in texts(shown.status.message)
    gate.set()
    shown.plan("coreml")  # comes after the abandoned work
    assert shown.session.converted is None


# Import


def send(step: Import, name: str, data: bytes) -> None:
    step.upload._handle_custom_msg({"type": "begin", "name": name, "size": len(data)}, [])
    step.upload._handle_custom_msg({"type": "piece", "offset": 0}, [memoryview(data)])


def test_enter_opens_the_typed_path() -> None:
    shown = make()
    source = shown.steps["import"]
    assert isinstance(source, Import)
    source.path.value = "x.on"  # the browser holds the last letters back until these have been taken
    source.path._handle_custom_msg({"event": "submit", "value": "x.onnx"}, [])
    settled(lambda: shown.session.model is not None)
    assert shown.session.state.origin is not None
    assert shown.session.state.origin.value == "x.onnx"


def test_leaving_the_field_brings_what_it_shows_before_a_click_does() -> None:
    shown = make()
    source = shown.steps["import"]
    assert isinstance(source, Import)
    source.path.value = "x.on"
    source.path._handle_custom_msg({"event": "change", "value": "x.onnx"}, [])
    source.button.click()
    settled(lambda: shown.session.model is not None)
    assert shown.session.state.origin is not None
    assert shown.session.state.origin.value == "x.onnx"


def test_completion_offers_models_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.onnx", "b.ONNX", "notes.txt", ".hidden.onnx"):
        (tmp_path / name).touch()
    (tmp_path / "nets" / "deep.mlpackage").mkdir(parents=True)
    suffixes = (".onnx", ".mlpackage")
    monkeypatch.chdir(tmp_path)
    assert suggestions("", suffixes) == ["a.onnx", "b.ONNX", "nets/"]
    assert suggestions("B", suffixes) == ["b.ONNX"]
    assert suggestions("nets/", suffixes) == ["nets/deep.mlpackage"]
    assert suggestions(f"{tmp_path}/a", suffixes) == [f"{tmp_path.as_posix()}/a.onnx"]
    assert suggestions("no/such/folder/", suffixes) == []
    assert suggestions("\0", suffixes) == []
    source = Import(Session())
    source.path.value = "nets/"
    assert source.path.options == ("nets/deep.mlpackage",)


def with_upload() -> tuple[Workbench, Import]:
    """A workbench whose model came through the browser, and its first step."""
    shown = Workbench()
    source = shown.steps["import"]
    assert isinstance(source, Import)
    send(source, "mine.onnx", samples.digits().read_bytes())
    settled(lambda: shown.session.model is not None)
    return shown, source


def test_an_upload_is_opened_and_its_code_names_the_file() -> None:
    shown, source = with_upload()
    assert "model = wb.load('mine.onnx')" in shown.session.code()
    assert "uploaded" in texts(source)
    assert dict(shown.session.history[0].arguments) == {"source": "mine.onnx", "uploaded": True}


def test_an_upload_that_is_no_model_is_told_by_the_name_the_user_knows() -> None:
    shown = Workbench()
    source = shown.steps["import"]
    assert isinstance(source, Import)
    send(source, "notes.onnx", b"hello")
    settled(lambda: shown.session.state.failure is not None)
    assert "notes.onnx" in texts(shown.status.message)
    assert "workbench-upload" not in texts(shown.status.message)


def test_a_failed_upload_leaves_the_open_one_in_place() -> None:
    shown, source = with_upload()
    send(source, "notes.onnx", b"hello")
    settled(lambda: shown.session.state.failure is not None)
    assert shown.session.state.origin is not None
    assert shown.session.state.origin.value.exists()
    assert source._uploads == {}
    assert shown.plan("onnx").ok


def test_an_upload_lives_as_long_as_the_model_made_of_it() -> None:
    shown, source = with_upload()
    settled(lambda: source._uploads == {})
    kept, path = shown.session.model, shown.session.state.origin.value
    shown.open(samples.digits())
    gc.collect()
    assert path.exists()
    assert kept.plan("onnx").ok
    del kept
    gc.collect()
    assert not path.exists()


def test_a_broken_archive_is_told_where_it_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[Any] = []
    source = Import(Session())
    monkeypatch.setattr(source.upload, "send", lambda content, buffers=None: messages.append(content))
    data = b"PK\x05\x06" + bytes(10)
    send(source, "a.zip", data)
    idle_session = source.session
    settled(lambda: not idle_session.busy)
    assert idle_session.model is None
    assert idle_session.state.failure is not None or "cannot" in messages[-1]["text"]


# Convert


def test_options_and_shapes_reach_the_conversion() -> None:
    shown, convert = converting(FakeModel(dynamic=True))
    convert.target.value = "coreml"
    assert convert.shapes["x"].widget.value == "1, 8"
    idle(shown)
    convert.options["precision"].control.widget.value = "fp16"
    idle(shown)
    convert.shapes["x"].widget.value = "4, 8"
    idle(shown)
    convert.button.click()
    settled(lambda: shown.session.converted is not None)
    assert dict(shown.session.state.converted_with) == {"precision": "fp16", "shapes": {"x": (4, 8)}}


@pytest.mark.parametrize(
    ("typed", "shape"),
    [("1..8, 8", (Range(1, 8), 8)), ("1..8:2,8", (Range(1, 8, 2), 8)), ("1, 8 | 3, 8", [(1, 8), (3, 8)])],
)
def test_ranges_and_several_shapes_are_typed_where_sizes_are(typed: str, shape: object) -> None:
    shown, convert = converting(FakeModel(dynamic=True))
    convert.target.value = "coreml"
    idle(shown)
    convert.shapes["x"].widget.value = typed
    assert convert.chosen_options() == {"shapes": {"x": shape}}


@pytest.mark.parametrize(
    "typed", ["4", "4, 9", "a, 8", "-1, 8", "", "99999999999999, 8", "1.5, 8", "1..0, 8", "1, 8|2"]
)
def test_a_shape_that_does_not_fit_is_refused_in_place(typed: str) -> None:
    shown, convert = converting(FakeModel(dynamic=True))
    convert.target.value = "coreml"
    idle(shown)
    convert.shapes["x"].widget.value = typed
    assert convert.button.disabled
    assert "does not fit" in texts(convert.verdict)


def test_controls_follow_a_plan_from_python() -> None:
    shown = make(FakeModel(dynamic=True))
    shown.open("x.onnx")
    shown.plan("coreml", precision="fp16", shapes={"x": (2, 8)})
    convert = shown.steps["convert"]
    assert isinstance(convert, Convert)
    assert convert.target.value == "coreml"
    assert convert.options["precision"].control.widget.value == "fp16"
    assert convert.shapes["x"].widget.value == "2, 8"
    assert len(shown.session.history) == 2  # the controls that followed did not plan again


def test_onnx_needs_no_shapes_and_takes_them() -> None:
    shown, convert = converting(FakeModel(dynamic=True))
    convert.target.value = "onnx"
    idle(shown)
    assert convert.chosen_options() == {}
    convert.shapes["x"].widget.value = "3, 8"
    assert convert.chosen_options() == {"shapes": {"x": (3, 8)}}


def test_the_dialect_of_nnef_is_offered_and_with_it_sizes_stay_open() -> None:
    shown, convert = converting(FakeModel(dynamic=True))
    convert.target.value = "nnef"
    idle(shown)
    assert [value for _, value in convert.options["dialect"].control.widget.options] == ["khronos", "tract"]
    assert not hidden(convert._shape_row)
    assert convert.chosen_options() == {"shapes": {"x": (1, 8)}}
    convert.options["dialect"].control.widget.value = "tract"
    idle(shown)
    assert convert.shapes["x"].widget.value == ""
    assert convert.chosen_options() == {"dialect": "tract"}


# Compare


def compared(failing: tuple[int, ...] = (3,)) -> tuple[Workbench, Compare]:
    shown = make(FakeModel(count=12), failing)
    shown.open("x.onnx").convert("nnef").compare()
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    return shown, step


def test_a_report_fills_the_views() -> None:
    _, step = compared()
    assert [item[0] for item in step.verdict.blocks[0]["items"]] == ["11 ok", "1 failing"]
    assert "layer_3" in texts(step.verdict)
    assert step.table.total == len(step.profile.data["names"]) == 12
    assert step.profile.data["failing"].index(True) == 3
    assert step.profile.data["limits"]["isolated"] == [2e-5] * 12


@pytest.mark.parametrize("view", ["profile", "table"])
def test_one_selection_for_all_views(view: str) -> None:
    _, step = compared()
    getattr(step, view).selected = 5
    assert step.profile.selected == step.table.selected == step.selected == 5
    settled(lambda: step.tensors.figures)
    assert "layer_5" in texts(step.about)
    assert "Elements that differ most" in texts(step.details)


def test_select_by_name_shows_the_tensors_at_once() -> None:
    shown, step = compared()
    shown.select("layer_4")
    assert step.selected == 4
    assert set(step.tensors.figures) == {"distributions", "density", "difference", "heatmap", "channels"}
    shown.select(None)
    assert step.tensors.figures == {}


def test_fast_selections_show_the_last_one() -> None:
    _, step = compared()
    for index in range(12):
        step.profile.selected = index
    settled(lambda: "layer_11" in texts(step.about))
    assert step.selected == 11


def test_a_row_without_tensors_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, step = compared()

    def none(*given: object, **named: object) -> None:
        raise WorkbenchError("it has no counterpart.")

    assert shown.session.report is not None
    monkeypatch.setattr(shown.session.report, "tensors", none)
    shown.select(2)
    assert "it has no counterpart." in texts(step.details)
    assert step.tensors.figures == {}


def test_compare_asks_for_a_conversion_only_until_there_is_one() -> None:
    shown = make()
    shown.open("x.onnx")
    compare = shown.steps["compare"]
    assert isinstance(compare, Compare)
    assert "Convert the model first" in compare.verdict.blocks[0]["text"]
    shown.convert("onnx")
    assert compare.verdict.blocks[0]["text"] == "Not compared yet."


def test_converting_anew_clears_the_comparison() -> None:
    shown, step = compared()
    shown.select(2)
    shown.convert("coreml")
    assert step.table.total == 0
    assert step.tensors.figures == {}
    assert hidden(step._results)


# Export


def test_export_proposes_a_name_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = make().open("nets/tiny.onnx").convert("nnef")
    export = shown.steps["export"]
    assert isinstance(export, Export)
    assert export.path.value == "tiny.nnef"
    export.form.value = ".nnef.tgz"
    assert export.path.value == "tiny.nnef.tgz"
    export.button.click()
    settled(lambda: shown.session.state.exported is not None)
    export.button.click()
    settled(lambda: shown.session.state.failure is not None)
    assert "exists" in texts(shown.status.message)
    export.overwrite.value = True
    export.button.click()
    settled(lambda: shown.session.state.failure is None and not shown.session.busy)
    assert "overwrite=True" in shown.session.code()


def test_the_report_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown, _ = compared()
    export = shown.steps["export"]
    assert isinstance(export, Export)
    export.report_button.click()
    settled(lambda: shown.session.state.report_file is not None)
    assert (tmp_path / "x-nnef-report.html").exists()


@pytest.mark.parametrize(
    ("name", "stem"),
    [("nmp.onnx", "nmp"), ("a/b/net.nnef.tgz", "net"), ("<b>x</b>", "b_"), ("..", "model"), ("", "model")],
)
def test_default_names_are_harmless(name: str, stem: str) -> None:
    assert default_stem(name) == stem


# Without a browser, and with hostile names


def test_hostile_names_are_text_everywhere() -> None:
    shown = make(FakeModel(layer_name=HOSTILE, name=HOSTILE), failing=(1,))
    shown.open("x.onnx").convert("nnef").compare().select(1)
    page = shown._repr_mimebundle_()[0]["text/html"]
    assert "<img" not in page
    assert "&lt;img" in page


def test_no_widget_that_renders_markup_is_used() -> None:
    import ipywidgets

    shown, _ = compared()
    ours = {*_descendants(shown.widget)}
    assert not [widget for widget in ours if isinstance(widget, ipywidgets.HTML | ipywidgets.HTMLMath)]


def _descendants(widget: Any) -> list[Any]:
    children = getattr(widget, "children", ())
    return [widget, *(found for child in children for found in _descendants(child))]


def test_the_static_page_is_the_same_every_time(tmp_path: Path) -> None:
    def page() -> str:
        shown = make(failing=(1,))
        shown.open("x.onnx").plan("nnef")
        shown.convert().compare()
        return str(shown._repr_mimebundle_()[0]["text/html"])

    assert page() == page()
    assert "layer_1" in page()


@pytest.mark.parametrize("panel", [Import, Inspect, Convert, Compare, Export])
def test_each_step_stands_alone(panel: Any) -> None:
    shown = panel()
    assert repr(shown) == f"{panel.__name__}(empty)"
    bundle, _ = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_shipped_network_from_end_to_end(tmp_path: Path) -> None:
    shown = Workbench(samples.digits())
    assert shown.bar.current == "inspect"
    shown.plan("coreml", shapes={"image": (1, 1, 8, 8)})
    shown.convert().compare(mode="both").select("conv2")
    step = shown.steps["compare"]
    assert isinstance(step, Compare)
    assert step.tensors.figures["distributions"]["reference"]
    written = shown.export(tmp_path / "digits.mlpackage")
    assert (written / "Manifest.json").exists()
    code = shown.session.code()
    (tmp_path / "digits.mlpackage").rename(tmp_path / "first.mlpackage")
    exec(code, {})
    assert (tmp_path / "digits.mlpackage" / "Manifest.json").exists()


@pytest.mark.parametrize("kind", [Import, Inspect, Convert, Compare, Export])
def test_a_step_by_itself_shows_work_and_errors_and_can_cancel(kind: Any) -> None:
    gate = threading.Event()
    model = FakeModel(gate=gate)
    session = Session(load=lambda source: model, compare=lambda a, b, **arguments: FakeReport(model))  # type: ignore[arg-type,return-value]
    step = kind(session)
    assert "text/html" in step._repr_mimebundle_()[0]
    session.open("x.onnx")
    task = session.start("convert", to="coreml")
    until(lambda: task.stage == "lowering")
    assert not hidden(step.status.running)
    assert "lowering" in step.status.progress.blocks[0]["text"]
    step.status.cancel_button.click()
    assert hidden(step.status.running)
    assert "Cancelled" in texts(step.status)
    gate.set()
    with pytest.raises(WorkbenchError):
        session.compare()
    assert "there is no converted model yet" in texts(step.status)
