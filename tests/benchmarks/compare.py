"""What a comparison costs: time against the summed unoptimised inference of both models, and peak memory.

Each way runs in a process of its own, on a model saved in both formats, so that its peak is its own. Run it with
``python -m tests.benchmarks.compare [MODEL …]``; the models are those of ``tests/real_models.py``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import workbench as wb
from tests.real_models import onnx_model
from workbench.executors import Fragment, OnnxRuntimeExecutor

MODELS = ("light-resnet50", "light-squeezenet", "magika")
TARGET = "nnef"
RUNS = 3
WAYS = ("load", "plain", "marked", "compare-1", "compare-8")


def seconds(action: Callable[[], object]) -> float:
    """The shortest of a few runs."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(way: str, folder: Path, name: str) -> dict[str, float]:
    """One way, in this process: times in seconds, and the peak of resident memory in MB."""
    if way == "prepare":
        return prepare(folder, name)
    models = [wb.load(path) for path in sorted(folder.iterdir())]
    models.sort(key=lambda model: model.format != "onnx")
    reference, target = models
    real = onnx_model(name)
    samples = [real.feeds(reference, seed) for seed in range(int(way.removeprefix("compare-")) if "-" in way else 1)]
    found: dict[str, float] = {}
    if way == "load":
        assert reference.graph is not target.graph
    elif way == "plain":
        found["optimised"] = sum(_plain(model, samples[0]) for model in models)
    elif way == "marked":
        found["unoptimised"] = sum(_unoptimised(model, samples[0]) for model in models)
        found["marked"] = sum(_marked(model, samples[0]) for model in models)
    else:
        report = wb.compare(reference, target, feeds=samples)
        assert report.ok, str(report)
        found["compare"] = seconds(lambda: wb.compare(reference, target, feeds=samples)) / len(samples)
        found["tensors"] = len(report.rows)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return found


def prepare(folder: Path, name: str) -> dict[str, float]:
    """Write the model in both formats."""
    real = onnx_model(name)
    model = wb.load(real.source)
    model.save(folder / "model.onnx")
    model.convert(TARGET, **({"shapes": real.shapes} if real.shapes else {})).save(folder / "model.nnef.tgz")
    return {}


def _plain(model: wb.Model, feeds: dict[str, object]) -> float:
    model.run(feeds)
    return seconds(lambda: model.run(feeds))


def _unoptimised(model: wb.Model, feeds: dict[str, object]) -> float:
    outputs = [value.name or "" for value in model.graph.graph.outputs]
    fragment = Fragment(list(model.graph.graph), outputs)
    ready = model.adapt_feeds(feeds)
    fragment.run(ready)
    return seconds(lambda: fragment.run(ready))


def _marked(model: wb.Model, feeds: dict[str, object]) -> float:
    """Every tensor an output of one session, all of them held."""
    tensors = [value.name for node in model.graph.graph for value in node.outputs if value.name]
    executor = OnnxRuntimeExecutor(model.graph, model.name)
    ready = model.adapt_feeds(feeds)
    executor.run(ready, tensors)
    return seconds(lambda: executor.run(ready, tensors))


def table(name: str) -> str:
    """The lines for one model."""
    with tempfile.TemporaryDirectory() as folder:  # this process stays small: a child's peak begins with its parent's
        command = [sys.executable, "-m", "tests.benchmarks.compare", "--measure"]
        found = {way: json.loads(subprocess.check_output([*command, way, folder, name])) for way in ("prepare", *WAYS)}
    floor = found["marked"]["unoptimised"]
    lines = [
        f"{name}, {int(found['compare-1']['tensors'])} tensors, onnx against {TARGET}",
        f"  both models loaded                            {found['load']['peak']:5.0f} MB",
        f"  both, optimised          {found['plain']['optimised']:7.3f} s             {found['plain']['peak']:5.0f} MB",
        f"  both, unoptimised        {floor:7.3f} s    1.0 x",
        f"  both, all tensors marked {found['marked']['marked']:7.3f} s  {found['marked']['marked'] / floor:5.1f} x  "
        f"  {found['marked']['peak']:5.0f} MB",
    ]
    for count in (1, 8):
        way = found[f"compare-{count}"]
        lines.append(
            f"  compare, {count} sample{'s' if count > 1 else ' '}       {way['compare']:7.3f} s  "
            f"{way['compare'] / floor:5.1f} x    {way['peak']:5.0f} MB"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])))
    else:
        for chosen in sys.argv[1:] or MODELS:
            print(table(chosen))
