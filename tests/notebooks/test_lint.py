"""The notebooks are fit to be regression tests; and the lint that says so notices what it has to notice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
MACHINE = ("/home/", "/root/", "/tmp/", "/Users/", "C:\\", "site-packages")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stream(text: str, name: str = "stdout") -> Any:
    return new_output("stream", name=name, text=text)


def faulty(outputs: tuple[Any, ...] = (), count: int | None = 1, **metadata: Any) -> Any:
    cell = new_code_cell("1 + 1", execution_count=count, outputs=list(outputs), metadata=metadata)
    return new_notebook(cells=[cell])


def with_widget_state() -> Any:
    notebook = faulty()
    notebook.metadata["widgets"] = {}
    return notebook


def with_text(text: str) -> Any:
    notebook = faulty((stream("2"),))
    notebook.cells.append(new_markdown_cell(text))
    return notebook


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "never run": (lambda: faulty(count=None), "never run"),
    "address": (lambda: faulty((stream("<Model at 0x7f2f3c1d>"),)), "memory address"),
    "stderr": (lambda: faulty((stream("careful", "stderr"),)), "stderr"),
    "error": (lambda: faulty((new_output("error", ename="KeyError", evalue="x", traceback=[]),)), "KeyError"),
    "timing": (lambda: faulty(execution={"iopub.execute_input": "now"}), "timings"),
    "widget state": (with_widget_state, "widget state"),
    "link": (lambda: with_text("[next](nowhere.ipynb)"), "leads nowhere: nowhere.ipynb"),
    "no code": (lambda: new_notebook(cells=[]), "no code"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_lint_notices(fault: str, tmp_path: Path) -> None:
    make, expected = FAULTS[fault]
    nbformat.write(make(), tmp_path / "n.ipynb")
    problems = script().lint(tmp_path / "n.ipynb")
    assert [problem for problem in problems if expected in problem], problems


def test_the_lint_passes_what_is_clean(tmp_path: Path) -> None:
    nbformat.write(with_text("[itself](n.ipynb), [elsewhere](https://a.org/x), `f[0](1)`"), tmp_path / "n.ipynb")
    assert script().lint(tmp_path / "n.ipynb") == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_clean_and_the_same_on_every_machine(path: Path) -> None:
    assert script().lint(path) == []
    notebook: Any = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown = f"{output.get('text', '')}{data.get('text/plain', '')}{data.get('text/html', '')}"
            assert not [place for place in MACHINE if place in shown], shown
