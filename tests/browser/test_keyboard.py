"""Keys in a widget of a notebook in command mode: they are the widget's, not commands that cut and insert cells."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.labpage import LabPage

_SHOWN = "import workbench as wb\nwb.Workbench(wb.samples.digits()).convert('nnef', shapes={'image': (1, 1, 8, 8)})"
_STANDING = """() => {
    const { widgets, mode, activeCell } = window.jupyterapp.shell.currentWidget.content;
    return [widgets.length, mode, activeCell.model.type];
}"""


@pytest.fixture
def lab_with_widget(lab: LabPage, folder: Path) -> LabPage:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (_SHOWN, "1")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "keys.ipynb")
    lab.open(f"{folder.name}/keys.ipynb")
    lab.run_all_cells()
    lab.page.locator(".wb-workbench").wait_for(timeout=120_000)
    return lab


def inspect(page: Page) -> Locator:
    """Turn to the step with table and graph; its tab."""
    tab = page.locator(".wb-workbench").get_by_role("tab", name="Inspect")
    tab.click()
    expect(page.locator(".wb-workbench canvas").filter(visible=True)).to_have_count(1, timeout=60_000)
    return tab


def test_letters_in_the_widget_are_no_commands_of_the_notebook(lab_with_widget: LabPage) -> None:
    page = lab_with_widget.page
    widget = page.locator(".wb-workbench")
    inspect(page)
    standing = page.evaluate(_STANDING)
    assert standing == [2, "command", "code"]
    for view in ("[role=grid]", "canvas", "[role=tab][aria-selected=true]"):
        widget.locator(view).filter(visible=True).first.focus()
        for key in ("ArrowDown", "a", "b", "x", "d", "d", "m", "0", "z"):
            page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.evaluate(_STANDING) == standing


def test_escape_leaves_the_choice_and_tabs_name_their_panels(lab_with_widget: LabPage) -> None:
    page = lab_with_widget.page
    widget = page.locator(".wb-workbench")
    tab = inspect(page)
    grid = widget.get_by_role("grid", name="Layers").filter(visible=True)
    grid.press("ArrowDown")
    expect(grid.locator('[aria-selected="true"]')).to_have_count(1, timeout=30_000)
    grid.press("Escape")
    expect(grid.locator('[aria-selected="true"]')).to_have_count(0, timeout=30_000)
    panel = page.locator(f"#{tab.get_attribute('aria-controls')}")
    expect(panel).to_have_role("tabpanel")
    expect(panel).to_be_visible()
