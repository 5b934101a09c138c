"""A model without a notebook: its document, and the notebooks that the menus and commands write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

import workbench as wb
from tests.browser.labpage import LabPage
from tests.browser.models import write_relu
from tests.browser.test_extension import HOSTILE, argument
from workbench import samples

SUFFIXES = {"onnx": ".onnx", "nnef": ".nnef", "coreml": ".mlpackage"}


def write_model(folder: Path, form: str) -> str:
    """The small trained network in one of the three formats; the name of the file or folder."""
    model = wb.load(samples.digits()).convert(form, shapes={"image": (1, 1, 8, 8)})
    return model.save(folder / f"digits{SUFFIXES[form]}").name


def by_double_click(lab: LabPage, name: str) -> None:
    lab.row(name).dblclick()


def by_menu(lab: LabPage, name: str) -> None:
    lab.context_menu(name)
    lab.choose("Inspect Model")


@pytest.mark.parametrize(
    ("form", "open_it"),
    [("onnx", by_double_click), ("coreml", by_menu), ("nnef", by_menu)],
    ids=["file", "package", "folder"],
)
def test_a_model_opens_as_a_document(
    lab: LabPage, folder: Path, form: str, open_it: Callable[[LabPage, str], None]
) -> None:
    """Summary, layers and graph; the choice of a layer goes to the kernel and comes back to all views."""
    name = write_model(folder, form)
    lab.open(folder.name)
    fetched: list[str] = []
    lab.page.on("request", lambda request: fetched.append(request.url))
    open_it(lab, name)
    document = lab.page.locator(".exchange-workbench-inspector")
    line = document.locator(".wb-body .wb-line").nth(1)
    line.click()
    layer = wb.load(folder / name).layers[1]
    expect(document.locator("dd", has_text=re.compile(f"^{re.escape(layer.name)}$"))).to_be_visible()
    expect(document.locator(".wb-graph canvas")).to_be_visible()
    document.locator(".wb-graph canvas").press("ArrowDown")
    expect(line).not_to_have_attribute("aria-selected", "true")
    lab.screenshot(f"document-{form}")
    read = re.compile(rf"/contents/{folder.name}/{name}(\?(?!.*\bcontent=0)|$)")
    contents = [url for url in fetched if read.search(url)]
    assert not contents, "the model itself must not come to the browser"


def test_a_file_that_is_no_model_says_so_in_its_document(lab: LabPage, folder: Path) -> None:
    (folder / "broken.onnx").write_bytes(b"no model")
    lab.open(folder.name)
    lab.row("broken.onnx").dblclick()
    alert = lab.page.locator(".exchange-workbench-inspector [role=alert]")
    alert.wait_for()
    assert "broken.onnx: no ONNX model" in alert.inner_text()


def test_a_document_ends_its_kernel_when_it_is_closed(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    lab.open(folder.name)
    lab.row("relu.onnx").dblclick()
    lab.page.locator(".exchange-workbench-inspector .wb-line").first.wait_for()
    running = "async () => { const { sessions } = window.jupyterapp.serviceManager; await sessions.refreshRunning();" \
        " return [...sessions.running()].length; }"  # fmt: skip
    assert lab.page.evaluate(running) == 1
    lab.command("application:close")
    lab.page.wait_for_function(f"async () => (await ({running})()) === 0")


def test_the_way_from_a_document_into_the_workbench(lab: LabPage, folder: Path) -> None:
    name = f"{HOSTILE[0]}.onnx"
    write_relu(folder / name)
    lab.open(folder.name)
    lab.row(name).dblclick()
    lab.page.locator(".exchange-workbench-inspector .wb-line").first.wait_for()
    lab.page.get_by_role("button", name="Open in Conversion Workbench").click()
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    assert argument(lab.cells()[0]["source"]) == name
    assert not (folder / "pwned").exists()


def test_convert_to_writes_the_notebook_that_converts_compares_and_saves(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    lab.open(folder.name)
    lab.context_menu("relu.onnx")
    lab.page.locator(".lm-Menu-item").filter(has_text="Convert to").hover()
    lab.page.locator(".lm-Menu-item").filter(has_text="Core ML").click()
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    lab.wait_until_run()
    sources = [cell["source"] for cell in lab.cells()]
    assert sources[2:] == [
        'converted = model.convert("coreml")\nconverted',
        "report = wb.compare(model, converted)\nreport",
        'converted.save("relu.mlpackage")',
    ]
    assert wb.compare(wb.load(folder / "relu.onnx"), wb.load(folder / "relu.mlpackage"))
    lab.screenshot("notebook-of-a-conversion")


def test_a_conversion_never_writes_over_its_source(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    before = (folder / "relu.onnx").read_bytes()
    lab.open(folder.name)
    lab.row("relu.onnx").click()
    lab.command("exchange-workbench:convert", target="onnx")
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    lab.wait_until_run()
    assert lab.cells()[-1]["source"] == 'converted.save("relu-converted.onnx")'
    assert (folder / "relu.onnx").read_bytes() == before


def test_two_selected_models_are_compared(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "a.onnx")
    write_relu(folder / "b.onnx")
    lab.open(folder.name)
    lab.row("a.onnx").click()
    lab.row("b.onnx").click(modifiers=["ControlOrMeta"])
    lab.context_menu("b.onnx")
    lab.choose("Compare Models…")
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    lab.wait_until_run()
    cells = lab.cells()
    assert 'reference = wb.load("a.onnx")\ntarget = wb.load("b.onnx")' in cells[0]["source"]
    assert cells[1]["outputs"][0]["output_type"] == "execute_result"


def test_the_settings_reach_the_notebook(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    lab.open(folder.name)
    lab.page.evaluate(
        """async () => {
            const manager = window.jupyterapp.serviceManager.settings;
            await manager.save('exchange-workbench:models', '{"target": "nnef", "tolerance": 0.01}');
        }"""
    )
    lab.open(folder.name)
    lab.row("relu.onnx").click()
    lab.command("exchange-workbench:convert")
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    sources = [cell["source"] for cell in lab.cells()]
    assert sources[2] == 'converted = model.convert("nnef")\nconverted'
    assert sources[3] == "report = wb.compare(model, converted, tolerance=0.01)\nreport"
    lab.page.evaluate(
        "async () => { await window.jupyterapp.serviceManager.settings.save('exchange-workbench:models', '{}'); }"
    )
