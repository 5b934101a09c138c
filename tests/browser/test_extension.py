"""The JupyterLab extension: file types, context menu, launcher, palette, and the notebook it writes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.labpage import LabPage
from tests.browser.labserver import RUN_ON_OPENING, LabServer
from tests.browser.models import write_notebook, write_relu

ENTRY = "Open in Conversion Workbench"

# name (a trailing slash: a folder) -> the icon in the file browser
MODELS = {
    "digits.onnx": "exchange-workbench:onnx",
    "UPPER.ONNX": "exchange-workbench:onnx",
    "graph.nnef": "exchange-workbench:nnef",
    "folder.nnef/": "exchange-workbench:nnef",
    "archive.nnef.tgz": "exchange-workbench:nnef",
    "older.mlmodel": "exchange-workbench:coreml",
    "newer.mlpackage/": "exchange-workbench:coreml",
    "compiled.mlmodelc/": "exchange-workbench:coreml",
}
# Each differs from a model in one respect only.
OTHERS = ["onnx", "digits.onnx.txt", "archive.tgz", "plain/", "onnx-models/", "file.mlpackage", "data.npz"]

HOSTILE = [
    '"); import os; os.mkdir("pwned"); ("',
    "'''\"\"\" it's \\",
    "back\\slash \\x41 \\N{DEGREE SIGN} {0} %s",
    "<img src=x onerror=alert(1)>",
    "ünïcødé 模型 🙂",
]


def make(folder: Path, name: str) -> None:
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(b"")


def argument(source: str) -> object:
    """The one argument that the cell gives to `wb.Workbench`, and nothing else happens in the cell.

    Read from the syntax tree: whatever the file is called, the code must have this shape.
    """
    module = ast.parse(source)
    statement, expression = module.body
    assert isinstance(statement, ast.Import)
    assert ast.unparse(statement) == "import workbench as wb"
    assert isinstance(expression, ast.Expr)
    call = expression.value
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "wb.Workbench"
    assert not call.keywords
    (value,) = call.args
    return ast.literal_eval(value)


def test_models_have_icons_and_the_menu_entry(lab: LabPage, folder: Path) -> None:
    for name in (*MODELS, *OTHERS):
        make(folder, name)
    lab.open(folder.name)
    for name, icon in MODELS.items():
        expect(lab.row(name.rstrip("/")).locator(f'svg[data-icon="{icon}"]')).to_have_count(1)
        assert lab.context_menu(name.rstrip("/")).count(ENTRY) == 1, name
        lab.page.keyboard.press("Escape")
    for name in OTHERS:
        assert ENTRY not in lab.context_menu(name.rstrip("/")), name
        expect(lab.row(name.rstrip("/")).locator('svg[data-icon^="exchange-workbench:"]')).to_have_count(0)
        lab.page.keyboard.press("Escape")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_icons_stand_out_from_the_background(lab: LabPage, folder: Path, dark: bool) -> None:
    """The icons take their colours from the theme, on a selected row too; pictures are kept for the eye."""
    for name in MODELS:
        make(folder, name)
    lab.open(folder.name)
    lab.set_theme(dark=dark)
    lab.context_menu("digits.onnx")
    lab.screenshot(f"extension-{'dark' if dark else 'light'}")
    for name in ("digits.onnx", "graph.nnef", "older.mlmodel"):
        contrast = lab.row(name).evaluate(_CONTRAST)
        assert contrast >= 3, f"{name}: {contrast:.1f}, WCAG 2.1 (1.4.11) asks 3 of a graphical object"


_CONTRAST = """row => {
    const luminance = colour => {
        const channels = colour.match(/[\\d.]+/g).slice(0, 3).map(text => {
            const value = text / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2];
    };
    const icon = luminance(getComputedStyle(row.querySelector('svg circle')).fill);
    let painted = row; // the row itself where it is selected, else what shines through
    while (getComputedStyle(painted).backgroundColor === 'rgba(0, 0, 0, 0)') {
        painted = painted.parentElement;
    }
    const back = luminance(getComputedStyle(painted).backgroundColor);
    return (Math.max(icon, back) + 0.05) / (Math.min(icon, back) + 0.05);
}"""


@pytest.mark.parametrize("name", ["digits.onnx", "folder.nnef/", "newer.mlpackage/"])
def test_menu_entry_opens_and_runs_a_notebook_beside_the_model(lab: LabPage, folder: Path, name: str) -> None:
    make(folder, name)
    model = name.rstrip("/")
    lab.open(folder.name)
    lab.context_menu(model)
    lab.choose(ENTRY)
    lab.wait_for_notebook()
    lab.wait_until_run()
    (cell,) = lab.cells()
    assert cell["source"] == f'import workbench as wb\n\nwb.Workbench("{model}")'
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".ipynb") == ["Untitled.ipynb"]


@pytest.mark.parametrize("stem", HOSTILE, ids=["code", "quotes", "backslashes", "markup", "unicode"])
def test_hostile_file_name_stays_data(lab: LabPage, folder: Path, stem: str) -> None:
    name = f"{stem}.onnx"
    write_relu(folder / name)
    lab.open(folder.name)
    lab.context_menu(name)
    lab.choose(ENTRY)
    lab.wait_for_notebook()
    lab.wait_until_run()
    assert argument(lab.cells()[0]["source"]) == name
    made = {path.name for path in folder.iterdir()} - {".ipynb_checkpoints"}
    assert made == {name, "Untitled.ipynb"}


def test_the_notebook_shows_the_widget_on_the_model(lab: LabPage, folder: Path) -> None:
    write_relu(folder / "relu.onnx")
    lab.open(folder.name)
    lab.context_menu("relu.onnx")
    lab.choose(ENTRY)
    lab.wait_for_notebook()
    lab.wait_until_run()
    lab.page.locator(".jp-OutputArea .jupyter-widgets").first.wait_for()
    (cell,) = lab.cells()
    assert [output["output_type"] for output in cell["outputs"]] == ["execute_result"]
    assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][0]["data"]
    assert lab.page.get_by_text("relu.onnx").count() > 0
    lab.screenshot("workbench-from-context-menu")


def test_launcher_card_opens_an_empty_workbench_in_the_folder(lab: LabPage, folder: Path) -> None:
    lab.open(folder.name)
    card = lab.page.locator(".jp-LauncherCard").filter(has_text="Conversion Workbench")
    card.wait_for()
    lab.screenshot("launcher")
    card.click()
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    assert lab.cells()[0]["source"] == "import workbench as wb\n\nwb.Workbench()"
    assert (folder / "Untitled.ipynb").exists()


def test_command_palette_lists_the_workbench(lab: LabPage, folder: Path) -> None:
    lab.open(folder.name)
    lab.command("apputils:activate-command-palette")
    lab.page.locator("#command-palette input").fill("conversion workbench")
    lab.page.locator(".lm-CommandPalette-item").filter(has_text="New Conversion Workbench").click()
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.wait_for_notebook()
    assert lab.cells()[0]["source"] == "import workbench as wb\n\nwb.Workbench()"


COUNT = "runs = globals().get('runs', 0) + 1\nprint(runs)"


def printed(lab: LabPage) -> str:
    (cell,) = lab.cells()
    return "".join("".join(output["text"]) for output in cell["outputs"])


def test_the_notebook_of_workbench_lab_runs_once(lab: LabPage, server: LabServer) -> None:
    write_notebook(server.root / RUN_ON_OPENING, COUNT)
    lab.open(RUN_ON_OPENING)
    lab.wait_for_notebook()
    lab.wait_until_run()
    assert printed(lab) == "1\n"
    lab.open(RUN_ON_OPENING)  # the page is loaded again; the kernel still counts
    lab.run_all_cells()
    assert printed(lab) == "2\n", "run by hand once more, and not by the page"


def test_another_notebook_does_not_run_when_it_opens(lab: LabPage, folder: Path) -> None:
    write_notebook(folder / RUN_ON_OPENING, COUNT)
    lab.open(f"{folder.name}/{RUN_ON_OPENING}")
    lab.run_all_cells()
    assert printed(lab) == "1\n"
