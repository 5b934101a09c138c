"""The documentation builds without a warning, and what it says of the code is so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import workbench as wb
from workbench.cli import _parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*/*.md"))]
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[str]:
    return _PYTHON.findall(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="the extra docs is not installed")
def test_the_site_builds_and_has_every_tutorial(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "docs.py"), str(tmp_path / "site"), str(tmp_path / "sources")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.stem for path in (tmp_path / "site" / "tutorials").glob("*.html")}
    assert built == {"index", *(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))}
    reference = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    missing = [each for each in wb.__all__ if f'id="workbench.{each}"' not in reference and callable(getattr(wb, each))]
    assert [each for each in missing if f"errors.{each}" not in reference] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_its_python_is_python_and_names_what_there_is(path: Path) -> None:
    for block in blocks(path):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wb":
                assert hasattr(wb, node.attr), f"wb.{node.attr}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_its_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        place = path.parent / target
        notebook = ROOT / "notebooks" / f"{place.stem}.ipynb"  # where the site has a page made of a tutorial
        assert place.exists() or (place.parent.name == "tutorials" and notebook.exists()), target


def test_every_command_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide" / "06-command-line.md").read_text(encoding="utf-8")
    commands = next(action.choices for action in _parser()._actions if isinstance(action.choices, dict))
    assert [command for command in commands if f"workbench {command}" not in guide] == []
