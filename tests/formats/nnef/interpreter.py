"""nnef_tools' PyTorch interpreter as an oracle of NNEF's operations, in a subprocess."""

from __future__ import annotations

import importlib.util
import json
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


def run_all(folders: dict[Path, list[str]]) -> dict[Path, dict[str, NDArray[np.generic]] | str]:
    """Run each model folder (with its ``feeds.npz``); its outputs, or what went wrong.

    Args:
        folders: model folder → standard operations that the oracle shall take apart as the standard library does.

    The test is skipped where PyTorch is missing, which the interpreter is made of.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("nnef_tools' interpreter needs PyTorch")
    request = json.dumps([[str(folder), decomposed] for folder, decomposed in folders.items()])
    run = subprocess.run([sys.executable, "-c", _SCRIPT], input=request, capture_output=True, text=True, timeout=300)
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
