"""The first tutorial in a real JupyterLab: run from top to bottom, then the widget stepped through by clicks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

import workbench as wb
from tests.browser.labpage import LabPage
from tests.browser.labserver import RUN_ON_OPENING, LabServer
from tests.browser.widgetpage import LONG, expect_done, step
from tests.real_models import onnx_model

TUTORIAL = Path(__file__).parent.parent.parent / "notebooks" / "01_first_conversion.ipynb"


def test_the_tutorial_runs_when_the_server_was_started_on_it(lab: LabPage, server: LabServer) -> None:
    shutil.copy(TUTORIAL, server.root / RUN_ON_OPENING)
    lab.open(RUN_ON_OPENING)
    widget = lab.page.locator(".wb-workbench")
    expect(step(widget, "Inspect")).to_have_attribute("aria-selected", "true", timeout=LONG)
    expect(widget.get_by_role("grid").first).to_contain_text("Conv", timeout=LONG)
    lab.wait_until_run()
    assert not [
        output for cell in lab.cells() for output in cell.get("outputs", []) if output["output_type"] == "error"
    ]


def picture_for_the_readme(lab: LabPage, widget: Locator) -> None:
    """The whole of Compare, from the steps to the graphs, in a high window."""
    widget.get_by_role("searchbox").filter(visible=True).fill("")
    lab.set_theme(dark=False)
    lab.page.set_viewport_size({"width": 1280, "height": 1330})
    lab.page.mouse.move(0, 0)
    lab.page.evaluate(
        "document.activeElement.blur(); document.querySelector('.jp-Notebook .wb-workbench').scrollIntoView()"
    )
    lab.page.wait_for_timeout(500)
    lab.picture("workbench", of=widget)


@pytest.mark.parametrize(("theme", "precision"), [("light", "fp32"), ("dark", "fp16")])
def test_the_widget_is_stepped_through_to_a_package(lab: LabPage, folder: Path, theme: str, precision: str) -> None:
    real = onnx_model("basic-pitch")
    (folder / "nmp.onnx").write_bytes(real.path.read_bytes())
    lab.open(folder.name)
    lab.set_theme(dark=theme == "dark")
    lab.context_menu("nmp.onnx")
    lab.choose("Open in Conversion Workbench")
    lab.wait_for_notebook()
    widget = lab.page.locator(".wb-workbench")

    expect(step(widget, "Inspect")).to_have_attribute("aria-selected", "true", timeout=LONG)
    grid = widget.get_by_role("grid", name=re.compile("Layers"))
    widget.get_by_role("searchbox").first.fill("Sigmoid")
    expect(grid.get_by_role("row").nth(1)).to_contain_text("Sigmoid")
    lab.picture(f"workbench-inspect-{theme}")

    step(widget, "Convert").click()
    widget.get_by_role("button", name="Core ML").click()
    expect(widget.get_by_text("248 exact").first).to_be_visible(timeout=LONG)
    widget.get_by_label("precision").select_option(precision)
    expect(widget.get_by_role("button", name="Convert", exact=True)).to_be_enabled(timeout=LONG)
    lab.picture(f"workbench-convert-{theme}")
    widget.get_by_role("button", name="Convert", exact=True).click()
    expect_done(widget, "Convert")

    step(widget, "Compare").click()
    widget.get_by_role("button", name="Compare", exact=True).click()
    expect_done(widget, "Compare")
    lab.picture(f"workbench-compare-{theme}")
    widget.get_by_role("searchbox").filter(visible=True).fill("Sigmoid")
    widget.get_by_role("row", name=re.compile("Sigmoid-13")).filter(visible=True).first.click()
    tensors = widget.get_by_role("figure").filter(visible=True)
    expect(tensors.filter(has_text="Reference against converted")).to_be_visible(timeout=LONG)
    if precision == "fp16":  # equal tensors have no difference to draw
        expect(tensors.filter(has_text="Difference")).to_be_visible(timeout=LONG)
    tensors.last.scroll_into_view_if_needed()
    lab.picture(f"workbench-tensors-{theme}")
    if precision == "fp16":
        picture_for_the_readme(lab, widget)

    step(widget, "Export").click()
    path = widget.get_by_label("Path").filter(visible=True)
    path.fill("converted.mlpackage")
    path.press("Tab")
    widget.get_by_role("button", name="Export", exact=True).click()
    expect_done(widget, "Export")
    widget.get_by_role("button", name="Show as code").click()
    expect(widget.get_by_text("import workbench as wb").first).to_be_visible()
    lab.picture(f"workbench-export-{theme}")

    package = wb.load(folder / "converted.mlpackage")
    feeds = real.feeds(wb.load(real.path))
    expected = wb.load(real.path).run(feeds)
    for ours, theirs in zip(package.run(feeds).values(), expected.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 if precision == "fp32" else 2e-2)
