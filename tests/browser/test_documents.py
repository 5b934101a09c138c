"""A model without a notebook: its document, and the notebooks that the menus and commands write."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import expect

import workbench as wb
from tests.browser.labpage import LabPage
from tests.browser.models import write_chain, write_relu
from tests.browser.test_extension import HOSTILE, argument
from tests.browser.widgetpage import LONG, expect_done, the_widget
from tests.formats.coreml.networks import network_of
from workbench import samples

SHAPES = {"image": (1, 1, 8, 8)}


def write_models(folder: Path) -> list[str]:
    """The small trained network in every form that a file browser shows, by name."""
    model = wb.load(samples.digits())
    nnef = model.convert("nnef", shapes=SHAPES)
    coreml = model.convert("coreml", shapes=SHAPES)
    saved = [
        model.save(folder / "digits.onnx"),
        nnef.save(folder / "digits.nnef"),
        nnef.save(folder / "digits.nnef.tgz"),
        coreml.save(folder / "digits.mlpackage"),
    ]
    x = np.ones((1, 3), np.float32)
    spec = network_of(
        lambda net: [net.add_activation(kind, kind, *ends) for kind, *ends in (("RELU", "x", "h"), ("TANH", "h", "y"))],
        {"x": x},
    )
    (folder / "older.mlmodel").write_bytes(spec.SerializeToString())
    return [path.name for path in saved] + ["older.mlmodel"]


def test_a_double_click_opens_each_kind_of_model_as_a_document(lab: LabPage, folder: Path) -> None:
    """Summary, layers and graph; the choice of a layer goes to the kernel and comes back to all views."""
    names = write_models(folder)
    lab.open(folder.name)
    fetched: list[str] = []
    lab.page.on("request", lambda request: fetched.append(request.url))
    document = lab.page.locator(".exchange-workbench-inspector").filter(visible=True)
    for name in names:
        lab.row(name).dblclick()
        line = document.locator(".wb-body .wb-line").nth(1)
        line.click(timeout=LONG)
        if name == "digits.onnx":
            lab.picture("document")
        layer = wb.load(folder / name).layers[1]
        expect(document.locator("dd", has_text=re.compile(f"^{re.escape(layer.name)}$"))).to_be_visible(timeout=LONG)
        expect(document.locator(".wb-graph canvas")).to_be_visible()
        document.locator(".wb-graph canvas").press("ArrowUp")
        expect(line).not_to_have_attribute("aria-selected", "true", timeout=LONG)
        lab.screenshot(f"document-{name}")
        if name == "digits.mlpackage":  # once more, by the menu: it is the same document that comes to the front
            lab.page.locator(".lm-TabBar-tabLabel", has_text="Launcher").click()
            expect(document).to_have_count(0)
            lab.context_menu(name)
            lab.choose("Inspect Model")
            expect(document).to_have_count(1)
            expect(lab.page.locator(".lm-TabBar-tabLabel", has_text=name)).to_have_count(1)
        lab.command("application:close")
        expect(document).to_have_count(0)
    read = re.compile(rf"/contents/{folder.name}/({'|'.join(map(re.escape, names))})(\?(?!.*\bcontent=0)|$)")
    contents = [url for url in fetched if read.search(url)]
    assert not contents, "the model itself must not come to the browser"


def test_a_folder_is_still_entered_by_the_menu(lab: LabPage, folder: Path) -> None:
    wb.load(samples.digits()).convert("nnef", shapes=SHAPES).save(folder / "digits.nnef")
    lab.open(folder.name)
    lab.context_menu("digits.nnef")
    lab.choose("Open in Conversion Workbench")
    lab.wait_for_notebook()
    assert argument(lab.cells()[0]["source"]) == "digits.nnef"
    lab.context_menu("digits.nnef")
    lab.page.locator(".lm-Menu-itemLabel").filter(has_text=re.compile("^Open$")).click()
    expect(lab.row("graph.nnef")).to_be_visible()


def test_a_document_of_five_thousand_layers_stays_usable(lab: LabPage, folder: Path) -> None:
    write_chain(folder / "chain.onnx", 5000)
    lab.open(folder.name)
    begun = time.monotonic()
    lab.row("chain.onnx").dblclick()
    document = lab.page.locator(".exchange-workbench-inspector")
    document.locator(".wb-line").first.wait_for(timeout=LONG)
    shown = time.monotonic() - begun
    document.locator(".wb-body").press("End")
    expect(document.locator("dd", has_text=re.compile("^/block.249/l4999$"))).to_be_visible(timeout=LONG)
    begun = time.monotonic()
    document.locator(".wb-body").press("ArrowUp")
    expect(document.locator("dd", has_text=re.compile("^/block.249/l4998$"))).to_be_visible(timeout=LONG)
    followed = time.monotonic() - begun
    elements = document.evaluate("node => node.querySelectorAll('*').length")
    print(f"document of 5,000 layers: {shown:.1f} s with its kernel, a key is followed in {1000 * followed:.0f} ms")
    assert elements < 800, "rows out of sight must not be elements"


def test_a_saved_session_has_the_icon_and_opens_in_the_workbench(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    shown = wb.Workbench(folder / "relu.onnx").convert("nnef")
    shown.save_session(folder / "steps.workbench")
    lab.open(folder.name)
    expect(lab.row("steps.workbench").locator('svg[data-icon="exchange-workbench:workbench"]')).to_have_count(1)
    assert "Inspect Model" not in lab.context_menu("steps.workbench")
    lab.choose("Open in Conversion Workbench")
    lab.wait_for_notebook()
    lab.wait_until_run()
    assert argument(lab.cells()[0]["source"]) == "steps.workbench"
    expect_done(the_widget(lab), "Convert")


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


def test_a_document_whose_kernel_was_shut_down_says_so(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    lab.open(folder.name)
    lab.row("relu.onnx").dblclick()
    document = lab.page.locator(".exchange-workbench-inspector")
    document.locator(".wb-line").first.wait_for(timeout=LONG)
    lab.page.evaluate("async () => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    expect(document.get_by_text("The kernel of this document has ended")).to_be_visible(timeout=LONG)


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
