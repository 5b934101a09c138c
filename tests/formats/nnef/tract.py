"""tract as an oracle of the tract dialect: https://github.com/sonos/tract, its Python wheel in a subprocess.

tract panics on what it does not expect, which ends its process; a runner notices and starts the next one.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SCRIPT = r"""
import json, sys
import numpy as np
import tract

framework = tract.nnef().with_tract_extra().with_onnx().with_tract_transformers()

def write(source, folder):
    model = tract.onnx().load(source).into_model()
    framework.write_model_to_dir(model, folder)
    return {}

def run(folder):
    model = framework.load(folder)
    names = [model.input_name(index) for index in range(model.input_count())]
    runnable = model.into_runnable()
    with np.load(folder + "/feeds.npz") as feeds:
        results = runnable.run([feeds[name] for name in names])
    arrays = {f"{index:03}": tensor.to_numpy() for index, tensor in enumerate(results)}
    np.savez(folder + "/tract.npz", **arrays)
    return {}

for line in sys.stdin:
    try:
        task = json.loads(line)
        answer = run(task) if isinstance(task, str) else write(*task)
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}".partition("\n\nStack backtrace")[0]}
    print("@@@" + json.dumps(answer), flush=True)
"""


class Tract:
    """A process that loads and runs NNEF folders with tract, one after the other; a context manager.

    Args:
        limit: seconds for one folder.
    """

    def __init__(self, limit: float = 60.0) -> None:
        self.limit = limit
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Tract:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def run(self, folder: Path, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]] | str:
        """The outputs that tract computes, in the order of the graph's results, or what went wrong."""
        np.savez(folder / "feeds.npz", **feeds)  # type: ignore[arg-type]  # numpy's stub takes the names for options
        answer = self._ask(str(folder))
        if "error" in answer:
            return str(answer["error"])
        with np.load(folder / "tract.npz") as arrays:
            return [arrays[name] for name in sorted(arrays.files)]

    def write(self, source: Path, folder: Path) -> str:
        """What tract makes of an ONNX file, as NNEF in a folder that is not there yet; what went wrong, or nothing."""
        return str(self._ask([str(source), str(folder)]).get("error", ""))

    def _ask(self, task: str | list[str]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()
        timer = threading.Timer(self.limit, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
            while line := process.stdout.readline():
                if line.startswith("@@@"):
                    found: dict[str, Any] = json.loads(line[3:])
                    return found
        finally:
            timer.cancel()
        code = process.wait()
        self.close()
        return {
            "error": f"tract gives no result in {self.limit:g} s"
            if late.is_set()
            else f"tract's process ended with {code}"
        }
