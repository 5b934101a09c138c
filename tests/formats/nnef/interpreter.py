"""What runs NNEF besides us, as oracles, in subprocesses: nnef_tools' PyTorch interpreter, Khronos' C++ runtime."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_SCRIPT = r"""
import json, sys
import numpy as np
from nnef_tools.interpreter.pytorch import Interpreter

def run(folder, decomposed):
    feeds = np.load(folder + "/feeds.npz")
    interpreter = Interpreter(folder, device="cpu", decomposed=decomposed)
    names = [tensor.name for tensor in interpreter.input_details()]
    return interpreter([feeds[name] for name in names])

errors = {}
for folder, decomposed in json.load(sys.stdin):
    try:
        np.savez(folder + "/oracle.npz", **run(folder, decomposed))
    except Exception as error:
        errors[folder] = f"{type(error).__name__}: {error}"
print("@@@" + json.dumps(errors))
"""


_RUNTIME = r"""
import json, os, sys
import nnef
import numpy as np

KINDS = {"scalar": "f4", "integer": "i4", "logical": "?"}

def run(folder, lowered):
    graph = nnef.load_graph(folder, load_variables=False)
    with np.load(folder + "/feeds.npz") as feeds, nnef.Session(folder, lowered=lowered) as session:
        given = [feeds[name].astype(KINDS[graph.tensors[name].dtype]) for name in graph.inputs]
        np.savez(folder + "/oracle.npz", **dict(zip(graph.outputs, session(*given))))

errors = {}
for folder, lowered in json.load(sys.stdin):
    child = os.fork()  # what it does not know can end its process
    if not child:
        try:
            run(folder, lowered)
        except Exception as error:
            with open(folder + "/error", "w") as handle:
                handle.write(f"{type(error).__name__}: {error}")
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        errors[folder] = f"signal {os.WTERMSIG(status)}"
    elif status:
        errors[folder] = open(folder + "/error").read()
print("@@@" + json.dumps(errors))
"""


def run_in_runtime(folders: dict[Path, list[str]]) -> dict[Path, dict[str, NDArray[np.generic]] | str]:
    """Run each model folder in Khronos' runtime, whose scalars are float32 and whose integers have 32 bits."""
    if not hasattr(os, "fork"):
        pytest.skip("the runtime runs in processes that are forked")
    return _run(_RUNTIME, folders)


def run_all(folders: dict[Path, list[str]]) -> dict[Path, dict[str, NDArray[np.generic]] | str]:
    """Run each model folder (with its ``feeds.npz``); its outputs, or what went wrong.

    Args:
        folders: model folder → standard operations that the oracle shall take apart as the standard library does.

    The test is skipped where PyTorch is missing, which the interpreter is made of.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("nnef_tools' interpreter needs PyTorch")
    return _run(_SCRIPT, folders)


def _run(script: str, folders: dict[Path, list[str]]) -> dict[Path, dict[str, NDArray[np.generic]] | str]:
    request = json.dumps([[str(folder), decomposed] for folder, decomposed in folders.items()])
    run = subprocess.run([sys.executable, "-c", script], input=request, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    errors = json.loads(run.stdout.partition("@@@")[2])
    found: dict[Path, dict[str, NDArray[np.generic]] | str] = {}
    for folder in folders:
        if str(folder) in errors:
            found[folder] = errors[str(folder)]
        else:
            with np.load(folder / "oracle.npz") as arrays:
                found[folder] = {name: arrays[name] for name in arrays.files}
    return found
