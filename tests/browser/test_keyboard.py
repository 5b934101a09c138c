"""Keys in a widget of a notebook in command mode are the widget's, not commands that cut and insert cells.

And everything in it can be reached by them, has a name, and can be read.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.accessible import faint_words, tab_stops
from tests.browser.labpage import LabPage
from tests.browser.models import write_notebook
from tests.browser.widgetpage import LONG, expect_done, step, the_widget

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


_FAILING = (
    "import workbench as wb\n"
    "shown = wb.Workbench(wb.samples.digits())\n"
    "shown.convert('coreml', precision='fp16', shapes={'image': (1, 1, 8, 8)}).compare(tolerance=1e-6)\n"
    "shown.select(2)\n"
    "shown"
)
# One stop that only this step has.
_STEPS = {
    "import": ("combobox", "Path"),
    "inspect": ("application", "arrow keys follow the edges"),
    "convert": ("combobox", "precision"),
    "compare": ("slider", "Error profile"),
    "export": ("textbox", "Report"),
}


@pytest.fixture
def lab_that_fails(lab: LabPage, folder: Path) -> LabPage:
    write_notebook(folder / "fails.ipynb", _FAILING)
    lab.open(f"{folder.name}/fails.ipynb")
    lab.run_all_cells()
    expect_done(the_widget(lab), "Compare")
    return lab


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_stop_of_tab_has_a_name_and_a_ring_and_every_word_can_be_read(
    lab_that_fails: LabPage, dark: bool
) -> None:
    lab = lab_that_fails
    lab.set_theme(dark=dark)
    for name, (role, label) in _STEPS.items():
        assert lab.ask(f"shown.go({name!r}).bar.current") == name
        if name == "convert":
            lab.ask("setattr(shown.steps['convert'].more, 'value', True)")
        if name == "export":
            lab.ask("len(shown.show_code())")
        lab.page.wait_for_timeout(500)
        stops = tab_stops(lab)
        assert [stop for stop in stops if stop.role == role and label in stop.name], (name, stops)
        assert not [stop for stop in stops if not (stop.name and stop.ringed and stop.in_sight)], name
        count, faint = faint_words(lab)
        assert count > 10
        assert not faint, name


def test_toggles_tell_whether_they_are_pressed_and_what_they_show(lab_that_fails: LabPage) -> None:
    widget = the_widget(lab_that_fails)
    step(widget, "Convert").click()
    group = widget.get_by_role("group", name="Target")
    expect(group.get_by_role("button", name="Core ML", pressed=True)).to_be_visible()
    expect(group.get_by_role("button", name="NNEF", pressed=False)).to_be_visible()
    more = widget.get_by_role("button", name="More options", expanded=False)
    more.press("Space")
    expect(widget.get_by_role("button", name="More options", expanded=True)).to_be_visible()
    expect(widget.get_by_label("label_name")).to_be_visible()
    expect(widget.get_by_role("tabpanel", name="Convert", exact=True)).to_be_visible()


def test_n_and_p_go_to_what_fails_in_profile_and_table(lab_that_fails: LabPage) -> None:
    lab, widget = lab_that_fails, the_widget(lab_that_fails)
    failing = lab.ask("[at for at, row in enumerate(shown.session.report.rows) if row.status == 'failing']")
    assert len(failing) > 2
    profile = widget.get_by_role("slider", name="Error profile").filter(visible=True)
    grid = widget.get_by_role("grid", name="Layers").filter(visible=True)

    def expect_chosen(at: int) -> None:
        expect(profile).to_have_attribute("aria-valuenow", str(at + 1), timeout=LONG)
        expect(grid.locator('[aria-selected="true"]')).to_have_attribute("data-row", str(at), timeout=LONG)

    profile.press("Escape")
    for view, key, at in ((profile, "n", 0), (profile, "n", 1), (grid, "n", 2), (grid, "p", 1), (grid, "p", 0)):
        view.press(key)
        expect_chosen(failing[at])
    grid.press("p")
    expect_chosen(failing[-1])
    widget.get_by_role("button", name="Next failing").click()
    expect_chosen(failing[0])
