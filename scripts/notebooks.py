"""Keep the notebooks fit to be regression tests.

``notebooks.py refresh PATH…`` runs them in place and leaves nothing volatile in the file.
``notebooks.py lint PATH…`` refuses what nbval would pass over in silence or fail on by chance.
A path is a notebook or a folder of notebooks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_LINK = re.compile(r"\]\(([\w./-]+\.\w+)\)")
"""The target of a link to a file beside the notebook."""
_VOLATILE = {"execution", "ExecuteTime", "collapsed"}
_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}


def notebooks(paths: list[str]) -> Iterator[Path]:
    """The notebooks named, and those in the folders named.

    Raises
    ------
    SystemExit
        There is none: a check of nothing must not pass.
    """
    found = [
        notebook
        for path in map(Path, paths)
        for notebook in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])
    ]
    if not found:
        sys.exit(f"no notebook in {', '.join(paths) or 'no path at all'}")
    yield from found


def refresh(path: Path) -> None:
    """Run the notebook at `path` and write it back without timings, widget state or the kernel's version."""
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        for key in _VOLATILE & set(cell.metadata):
            del cell.metadata[key]
    nbformat.write(notebook, path)


def _texts(output: Any) -> str:
    data = output.get("data", {})
    return f"{output.get('text', '')}{data.get('text/plain', '')}{data.get('text/html', '')}"


def _problems_of_cell(cell: Any) -> Iterator[str]:
    tags = cell.metadata.get("tags", [])
    if cell.execution_count is None and cell.source.strip() and "nbval-skip" not in tags:
        yield "never run, so nbval compares nothing"
    if _VOLATILE & set(cell.metadata):
        yield "timings or view state in the metadata"
    for output in cell.outputs:
        if _ADDRESS.search(_texts(output)):
            yield "a memory address in an output"
        if output.output_type == "stream" and output.name == "stderr":
            yield "output on stderr"
        if output.output_type == "error" and "raises-exception" not in tags:
            yield f"an error: {output.ename}"


def lint(path: Path) -> list[str]:
    """What is wrong with the notebook at `path`, one line each."""
    notebook: Any = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    problems = [
        f"{path}: code cell {number}: {problem}"
        for number, cell in enumerate(cells, 1)
        for problem in _problems_of_cell(cell)
    ]
    links = [link for cell in notebook.cells if cell.cell_type == "markdown" for link in _LINK.findall(cell.source)]
    problems += [f"{path}: a link leads nowhere: {link}" for link in links if not (path.parent / link).exists()]
    if not cells:
        problems.append(f"{path}: no code cell")
    if "widgets" in notebook.metadata:
        problems.append(f"{path}: widget state is saved, which hides the HTML fallback in static pages")
    return problems


def main() -> int:
    command, *paths = sys.argv[1:] or [""]
    if command == "refresh":
        for path in notebooks(paths):
            refresh(path)
        return 0
    if command == "lint":
        problems = [problem for path in notebooks(paths) for problem in lint(path)]
        print("\n".join(problems) or "notebooks: clean")
        return int(bool(problems))
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
