"""Build the documentation's site: ``docs.py [DESTINATION [SOURCES]]``, ``build/site`` and ``build/docs`` without them.

``docs/`` and the tutorials, as they were run last, are put together in the folder SOURCES. Warnings are errors.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\]\((\d\d_\w+)\.ipynb\)")
_STYLE = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)


def tutorial(path: Path, destination: Path) -> None:
    """Write the notebook as a page, with its pictures in a folder beside it; links to others become links to pages."""
    pictures = f"{path.stem}_files"
    body, resources = MarkdownExporter().from_filename(str(path), resources={"output_files_dir": pictures})
    text = _STYLE.sub("", _LINK.sub(r"](\1.md)", body))
    (destination / f"{path.stem}.md").write_text(text, encoding="utf-8")
    outputs: dict[str, Any] = resources["outputs"]
    for name, data in outputs.items():
        target = destination / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)


def assemble(sources: Path) -> None:
    """Put everything that Sphinx reads into one folder."""
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(ROOT / "docs", sources)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        tutorial(path, sources / "tutorials")


def main() -> int:
    given = [Path(argument) for argument in sys.argv[1:]]
    destination, sources = given + [ROOT / "build" / "site", ROOT / "build" / "docs"][len(given) :]
    assemble(sources)
    shutil.rmtree(destination, ignore_errors=True)
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, "-b", "html", str(sources), str(destination)], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
