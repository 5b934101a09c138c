"""What a comparison costs: time against the summed unoptimised inference of both models, and peak memory.

Each way runs in a process of its own, on a model saved in both formats, so that its peak is its own. Times are those of
the processor, on one thread: they do not depend on what else the machine does. Run it with
``python -m tests.benchmarks.compare [MODEL …]``; the models are those of ``tests/benchmarks/networks.py`` (PyTorch has
to be installed) and of ``tests/real_models.py``. Polygraphy is measured beside it where the environment variable
POLYGRAPHY_PYTHON names a Python that has it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.real_models import ONNX, onnx_model
from workbench.executors import Fragment, OnnxRuntimeExecutor

MODELS = ("mobilenet-v2", "bert-base", "light-resnet50", "magika")
TARGET = "nnef"
RUNS = 3
SAMPLES = 8
WAYS = ("load", "plain", "floor", "marked", "compare-1", f"compare-{SAMPLES}")
POLYGRAPHY = """
import sys, time
from polygraphy.backend.onnx import modify_outputs, onnx_from_path, BytesFromOnnx
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.comparator import Comparator, CompareFunc
from polygraphy.constants import MARK_ALL
marked = modify_outputs(onnx_from_path(sys.argv[1]), outputs=MARK_ALL)
start = time.process_time()
runners = [OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(marked))) for _ in range(2)]
Comparator.compare_accuracy(Comparator.run(runners), compare_func=CompareFunc.simple())
print(time.process_time() - start, file=sys.stderr)
"""


def seconds(action: Callable[[], object], runs: int = RUNS) -> float:
    """Processor time of the shortest of a few runs."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def feeds_of(name: str, model: wb.Model, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """A sample that fits."""
    if any(real.name == name for real in ONNX):
        return onnx_model(name).feeds(model, seed)
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.standard_normal(spec.shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else rng.integers(0, 2, spec.shape).astype(spec.dtype)
        for spec in model.inputs
    }


def measure(way: str, folder: Path, name: str) -> dict[str, float]:
    """One way, in this process: times in seconds, and the peak of resident memory in MB."""
    if way == "prepare":
        return prepare(folder, name)
    models = [wb.load(path) for path in sorted(folder.iterdir())]
    models.sort(key=lambda model: model.format != "onnx")
    reference, target = models
    count = int(way.removeprefix("compare-")) if "-" in way else 1
    samples = [feeds_of(name, reference, seed) for seed in range(count)]
    found: dict[str, float] = {}
    if way == "load":
        assert reference.graph is not target.graph
    elif way == "plain":
        found["optimised"] = sum(_plain(model, samples[0]) for model in models)
    elif way == "floor":
        found.update(_floor(models, samples[0]))
    elif way == "marked":
        found["marked"] = sum(_marked(model, samples[0]) for model in models)
    else:
        report = wb.compare(reference, target, feeds=samples, threads=1, observe=False)
        assert report.ok, str(report)
        runs = 1 if name == "bert-base" else RUNS
        found["compare"] = seconds(lambda: wb.compare(reference, target, feeds=samples, threads=1, observe=False), runs)
        found["tensors"] = len(report.rows)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return found


def prepare(folder: Path, name: str) -> dict[str, float]:
    """Write the model in both formats."""
    if any(real.name == name for real in ONNX):
        real = onnx_model(name)
        model = wb.load(real.source)
        model.save(folder / "model.onnx")
        shapes = {"shapes": real.shapes} if real.shapes else {}
    else:
        from tests.benchmarks.networks import export

        export(name, folder / "model.onnx")
        model, shapes = wb.load(folder / "model.onnx"), {}
    model.convert(TARGET, **shapes).save(folder / "model.nnef.tgz")
    return {}


def _plain(model: wb.Model, feeds: dict[str, Any]) -> float:
    model.run(feeds)
    return seconds(lambda: model.run(feeds))


def _floor(models: Sequence[wb.Model], feeds: dict[str, Any]) -> dict[str, float]:
    """Unoptimised inference of both, and what their sessions take to make."""
    found = {"unoptimised": 0.0, "sessions": 0.0}
    for model in models:
        outputs = [value.name or "" for value in model.graph.graph.outputs]
        start = time.process_time()
        fragment = Fragment(list(model.graph.graph), outputs, threads=1)
        found["sessions"] += time.process_time() - start
        ready = model.adapt_feeds(feeds)
        fragment.run(ready)
        start = time.process_time()
        for _ in range(RUNS):
            fragment.run(ready)
        found["unoptimised"] += (time.process_time() - start) / RUNS
    return found


def _marked(model: wb.Model, feeds: dict[str, Any]) -> float:
    """Every tensor an output of one session, all of them held."""
    tensors = [value.name for node in model.graph.graph for value in node.outputs if value.name]
    executor = OnnxRuntimeExecutor(model.graph, model.name, threads=1)
    ready = model.adapt_feeds(feeds)
    executor.run(ready, tensors)
    return seconds(lambda: executor.run(ready, tensors))


def polygraphy(folder: Path) -> str:
    """The line for Polygraphy: two onnxruntime runners on the ONNX model with all tensors marked."""
    python = os.environ.get("POLYGRAPHY_PYTHON")
    if not python:
        return "  Polygraphy               not measured: POLYGRAPHY_PYTHON names no Python that has it"
    command = [python, "-c", POLYGRAPHY, str(folder / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"  Polygraphy               failed: {done.stderr.strip().splitlines()[-1]}"
    return f"  Polygraphy, two runners  {float(done.stderr.strip().splitlines()[-1]):7.3f} s"


def table(name: str) -> str:
    """The lines for one model."""
    if name in ("mobilenet-v2", "bert-base") and find_spec("torch") is None:
        return f"{name}: skipped, PyTorch is not installed"
    with tempfile.TemporaryDirectory() as folder:  # this process stays small: a child's peak begins with its parent's
        command = [sys.executable, "-m", "tests.benchmarks.compare", "--measure"]
        found = {way: json.loads(subprocess.check_output([*command, way, folder, name])) for way in ("prepare", *WAYS)}
        rival = polygraphy(Path(folder))
    floor, sessions = found["floor"]["unoptimised"], found["floor"]["sessions"]
    tensors = int(found["compare-1"]["tensors"])
    lines = [
        f"{name}, {tensors} tensors, onnx against {TARGET}; making both sessions {sessions:.3f} s",
        f"  both models loaded                                           {found['load']['peak']:5.0f} MB",
        f"  both, optimised          {found['plain']['optimised']:7.3f} s                            "
        f"{found['plain']['peak']:5.0f} MB",
        f"  both, unoptimised        {floor:7.3f} s    1.0 x",
        f"  both, all tensors marked {found['marked']['marked']:7.3f} s  {found['marked']['marked'] / floor:5.1f} x  "
        f"                 {found['marked']['peak']:5.0f} MB",
    ]
    for count in (1, SAMPLES):
        way = found[f"compare-{count}"]
        each = way["compare"] / count
        lines.append(
            f"  compare, {count} sample{'s' if count > 1 else ' '}       {each:7.3f} s  {each / floor:5.1f} x  "
            f"({(way['compare'] - sessions) / count / floor:4.1f} x less sessions) {way['peak']:5.0f} MB"
        )
    return "\n".join([*lines, rival])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])))
    else:
        for chosen in sys.argv[1:] or MODELS:
            print(table(chosen), flush=True)
