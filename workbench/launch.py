"""``workbench lab``: JupyterLab on a notebook in which the workbench shows a model.

The notebook is run when it opens. Which one that is, the server tells its own pages (``workbenchRun`` in their page
configuration): a link or a downloaded notebook cannot ask for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from workbench.errors import ModelError, SaveError
from workbench.files import replacing

FIRST_LOOK = "first_look.ipynb"


def lab(source: str | None = None, *, browser: bool = True, port: int | None = None) -> int:
    """Start JupyterLab and stay until it ends; returns its exit code.

    Args:
        source: a notebook, which is opened as it is; or a model, for which a notebook is written beside it unless there
            is one already; or nothing, for a notebook on the shipped sample in the current folder.
        browser: open a browser on it.
        port: of the server; JupyterLab's own choice without it.

    Raises:
        ModelError: ``source`` does not exist.
        SaveError: the notebook cannot be written.
    """
    notebook = _notebook(source)
    here = Path.cwd()
    root = here if notebook.is_relative_to(here) else notebook.parent
    opened = notebook.relative_to(root).as_posix()
    server = subprocess.Popen([*command(root, opened, browser=browser, port=port), str(notebook)])
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            continue  # the server got it too; it asks whether to shut down, and decides


def command(root: Path, opened: str, *, browser: bool, port: int | None) -> list[str]:
    """The command line of the server.

    Args:
        root: the folder that JupyterLab shows.
        opened: the notebook to run on opening, relative to ``root``.
        browser: open a browser.
        port: of the server, or ``None``.
    """
    settings = {"page_config_data": {"workbenchRun": opened}}
    line = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ip=127.0.0.1",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{quote(opened)}",  # what is printed where no browser opens
        f"--ServerApp.tornado_settings={json.dumps(settings)}",
    ]
    if not browser:
        line.append("--no-browser")
    if port is not None:
        line += [f"--port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container root is the only user. The server listens on the loopback interface only and wants its token.
        line.append("--allow-root")
    return line


def _notebook(source: str | None) -> Path:
    """The notebook to open; written if it does not exist yet."""
    if source is None:
        path = Path.cwd() / FIRST_LOOK
        return path if path.exists() else _write(path, "wb.samples.digits()")
    given = Path(source).expanduser().absolute()
    if not given.exists():
        raise ModelError(f"{source}: no such file or folder.")
    if given.suffix == ".ipynb":
        return given
    path = given.with_name(given.name + ".ipynb")
    return path if path.exists() else _write(path, json.dumps(given.name, ensure_ascii=False))


def _write(path: Path, model: str) -> Path:
    """Write a notebook with one cell that shows the workbench on the model (a Python expression)."""
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": "workbench",
                "metadata": {},
                "outputs": [],
                "source": f"import workbench as wb\n\nwb.Workbench({model})",
            }
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    try:
        with replacing(path) as partial:
            partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except SaveError as error:
        raise SaveError(f"the notebook for the model cannot be written: {error}") from error
    return path
