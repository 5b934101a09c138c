"""The five steps by keyboard alone, uploads, cancelled work, errors in place: one page and one kernel for all of it."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

import workbench as wb
from tests.browser.labpage import LabPage
from tests.browser.models import write_chain, write_heavy, write_nonzero, write_relu
from tests.browser.widgetpage import LONG, expect_done, step, the_widget
from workbench import samples

FRESH = "import workbench as wb\n\nshown = wb.Workbench()\nshown"


def show(bench: LabPage, source: str = FRESH) -> Locator:
    """Run the cell; the widget it shows."""
    bench.run(source)
    widget = the_widget(bench)
    expect(widget).to_be_visible(timeout=LONG)
    return widget


def test_all_five_steps_by_keyboard_alone(bench: LabPage, place: Path) -> None:
    """From a cell that was just run to the package on disk, without mouse, focus() or fill()."""
    shutil.copy(samples.digits(), place / "digits.onnx")
    widget = show(bench)
    bench.command("notebook:enter-command-mode")  # where Shift+Enter leaves its user
    keys = bench.page.keyboard

    def press(name: str, key: str = "Enter") -> None:
        button = widget.get_by_role("button", name=name, exact=True).filter(visible=True)
        expect(button).to_be_enabled(timeout=LONG)
        bench.tab_to(button)
        keys.press(key)

    bench.tab_to(widget.get_by_placeholder("path of a model"))
    keys.type("digits.onnx")
    keys.press("Enter")
    expect(step(widget, "Inspect")).to_have_attribute("aria-selected", "true", timeout=LONG)

    bench.tab_to(widget.get_by_role("searchbox").filter(visible=True))
    keys.type("Conv")
    bench.tab_to(widget.locator(".wb-body").filter(visible=True))
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    expect(widget.locator("dd", has_text=re.compile("^Conv-11$"))).to_be_visible(timeout=LONG)
    bench.tab_to(widget.locator(".wb-graph canvas").filter(visible=True))
    keys.press("End")
    expect(widget.locator("dd", has_text=re.compile("^Softmax-13$"))).to_be_visible(timeout=LONG)

    press("Next: Convert")
    press("Core ML", "Space")
    press("Convert")
    expect_done(widget, "Convert")
    press("Next: Compare", "Space")
    press("Compare")
    expect_done(widget, "Compare")
    bench.tab_to(widget.get_by_role("slider").filter(visible=True))
    keys.press("ArrowRight")
    expect(widget.locator('.wb-line[aria-selected="true"]').filter(visible=True)).to_have_count(1, timeout=LONG)
    expect(widget.get_by_role("figure").filter(visible=True).first).to_be_visible(timeout=LONG)

    bench.tab_to(step(widget, "Compare"), most=60)
    keys.press("ArrowRight")
    keys.press("Enter")
    expect(step(widget, "Export")).to_have_attribute("aria-selected", "true", timeout=LONG)
    bench.tab_to(widget.get_by_label("Path").filter(visible=True))
    keys.press("ControlOrMeta+a")
    keys.type("by-keyboard.mlpackage")
    press("Export")
    expect_done(widget, "Export")
    press("Show as code", "Space")
    expect(widget.get_by_text("by-keyboard.mlpackage").filter(visible=True).first).to_be_visible(timeout=LONG)
    assert len(bench.cells()) == 1, "no key went to the notebook instead"

    feeds = {"image": np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)}
    (ours,) = wb.load(place / "by-keyboard.mlpackage").run(feeds).values()
    (theirs,) = wb.load(samples.digits()).run(feeds).values()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_file_is_uploaded_in_pieces(bench: LabPage, tmp_path: Path) -> None:
    write_heavy(tmp_path / "heavy.onnx", megabytes=3)
    widget = show(bench)
    with bench.page.expect_file_chooser() as chooser:
        widget.get_by_role("button", name="Choose a file…").click()
    chooser.value.set_files(tmp_path / "heavy.onnx")
    expect(step(widget, "Inspect")).to_have_attribute("aria-selected", "true", timeout=LONG)
    expect(widget.locator("dd", has_text=re.compile("^786,432$"))).to_be_visible(timeout=LONG)
    step(widget, "Import").click()
    expect(widget.get_by_text("heavy.onnx (uploaded)")).to_be_visible(timeout=LONG)
    product = "shown.session.model.run({'x': __import__('numpy').eye(1, 1024, 7, dtype='float32')})['y']"
    assert bench.ask(f"float({product}[0, -1])") == 8 * 768 - 1, "the eighth row of the weights ends so"


@pytest.mark.parametrize("name", ["broken.onnx", "broken.txt"])
def test_a_bad_file_is_refused_in_place_and_the_next_one_opens(
    bench: LabPage, place: Path, tmp_path: Path, name: str
) -> None:
    """Uploaded and by path; the message stays until something works, and says what the file is not."""
    (tmp_path / name).write_bytes(b"no model at all")
    write_relu(place / "relu.onnx")
    widget = show(bench)
    with bench.page.expect_file_chooser() as chooser:
        widget.get_by_role("button", name="Choose a file…").click()
    chooser.value.set_files(tmp_path / name)
    alert = widget.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text(name, timeout=LONG)
    expect(step(widget, "Import")).to_have_attribute("data-state", "failed")
    bench.screenshot(f"error-{name}")
    path = widget.get_by_placeholder("path of a model")
    path.fill("nowhere.onnx")
    path.press("Enter")
    expect(alert).to_contain_text("nowhere.onnx", timeout=LONG)
    path.fill("relu.onnx")
    path.press("Enter")
    expect(step(widget, "Inspect")).to_have_attribute("aria-selected", "true", timeout=LONG)
    expect(alert).to_have_count(0)


def test_a_refusal_says_which_layer_and_the_way_out(bench: LabPage, place: Path) -> None:
    write_nonzero(place / "nonzero.onnx")
    widget = show(bench, "import workbench as wb\n\nshown = wb.Workbench('nonzero.onnx')\nshown")
    step(widget, "Convert").click()
    widget.get_by_role("button", name="NNEF", exact=True).click()
    alert = widget.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("end the model before it", timeout=LONG)
    expect(alert).to_contain_text("second")
    expect(widget.get_by_role("button", name="Convert", exact=True)).to_be_disabled()
    first = widget.locator(".wb-line").filter(visible=True).first
    expect(first).to_contain_text("refused")
    first.click()
    expect(widget.locator("dd", has_text="end the model before it")).to_be_visible(timeout=LONG)
    bench.picture("refusal")
    assert step(widget, "Export").get_attribute("aria-disabled") == "true"


def test_a_file_that_is_there_is_not_written_over_unless_told_to(bench: LabPage, place: Path) -> None:
    write_relu(place / "kept.onnx")
    (place / "taken.nnef.tgz").write_bytes(b"somebody's")
    widget = show(bench, "import workbench as wb\n\nshown = wb.Workbench('kept.onnx').convert('nnef')\nshown")
    step(widget, "Export").click()
    path = widget.get_by_label("Path").filter(visible=True)
    path.fill("taken.nnef.tgz")
    path.press("Tab")
    widget.get_by_role("button", name="Export", exact=True).click()
    alert = widget.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("taken.nnef.tgz", timeout=LONG)
    expect(alert).to_contain_text("overwrite")
    assert (place / "taken.nnef.tgz").read_bytes() == b"somebody's"
    widget.get_by_label("overwrite").check()
    widget.get_by_role("button", name="Export", exact=True).click()
    expect_done(widget, "Export")
    assert wb.load(place / "taken.nnef.tgz").format == "nnef"


def test_running_work_is_cancelled(bench: LabPage, place: Path) -> None:
    """A conversion and a comparison of 3,000 layers: the widget says so at once, and the work really ends."""
    write_chain(place / "chain.onnx", 3000)
    widget = show(bench, "import workbench as wb\n\nshown = wb.Workbench('chain.onnx')\nshown.plan('coreml')\nshown")
    step(widget, "Convert").click()
    cancel = widget.get_by_role("button", name="Cancel").filter(visible=True)
    for action in ("Convert", "Compare"):
        widget.get_by_role("button", name=action, exact=True).click()
        expect(widget.locator("progress").filter(visible=True)).to_be_visible(timeout=LONG)
        cancel.click()
        expect(widget.get_by_text(f"{action.lower()} was cancelled").filter(visible=True)).to_be_visible(timeout=LONG)
        expect(cancel).to_have_count(0)
        assert not bench.ask("shown.session.busy")
        name = f"workbench-{action.lower()}"
        running = f"any(t.name == '{name}' for t in __import__('threading').enumerate())"
        deadline = time.monotonic() + 60
        while bench.ask(running) and time.monotonic() < deadline:
            bench.page.wait_for_timeout(200)
        assert not bench.ask(running), "the work goes on"
        assert bench.ask("shown.session.converted is None") == (action == "Convert")
        assert bench.ask("shown.session.report is None")
        if action == "Convert":
            bench.run("shown.convert('nnef')\nshown")
            step(widget, "Compare").click()
