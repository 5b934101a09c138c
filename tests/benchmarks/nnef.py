"""ONNX → NNEF and NNEF → ONNX against nnef_tools: time, memory beside the imports, and writing against copying.

Two models: ResNet-18 as PyTorch exports it (random weights), and 400 MB of linear layers. Each measurement runs in a
process of its own, which first converts a tiny model so that imports are over; the sides take turns, medians count.
Writing is held against copying what was written, in one process and in turns: both read what is in memory already, and
both end when all is on the disk, with its names.
Run it with ``python -m tests.benchmarks.nnef [--rounds N] [--models NAME …]``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

WIDTH, LAYERS = 2048, 24  # 400 MB of float32
MODELS = ("resnet18", "linear-400MB")
WAYS = {"onnx → nnef": ("model.onnx", "made.nnef"), "nnef → onnx": ("model.nnef", "made.onnx")}
CLOCKS = ("wall", "cpu")
SIDES = ("workbench", "nnef_tools")
MEGABYTE = 2**20

Steps = dict[str, tuple[float, float]]
"""Step → wall and CPU seconds."""


# -- the models -----------------------------------------------------------------------------------------------------


def make(name: str, folder: Path) -> None:
    """Write the model as ONNX and, by our own conversion, as NNEF; a tiny one beside it."""
    import workbench as wb

    folder.mkdir()
    for path, build in ((folder / "tiny", tiny), (folder / "model", {"resnet18": resnet18}.get(name, linear))):
        build(path.with_suffix(".onnx"))
        wb.load(path.with_suffix(".onnx")).convert("nnef").save(path.with_suffix(".nnef"))


def resnet18(path: Path) -> None:
    """The network of He et al. (https://arxiv.org/abs/1512.03385), written out, with random weights."""
    import torch
    from torch import nn

    def normed(inner: int, outer: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outer)]

    class Block(nn.Module):
        def __init__(self, inner: int, outer: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(*normed(inner, outer, 3, stride), nn.ReLU(), *normed(outer, outer, 3))
            self.skip = nn.Sequential(*normed(inner, outer, 1, stride)) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.body(x) + self.skip(x))

    sizes = [(64, 64, 1), (64, 64, 1)]
    for size in (64, 128, 256):
        sizes += [(size, 2 * size, 2), (2 * size, 2 * size, 1)]
    blocks = [Block(*size) for size in sizes]
    stem, head = [*normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    module = nn.Sequential(*stem, *blocks, *head, nn.Linear(512, 1000)).eval()
    torch.manual_seed(0)
    torch.onnx.export(module, (torch.randn(1, 3, 224, 224),), path, input_names=["image"], dynamo=False)


def tiny(path: Path) -> None:
    """Linear layers in small."""
    linear(path, 4, 2)


def linear(path: Path, width: int = WIDTH, layers: int = LAYERS) -> None:
    """Linear layers with ReLU between them."""
    import onnx
    from onnx import helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, tensors, last = [], [], "x"
    for index in range(layers):
        weight = generator.standard_normal((width, width), np.float32) / np.float32(width**0.5)
        tensors.append(numpy_helper.from_array(weight, f"layer{index}.weight"))
        tensors.append(numpy_helper.from_array(np.zeros(width, np.float32), f"layer{index}.bias"))
        inputs = [last, f"layer{index}.weight", f"layer{index}.bias"]
        nodes.append(helper.make_node("Gemm", inputs, [f"product{index}"], transB=1))
        last = f"layer{index}"
        nodes.append(helper.make_node("Relu", [f"product{index}"], [last]))
    given, made = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, width]) for n in ("x", last))
    graph = helper.make_graph(nodes, "linear", [given], [made], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


# -- the sides ------------------------------------------------------------------------------------------------------


def workbench(source: Path, target: Path) -> Steps:
    """Load, convert, save."""
    import workbench as wb

    steps: Steps = {}
    model = _timed(steps, "load", lambda: wb.load(source))
    made = _timed(steps, "convert", lambda: model.convert("nnef" if target.suffix == ".nnef" else "onnx"))
    _timed(steps, "write", lambda: made.save(target))
    return steps


def nnef_tools(source: Path, target: Path) -> Steps:
    """The same steps as ``python -m nnef_tools.convert`` takes."""
    from nnef_tools import convert

    formats = ("onnx", "nnef") if target.suffix == ".nnef" else ("nnef", "onnx")
    converter = convert.get_converter(*formats, False, None, None, {}, False, False)
    shapes = converter.defined_shapes()
    reader = convert.get_reader(
        formats[0], decomposed=converter.decomposed_operations(), fold_constants=False, custom_shapes=shapes
    )
    writer = convert.get_writer(
        formats[1],
        fragments=converter.defined_operations(),
        fragment_dependencies=converter.defined_operation_dependencies(),
        generate_fragments=False,
        annotate_shapes=False,
        compression=None,
    )
    steps: Steps = {}
    graph = _timed(steps, "load", lambda: reader(str(source)))

    def converted() -> object:
        tidy = convert.get_optimizer(formats[0])(graph, only_required=True)
        tidy.sort()
        return converter(tidy)

    made = _timed(steps, "convert", converted)
    _timed(steps, "write", lambda: writer(made, str(target)))
    return steps


def _timed(steps: Steps, name: str, action: Callable[[], T]) -> T:
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    steps[name] = time.perf_counter() - wall, time.process_time() - cpu
    return result


# -- measuring ------------------------------------------------------------------------------------------------------


def measure(side: str, source: Path, target: Path) -> dict[str, float]:
    """One conversion in this process: seconds of each step, and the peak of memory beyond the imports in MB."""
    convert = {"workbench": workbench, "nnef_tools": nnef_tools}[side]
    convert(source.with_stem("tiny"), target.with_stem("made-tiny"))
    before = _peak()
    steps = convert(source, target)
    found = {"peak": _peak() - before}
    for place, clock in enumerate(CLOCKS):
        found[clock] = sum(step[place] for step in steps.values())
        found[f"write {clock}"] = steps["write"][place]
    return found


def _peak() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def against_copying(source: Path, target: Path, turns: int) -> dict[str, float]:
    """Seconds that writing takes and that copying what was written takes, medians of so many turns, and their ratio."""
    import workbench as wb

    model = wb.load(source).convert("nnef" if target.suffix == ".nnef" else "onnx")
    again, copy = target.with_stem("again"), target.with_stem("copy")
    model.save(target)
    for file in _files(source):
        file.read_bytes()
    actions = [("write", lambda: model.save(again)), ("copy", lambda: _copy(target, copy))]
    found: list[dict[str, float]] = []
    for turn in range(turns):
        steps: Steps = {}
        for name, action in actions[:: (-1) ** turn]:
            _timed(steps, name, action)
        found.append({f"{name} {clock}": taken[at] for name, taken in steps.items() for at, clock in enumerate(CLOCKS)})
        _remove(again, copy)
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def _copy(path: Path, target: Path) -> None:
    """Copy a file or folder onto the disk, as saving does: with all that is in it flushed, and the names of it."""
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copyfile(path, target)
    for item in [*_files(target), *{target if target.is_dir() else target.parent, target.parent}]:
        handle = os.open(item, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def rounds(folder: Path, way: str, count: int) -> dict[str, dict[str, float]]:
    """Medians of each side over so many rounds in turns."""
    source, target = (folder / name for name in WAYS[way])
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(count):
        for side in SIDES:
            _remove(target, target.with_stem("made-tiny"))
            found[side].append(_answer("--measure", side, str(source), str(target)))
    return {
        side: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for side, results in found.items()
    }


def _child(*arguments: str) -> str:
    """This program in a process of its own; a child's peak begins with its parent's, so this one stays small."""
    command = [sys.executable, "-m", "tests.benchmarks.nnef", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _answer(*arguments: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(_child(*arguments).partition("@@@")[2])
    return found


def table(name: str, count: int) -> list[str]:
    """The lines for one model."""
    lines = []
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / name
        _child("--make", name, str(folder))
        for way in WAYS:
            found = rounds(folder, way, count)
            for side in SIDES:
                one = found[side]
                lines.append(
                    f"{name:13} {way} {side:11} {one['wall']:7.3f} s {one['cpu']:7.3f} s CPU  {one['peak']:5.0f} MB  "
                    f"writing {one['write wall']:6.3f} s {one['write cpu']:6.3f} s CPU"
                )
            ours, theirs = (found[side] for side in SIDES)
            lines.append(
                f"{'':13} {'':11} {theirs['wall'] / ours['wall']:.1f} x as fast, {theirs['cpu'] / ours['cpu']:.1f} x "
                "by CPU"
            )
            source, target = (folder / place for place in WAYS[way])
            _remove(target)
            one = _answer("--against-copying", str(source), str(target), str(3 * count))
            lines.append(
                f"{'':13} {'':11} writing takes {one['write wall'] / one['copy wall']:.2f} x the time of copying, "
                f"{one['write cpu'] / one['copy cpu']:.2f} x by CPU: {one['write wall']:.3f} s, "
                f"{one['write cpu']:.3f} s CPU against {one['copy wall']:.3f} s, {one['copy cpu']:.3f} s CPU"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--against-copying", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.make:
        make(chosen.make[0], Path(chosen.make[1]))
    elif chosen.measure:
        side, *paths = chosen.measure
        print("@@@" + json.dumps(measure(side, *map(Path, paths))))
    elif chosen.against_copying:
        *paths, turns = chosen.against_copying
        print("@@@" + json.dumps(against_copying(*map(Path, paths), int(turns))))
    else:
        for name in chosen.models:
            print("\n".join(table(name, chosen.rounds)), flush=True)


if __name__ == "__main__":
    main()
