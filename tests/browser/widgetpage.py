"""The widget on a page: its steps, what it says, and the time until it says it."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from tests.browser.labpage import LabPage

LONG = 120_000
"""Milliseconds: a conversion on a busy machine."""

# From the wish to run the cell until the output shows an element that matches.
_FIRST_VIEW = """async ([source, selector]) => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cell = panel.content.widgets[0];
    cell.model.sharedModel.setSource(source);
    cell.model.clearExecution();
    const seen = () => [...cell.node.querySelectorAll(selector)].some(node => node.offsetParent !== null);
    while (seen()) await new Promise(requestAnimationFrame);
    const begun = performance.now();
    void window.jupyterapp.commands.execute('notebook:run-all-cells');
    while (!seen()) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""

# From a click on a row in sight until the element that matches says that it is the chosen one.
_SELECTION = """async ([row, selector, attribute, value]) => {
    const begun = performance.now();
    row.click();
    const follows = () => [...document.querySelectorAll(selector)].some(
        node => node.offsetParent !== null && node.getAttribute(attribute) === value);
    while (!follows()) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def the_widget(lab: LabPage) -> Locator:
    """The workbench in the notebook in front."""
    return lab.page.locator(".jp-Notebook .wb-workbench").filter(visible=True)


def step(widget: Locator, name: str) -> Locator:
    """The button of one of the five steps."""
    return widget.get_by_role("tab", name=re.compile(f"^{name}"))


def expect_done(widget: Locator, name: str) -> None:
    expect(step(widget, name)).to_have_attribute("data-state", "done", timeout=LONG)


def first_view(lab: LabPage, source: str, selector: str = ".wb-workbench .wb-line") -> float:
    """Run the cell; milliseconds until what it shows is there to see."""
    lab.wait_for_notebook()
    return float(lab.page.evaluate(_FIRST_VIEW, [source, selector]))


def profile_follows(lab: LabPage, row: Locator) -> float:
    """Click a row of Compare's table; milliseconds until the error profile shows the same layer."""
    layer = int(row.get_attribute("data-row") or 0)
    wanted = [row.element_handle(), ".wb-workbench [role=slider]", "aria-valuenow", str(layer + 1)]
    return float(lab.page.evaluate(_SELECTION, wanted))
