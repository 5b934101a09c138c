"""Notebook 7, which shows each notebook and each document in a page of its own: the widget, the menu, the documents."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

import workbench as wb
from tests.browser.labserver import LabServer
from tests.browser.models import write_notebook, write_relu
from tests.browser.test_extension import ENTRY

LONG = 120_000
_OWN = ("reading 'schema'", "Command 'filebrowser:open-path' not registered")
"""Errors that Notebook 7.6 reports by itself, without our extension too: on every page; where JupyterLab was before."""


@pytest.fixture
def context(browser: Browser, server: LabServer) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    made.on("weberror", lambda error: errors.append(str(error.error)))
    yield made
    made.close()
    server.reset()
    assert not [error for error in errors if not any(own in error for own in _OWN)]


def run_first_cell(page: Page) -> None:
    """As one does who presses the keys again where nothing happens: the page says "idle" before there is a kernel."""
    prompt = page.locator(".jp-Cell .jp-InputPrompt").first
    for _ in range(6):
        page.locator(".jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(AssertionError):
            expect(prompt).not_to_have_text("[ ]:", timeout=10_000)
            return
    raise AssertionError("the first cell has not been run")


def test_the_widget_is_stepped_through(context: BrowserContext, server: LabServer, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    write_notebook(folder / "relu.ipynb", "import workbench as wb\n\nwb.Workbench('relu.onnx')")
    page = context.new_page()
    page.goto(f"{server.url}/notebooks/{folder.name}/relu.ipynb")
    page.get_by_text("Python 3 (ipykernel)").wait_for(timeout=LONG)
    run_first_cell(page)
    widget = page.locator(".wb-workbench")
    expect(widget.get_by_role("tab", name=re.compile("^Inspect"))).to_have_attribute(
        "aria-selected", "true", timeout=LONG
    )
    expect(widget.locator(".wb-graph canvas").first).to_be_visible(timeout=LONG)
    widget.get_by_role("tab", name=re.compile("^Convert")).click(timeout=LONG)
    widget.get_by_role("button", name="Core ML").click(timeout=LONG)
    expect(widget.get_by_text("1 exact").first).to_be_visible(timeout=LONG)


def test_the_menu_and_the_documents_are_there(context: BrowserContext, server: LabServer, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    page = context.new_page()
    page.goto(f"{server.url}/tree/{folder.name}")
    line = page.locator(".jp-DirListing-item").filter(has_text="relu.onnx")
    expect(line.locator('svg[data-icon="exchange-workbench:onnx"]')).to_have_count(1, timeout=LONG)
    line.click(button="right")
    labels = page.locator(".lm-Menu-itemLabel").all_inner_texts()
    assert {ENTRY, "Inspect Model", "Convert to", "Compare Models…"} <= set(labels)
    page.keyboard.press("Escape")
    with context.expect_page() as opened:
        line.dblclick()
    document = opened.value
    expect(document.locator(".exchange-workbench-inspector .wb-line").first).to_contain_text("Relu-14", timeout=LONG)
    document.screenshot(path=Path(__file__).parent / "artifacts" / "notebook7-document.png")


def test_a_model_that_is_a_folder_opens_in_a_notebook(context: BrowserContext, server: LabServer, folder: Path) -> None:
    """There is no page for a document that is no file."""
    write_relu(folder / "relu.onnx")
    wb.load(folder / "relu.onnx").convert("nnef").save(folder / "relu.nnef")
    page = context.new_page()
    page.goto(f"{server.url}/tree/{folder.name}")
    line = page.locator(".jp-DirListing-item").filter(has_text="relu.nnef")
    expect(line.locator('svg[data-icon="exchange-workbench:nnef"]')).to_have_count(1, timeout=LONG)
    with context.expect_page() as opened:
        line.dblclick()
    expect(opened.value.locator(".jp-Cell .cm-content").first).to_contain_text(
        'wb.Workbench("relu.nnef")', timeout=LONG
    )
