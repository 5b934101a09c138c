"""What a comparison costs: time against the summed unoptimised inference of both models, peak memory, time to cancel.

Each way runs in a process of its own, on models saved before, so that its peak is its own. Times are those of the
processor, on one thread: they do not depend on what else the machine does (the time to cancel does: it is the clock's).
What a model of float16 takes unoptimised is what our own executor takes for it, which rounds where the program says so.

``python -m tests.benchmarks.compare [MODEL …] [--target TARGET]``; the models are those of
``tests/benchmarks/networks.py`` (PyTorch has to be installed) and of ``tests/real_models.py``. Polygraphy is measured
beside it where it is installed, or lies in the folder that WORKBENCH_BENCH_PATH names.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.real_models import ONNX, onnx_model
from workbench.errors import Cancelled
from workbench.executors import Fragment, OnnxRuntimeExecutor

MODELS = ("mobilenet-v2", "bert-base", "light-resnet50", "magika")
TARGETS: dict[str, tuple[str, dict[str, str]]] = {
    "coreml": ("model.mlpackage", {}),
    "coreml-fp16": ("model.mlpackage", {"precision": "fp16"}),
    "nnef": ("model.nnef.tgz", {}),
    "optimised": ("optimised.onnx", {}),
}
"""The file of each, and the options of the conversion; the last is what onnxruntime's basic optimisations make."""
RUNS = 3
SAMPLES = 8
WAYS = ("load", "plain-reference", "plain-target", "floor", "marked", "compare-1", f"compare-{SAMPLES}", "cancel")
CANCELLED_AT = (0.2, 0.5, 0.8)
"""Of the time that the whole comparison takes."""
SPARE_MB = 100
"""By so much the peak of a comparison may be above that of the larger model's plain run."""
EXTRA = os.environ.get("WORKBENCH_BENCH_PATH", "")
POLYGRAPHY = """
import resource, sys, time
from polygraphy.backend.onnx import modify_outputs, onnx_from_path, BytesFromOnnx
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.comparator import Comparator, CompareFunc
from polygraphy.constants import MARK_ALL
marked = modify_outputs(onnx_from_path(sys.argv[1]), outputs=MARK_ALL)
start = time.process_time()
runners = [OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(marked))) for _ in range(2)]
Comparator.compare_accuracy(Comparator.run(runners), compare_func=CompareFunc.simple())
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(seconds, peak, file=sys.stderr)
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


def measure(way: str, folder: Path, name: str, target: str) -> dict[str, float]:
    """One way, in this process: times in seconds, and the peak of resident memory in MB."""
    if way == "prepare":
        return prepare(folder, name, target)
    paths = [folder / "model.onnx", folder / TARGETS[target][0]]
    if way.startswith("plain"):
        paths = paths[way == "plain-target" :][:1]
    models = [wb.load(path) for path in paths]
    count = int(way.removeprefix("compare-")) if way.startswith("compare") else SAMPLES if way == "cancel" else 1
    shown = models[0] if way != "plain-target" else wb.load(folder / "model.onnx")
    samples = [feeds_of(name, shown, seed) for seed in range(count)]
    found: dict[str, float] = {}
    if way.startswith("plain"):
        found["optimised"] = _plain(models[0], samples[0])
    elif way == "floor":
        found.update(_floor(models, samples[0]))
    elif way == "marked":
        found["marked"] = sum(_marked(model, samples[0]) for model in models)
    elif way == "cancel":
        found["cancel"] = _cancelled(models, samples)
    elif way.startswith("compare"):
        found.update(_compared(models, samples, 1 if name == "bert-base" else RUNS))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return found


def prepare(folder: Path, name: str, target: str) -> dict[str, float]:
    """Write the model in both formats."""
    shapes: dict[str, Any] = {}
    if any(real.name == name for real in ONNX):
        real = onnx_model(name)
        model = wb.load(real.source)
        model.save(folder / "model.onnx")
        shapes = {"shapes": real.shapes} if real.shapes else {}
    else:
        from tests.benchmarks.networks import export

        export(name, folder / "model.onnx")
        model = wb.load(folder / "model.onnx")
    file, options = TARGETS[target]
    if target == "optimised":
        import onnxruntime

        wanted = onnxruntime.SessionOptions()
        wanted.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        wanted.optimized_model_filepath = str(folder / file)
        onnxruntime.InferenceSession(str(folder / "model.onnx"), wanted, providers=["CPUExecutionProvider"])
    else:
        model.convert(target.split("-")[0], **shapes, **options).save(folder / file)
    return {}


def _compared(models: Sequence[wb.Model], samples: list[dict[str, Any]], runs: int) -> dict[str, float]:
    """The whole comparison, the report included."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        report = wb.compare(*models, feeds=samples, threads=1, observe=False)
        times.append(time.process_time() - start)
        assert report.ok, str(report)
    return {"compare": min(times), "tensors": len(report.rows)}


def _cancelled(models: Sequence[wb.Model], samples: list[dict[str, Any]]) -> float:
    """The longest time from the wish to cancel until the comparison has ended."""
    wished = threading.Event()
    moment = [0.0]

    def progress(stage: str, fraction: float) -> None:
        if wished.is_set():
            raise Cancelled("measured")

    def wish() -> None:
        moment[0] = time.monotonic()
        wished.set()

    start = time.monotonic()
    wb.compare(*models, feeds=samples, threads=1, observe=False, progress=progress)
    whole, longest = time.monotonic() - start, 0.0
    for share in CANCELLED_AT:
        wished.clear()
        timer = threading.Timer(share * whole, wish)
        timer.start()
        try:
            wb.compare(*models, feeds=samples, threads=1, observe=False, progress=progress)
        except Cancelled:
            longest = max(longest, time.monotonic() - moment[0])
        timer.cancel()
    return longest


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


def polygraphy(folder: Path, floor: float) -> str:
    """The line for Polygraphy: two onnxruntime runners on the ONNX model, all tensors of both marked and compared."""
    if find_spec("polygraphy") is None and not (Path(EXTRA) / "polygraphy").is_dir():
        return "  Polygraphy                 not installed"
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH", ""), EXTRA)))
    command = [sys.executable, "-c", POLYGRAPHY, str(folder / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        return f"  Polygraphy                 failed: {done.stderr.strip().splitlines()[-1]}"
    seconds, peak = (float(word) for word in done.stderr.strip().splitlines()[-1].split())
    return _line("Polygraphy, reference twice", seconds, floor, peak)


def _line(what: str, seconds: float, floor: float, peak: float, note: str = "") -> str:
    return f"  {what:28}{seconds:8.3f} s {seconds / floor:6.1f} x {peak:6.0f} MB{note}"


def table(name: str, target: str) -> str:
    """The lines for one model and one target."""
    if name in ("mobilenet-v2", "bert-base") and find_spec("torch") is None:
        return f"{name}: skipped, PyTorch is not installed"
    with tempfile.TemporaryDirectory() as folder:  # this process stays small: a child's peak begins with its parent's
        command = [sys.executable, "-m", "tests.benchmarks.compare", name, "--target", target, "--folder", folder]
        found = {way: json.loads(subprocess.check_output([*command, "--measure", way])) for way in ("prepare", *WAYS)}
        floor, sessions = found["floor"]["unoptimised"], found["floor"]["sessions"]
        rival = polygraphy(Path(folder), floor)
    plain = [found["plain-reference"], found["plain-target"]]
    bound = max(way["peak"] for way in plain) + SPARE_MB
    lines = [
        f"{name}, {int(found['compare-1']['tensors'])} tensors, onnx against {target}; "
        f"making both sessions {sessions:.3f} s; bound of the peak {bound:.0f} MB",
        _line("both models loaded", 0.0, floor, found["load"]["peak"]),
        _line("plain, reference", plain[0]["optimised"], floor, plain[0]["peak"]),
        _line("plain, target", plain[1]["optimised"], floor, plain[1]["peak"]),
        _line("both, unoptimised", floor, floor, found["floor"]["peak"]),
        _line("both, all outputs marked", found["marked"]["marked"], floor, found["marked"]["peak"]),
    ]
    for count in (1, SAMPLES):
        way = found[f"compare-{count}"]
        less = (way["compare"] - sessions) / count / floor
        what = f"compare, {count} sample{'s' if count > 1 else ''}, each"
        note = f"  {less:.1f} x less sessions; {way['peak'] - bound:+.0f} MB to the bound"
        lines.append(_line(what, way["compare"] / count, floor, way["peak"], note))
    return "\n".join([*lines, f"  cancelled after at most     {found['cancel']['cancel']:8.3f} s by the clock", rival])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.folder, options.models[0], options.target[0])))
        return
    for name in options.models:
        for target in options.target or TARGETS:
            print(table(name, target), flush=True)


if __name__ == "__main__":
    main()
