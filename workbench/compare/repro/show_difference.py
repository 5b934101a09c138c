"""Run one layer in two formats on the same numbers and show how the results differ.

    python show_difference.py

Needs numpy and onnxruntime; with coremltools on a Mac, or with nnef_tools and PyTorch, the target's layer is run by
those as well. Everything is read from the folder of this script, and repro.json says what is what. The exit code is 0
if the difference is as recorded in repro.json (seen again, or still none), 1 if it is not.
"""
# ruff: noqa: T201

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parent


def load(name: str) -> dict[str, Any]:
    with np.load(FOLDER / name, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def by_onnxruntime(model: str, feeds: dict[str, Any], output: str) -> Any:
    session = onnxruntime.InferenceSession(str(FOLDER / model), providers=["CPUExecutionProvider"])
    return session.run([output], feeds)[0]


def by_coremltools(model: str, feeds: dict[str, Any], output: str) -> Any:
    if sys.platform != "darwin":
        raise ImportError("Core ML models run on a Mac only")
    import coremltools

    return np.asarray(coremltools.models.MLModel(str(FOLDER / model)).predict(feeds)[output])


def by_nnef_tools(model: str, feeds: dict[str, Any], output: str) -> Any:
    from nnef_tools.interpreter.pytorch import Interpreter

    interpreter = Interpreter(str(FOLDER / model), device="cpu", decomposed=[])
    names = [tensor.name for tensor in interpreter.input_details()]
    return np.asarray(interpreter([feeds[name] for name in names])[output])


def arranged(array: Any, perm: list[int] | None) -> Any:
    return array if perm is None else array.transpose(perm)


def show(title: str, reference: Any, target: Any) -> float:
    """Print how far the target is from the reference; returns the relative L2 error (or the share that differs)."""
    print(f"\n{title}")
    if reference.size != target.size:
        print(f"  shape {list(target.shape)} instead of {list(reference.shape)}")
        return float("inf")
    x, y = (np.asarray(array).reshape(-1) for array in (reference, target))
    if x.dtype.kind != "f":
        differing = int(np.count_nonzero(x != y))
        print(f"  {differing} of {x.size} elements differ")
        return differing / max(x.size, 1)
    x, y = x.astype(np.float64), y.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    finite = np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(~finite & ~same):
        print(f"  NaN or infinity in other places: {np.count_nonzero(~finite & ~same)} of {x.size} elements")
        return float("inf")
    d = np.where(finite, np.where(same, 0.0, y - np.where(finite, x, 0.0)), 0.0)
    norm = float(np.linalg.norm(np.where(finite, x, 0.0)))
    error = float(np.linalg.norm(d)) / norm if norm else (float("inf") if d.any() else 0.0)
    at = int(np.abs(d).argmax()) if d.size else 0
    place = [int(i) for i in np.unravel_index(at, reference.shape)] if d.size else []
    print(f"  relative L2 error   {error:.3e}")
    if d.size:
        print(f"  largest difference  {abs(d[at]):.3e} at {place}: {y[at]:.9g} instead of {x[at]:.9g}")
    return error


def main() -> int:
    facts = json.loads((FOLDER / "repro.json").read_text(encoding="utf-8"))
    reference, target, expected = facts["reference"], facts["target"], facts["expected"]
    print(f"{facts['operator']} {facts['layer']}: {reference['format']} against {target['format']}")
    recorded = load("expected.npz")
    x = by_onnxruntime(reference["model"], load("reference_inputs.npz"), reference["output"])
    show("the reference, run now, against what it gave when this was recorded", recorded["reference"], x)
    x = arranged(x, reference["perm"])
    feeds = load("target_inputs.npz")
    runners: list[tuple[str, Callable[[str, dict[str, Any], str], Any], str]] = [
        ("coremltools", by_coremltools, "coreml"),
        ("nnef_tools", by_nnef_tools, "nnef"),
        ("onnxruntime", by_onnxruntime, "onnx"),
    ]
    errors = []
    for name, run, form in runners:
        if form == target["form"]:
            try:
                y = run(target["model"], feeds, target["output"])
            except Exception as cause:
                print(f"\n{target['model']} was not run by {name}: {type(cause).__name__}: {cause}")
                continue
            title = f"{target['model']}, run by {name}, against the reference"
            errors.append(show(title, x, arranged(y, target["perm"])))
    if target["translated"]:
        y = by_onnxruntime(target["translated"], feeds, target["output"])
        title = f"{target['translated']}, the same layer said in ONNX, run by onnxruntime, against the reference"
        errors.append(show(title, x, arranged(y, target["perm"])))
    error = max(errors, default=float("nan"))
    differs = not error <= expected["bound"]
    print(f"\nrecorded: {expected['text']}; a correct layer stays below {expected['bound']:.1e}")
    as_recorded = differs == expected["differs"]
    print("The difference is there." if differs else "There is no difference beyond rounding.")
    if not as_recorded:
        print("That is NOT what was recorded; other versions of the packages may be the reason.")
    return 0 if as_recorded else 1


if __name__ == "__main__":
    sys.exit(main())
