"""The tables of lowerings: what is a duplicate, and what is the same again; compositions of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import WorkbenchError
from workbench.hub import compositions as hub
from workbench.hub.compositions import GROUP, compositions
from workbench.lowering import Table


def run_cell(table: Table[Any], source: str, filename: str, module: str = "__main__") -> None:
    """Run a text as a notebook runs a cell: under a file name of its own, in one module."""
    exec(compile(source, filename, "exec"), {"__name__": module, "TABLE": table})


def cell(result: str, name: str = "norm_relu", before: str = "") -> str:
    return f"{before}@TABLE.lowers('NormRelu', domain='my')\ndef {name}(node, emit):\n    return {result!r}\n"


def found(table: Table[Any]) -> Any:
    function: Callable[..., Any] | None = table.find("NormRelu", domain="my")
    assert function is not None
    return function(None, None)


def test_a_cell_that_is_run_again_replaces_what_it_registered() -> None:
    table: Table[Any] = Table("onnx", "onnx")
    run_cell(table, cell("first"), "/tmp/ipykernel_1/1.py")
    run_cell(table, cell("first"), "/tmp/ipykernel_1/1.py")
    run_cell(table, cell("changed", before="\n\n"), "/tmp/ipykernel_1/2.py")
    assert found(table) == "changed"
    assert len(list(table)) == 1


def test_a_module_that_is_reloaded_replaces_what_it_registered() -> None:
    table: Table[Any] = Table("onnx", "onnx")
    for _ in range(2):
        run_cell(table, cell("same"), "/site/mine.py", "mine")
    assert len(list(table)) == 1


@pytest.mark.parametrize(
    ("source", "filename", "module"),
    [
        (cell("other", name="other"), "/tmp/ipykernel_1/2.py", "__main__"),  # another function
        (cell("other", before="\n"), "/site/mine.py", "mine"),  # a second one of the name, in one file
        (cell("other"), "/site/theirs.py", "theirs"),  # another module
        ("TABLE.lowers('NormRelu', domain='my')(lambda node, emit: 0)", "/tmp/ipykernel_1/2.py", "__main__"),
    ],
)
@pytest.mark.parametrize("first", [("/tmp/ipykernel_1/1.py", "__main__"), ("/site/mine.py", "mine")])
def test_anything_else_is_registered_twice(first: tuple[str, str], source: str, filename: str, module: str) -> None:
    table: Table[Any] = Table("onnx", "onnx")
    run_cell(table, cell("first"), *first)
    with pytest.raises(WorkbenchError, match="NormRelu-1 is registered twice"):
        run_cell(table, source, filename, module)
    assert found(table) == "first"


def test_two_versions_in_one_table_stay_two() -> None:
    table: Table[Any] = Table("onnx", "onnx")
    source = "".join(f"@TABLE.lowers('Clip', since={at})\ndef clip_{at}(node, emit): return {at}\n" for at in (6, 11))
    for _ in range(2):
        run_cell(table, source, "/site/mine.py", "mine")
    assert [entry.since for entry in table] == [11, 6]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes a text the module of another package that is named under the entry points."""

    def install(source: str) -> None:
        (tmp_path / "composed_elsewhere.py").write_text(source)
        entry = EntryPoint("elsewhere", "composed_elsewhere", GROUP)
        monkeypatch.setattr(hub, "entry_points", lambda group: [entry] if group == GROUP else [])
        compositions.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    sys.modules.pop("composed_elsewhere", None)
    hub.TABLE._entries.pop(("elsewhere", "Twice"), None)
    compositions.cache_clear()


def test_another_package_brings_compositions(plugin: Callable[[str], None]) -> None:
    plugin(
        "from workbench.hub.compositions import TABLE\n"
        "@TABLE.lowers('Twice', domain='elsewhere')\n"
        "def twice(node, emit):\n"
        "    return emit.op('Add', node.value(0), node.value(0))\n"
    )
    assert compositions().knows("Twice", "elsewhere")


def test_a_package_whose_compositions_cannot_be_loaded_is_named(plugin: Callable[[str], None]) -> None:
    plugin("import no_such_module_anywhere")
    with pytest.raises(WorkbenchError, match=r"'elsewhere' \(composed_elsewhere\) cannot be loaded.*uninstall"):
        compositions()
