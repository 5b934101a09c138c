"""One JupyterLab page, driven: what tests do with it, and what it complained about meanwhile."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page

from tests.browser.labserver import LabServer

PICTURES = Path(__file__).parent.parent.parent / "docs" / "_static"

_KERNEL_READY = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
}"""

_RUN_SOURCE = """async source => {
    const panel = window.jupyterapp.shell.currentWidget;
    panel.content.activeCellIndex = 0;
    panel.content.activeCell.model.sharedModel.setSource(source);
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""

# What an expression is worth in the kernel, without a cell: JSON there and back.
_ASK = """async expression => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const asked = { value: `__import__('json').dumps(${expression})` };
    const { content } = await kernel.requestExecute(
        { code: '', user_expressions: asked, store_history: false, silent: false }).done;
    const found = content.user_expressions.value;
    return found.status === 'ok' ? found.data['text/plain'] : `${found.ename}: ${found.evalue}`;
}"""

_CELLS = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    return panel.content.widgets.map(cell => cell.model.toJSON());
}"""


class LabPage:
    """A page of the server, and the errors it reported (`errors`: uncaught ones and those on the console)."""

    def __init__(self, page: Page, server: LabServer, artifacts: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self._server = server
        self._artifacts = artifacts
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")

    def open(self, path: str = "") -> None:
        """Load JupyterLab on a folder or a file of the server, with an empty workspace, and wait until it stands."""
        self.page.goto(f"{self._server.url}/lab/tree/{quote(path)}?reset")
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the page that is being loaded stands."""
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")
        # A change of theme shows the splash screen again; while the first one fades, JupyterLab would remove it twice.
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def command(self, name: str, **args: Any) -> None:
        """Run a command of JupyterLab to its end."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }", [name, args]
        )

    def set_theme(self, *, dark: bool) -> None:
        self.command("apputils:change-theme", theme="JupyterLab Dark" if dark else "JupyterLab Light")
        self.page.wait_for_selector(f'body[data-jp-theme-light="{str(not dark).lower()}"]', state="attached")

    def row(self, name: str) -> Locator:
        """The row of the file browser that shows exactly `name`."""
        label = self.page.locator(".jp-DirListing-itemText").filter(has_text=re.compile(f"^{re.escape(name)}$"))
        return self.page.locator(".jp-DirListing-item").filter(has=label)

    def context_menu(self, name: str) -> list[str]:
        """Open the context menu of a row of the file browser and return its labels. Escape closes it."""
        self.row(name).click(button="right")
        menu = self.page.locator(".lm-Menu")
        menu.first.wait_for()
        return [text for text in menu.first.locator(".lm-Menu-itemLabel").all_inner_texts() if text]

    def choose(self, label: str) -> None:
        """Click an entry of the open menu."""
        self.page.locator(".lm-Menu-item").filter(has_text=label).click()

    def wait_for_notebook(self) -> None:
        """Wait until a notebook is in front, with its content loaded and its kernel answering.

        The page says "idle" before there is a kernel, so it is asked of the model and not of what is shown.
        """
        self.page.wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext !== undefined", timeout=60_000
        )
        self.page.evaluate(_KERNEL_READY)

    def run_all_cells(self) -> None:
        """Run the notebook in front from top to bottom and wait until it has finished."""
        self.wait_for_notebook()
        self.command("notebook:run-all-cells")

    def wait_until_run(self) -> None:
        """Wait until every code cell of the notebook in front that is not empty has been executed."""
        self.page.wait_for_function(
            f"({_CELLS})().every(cell => cell.cell_type !== 'code' || !cell.source || cell.execution_count)",
            timeout=120_000,
        )

    def run(self, source: str) -> None:
        """Put `source` in place of the first cell of the notebook in front, and run it to its end."""
        self.page.evaluate(_RUN_SOURCE, source)

    def ask(self, expression: str) -> Any:
        """What a Python expression is worth in the kernel of the notebook in front."""
        answer = self.page.evaluate(_ASK, expression)
        return json.loads(ast.literal_eval(answer))

    def tab_to(self, target: Locator, most: int = 40) -> None:
        """Press Tab until `target` has the focus, as one who has no mouse does."""
        target.wait_for()
        for _ in range(most):
            if target.evaluate("node => node === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        focus = self.page.evaluate("document.activeElement?.outerHTML.slice(0, 200)")
        raise AssertionError(f"{most} times Tab do not lead to {target}; the focus is on {focus}")

    def cells(self) -> list[dict[str, Any]]:
        """The cells of the notebook in front, in the notebook format."""
        cells: list[dict[str, Any]] = self.page.evaluate(_CELLS)
        return cells

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Write what the page shows to the artifacts folder; with `of`, as much of that as is in sight."""
        path = self._artifacts / f"{name}.png"
        box = None if of is None else of.bounding_box()
        if box is None:
            self.page.screenshot(path=path)
        else:
            size = self.page.viewport_size or {"height": 900}
            shown = min(box["height"], size["height"] - box["y"] - 30)  # above JupyterLab's status bar
            self.page.screenshot(path=path, clip={**box, "height": shown})
        return path

    def picture(self, name: str, of: Locator | None = None) -> None:
        """A screenshot; `make pictures` (WORKBENCH_PICTURES) renews those that the documentation has."""
        taken = self.screenshot(name, of)
        if os.environ.get("WORKBENCH_PICTURES") and (PICTURES / taken.name).exists():
            with Image.open(taken) as whole:
                colours = whole.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4)
                colours.save(PICTURES / taken.name, optimize=True)
