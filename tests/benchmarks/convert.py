"""What a conversion from ONNX to Core ML costs, beside the other routes: onnxsim, and onnx2torch + coremltools.

Each conversion is a process of its own, in turns; stated are medians of CPU seconds: of the whole process, and of the
conversion proper, which is what is left without the imports; and the peak of memory beyond what the imports take. The
other routes import PyTorch where it is installed, for coremltools does. A route whose packages are not installed is
left out and says so; a folder with them can be named in WORKBENCH_BENCH_PATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

ROUNDS = 5
NETWORKS = ("resnet18", "bert-base")
PRECISIONS = ("fp32", "fp16")
EXTRA = os.environ.get("WORKBENCH_BENCH_PATH", "")

Route = Callable[[Path, Path, str], None]
"""Converts the ONNX file to a package, in a precision."""


# -- the routes, each in a process of its own -----------------------------------------------------------------------


def ours() -> Route:
    import numpy.random  # noqa: F401  # else, as those below, it is imported by the conversion
    import onnx
    import onnxruntime  # noqa: F401

    import workbench as wb
    import workbench.formats.nnef
    import workbench.model
    from workbench.formats.coreml import program_form, read, toolkit, write  # noqa: F401
    from workbench.formats.onnx import read as read_onnx  # noqa: F401

    toolkit.submodule("converters.mil.backend.mil.load")
    onnx.defs.get_schema("Add")  # onnx sets up its operators, 7 MB, when it is first asked for one

    def convert(source: Path, target: Path, precision: str) -> None:
        wb.load(source).convert("coreml", precision=precision).save(target)

    return convert


def onnxsim() -> Route:
    import coremltools as ct
    import onnx
    import onnxsim as route

    def convert(source: Path, target: Path, precision: str) -> None:
        chosen = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}[precision]
        route.export_coreml(onnx.load(source), str(target), compute_precision=chosen, minimum_deployment_target="iOS17")

    return convert


def onnx2torch() -> Route:
    """onnx2torch imports torchvision for operators that these networks do not have: an empty one will do."""
    import coremltools as ct
    import onnx
    import torch

    empty = types.ModuleType("torchvision")
    sys.modules["torchvision"] = sys.modules["torchvision.ops"] = empty
    empty.ops, empty.roi_align = empty, None  # type: ignore[attr-defined]
    import onnx2torch as route

    def convert(source: Path, target: Path, precision: str) -> None:
        model = onnx.load(source)
        dims = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
        kinds = [
            torch.float32 if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT else torch.int64
            for value in model.graph.input
        ]
        inputs = tuple(torch.zeros(shape, dtype=kind) for shape, kind in zip(dims.values(), kinds, strict=True))
        traced = torch.jit.trace(route.convert(model).eval(), inputs)
        ct.convert(
            traced,
            inputs=[ct.TensorType(name=name, shape=shape) for name, shape in dims.items()],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision={"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}[precision],
            skip_model_load=True,
        ).save(str(target))

    return convert


ROUTES = {"workbench": ours, "onnxsim": onnxsim, "onnx2torch": onnx2torch}


def peak() -> float:
    """The largest resident memory so far, in megabytes (Linux; elsewhere what the system calls so)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measured(route: str, source: Path, precision: str) -> dict[str, float]:
    """One conversion in this process: CPU seconds of imports and of the rest, megabytes beyond imports."""
    if EXTRA:
        sys.path.append(EXTRA)
    warnings.simplefilter("ignore")
    convert = ROUTES[route]()
    imported, before = time.process_time(), peak()
    with tempfile.TemporaryDirectory() as folder:
        convert(source, Path(folder) / "out.mlpackage", precision)
        return {"imports": imported, "seconds": time.process_time() - imported, "memory": peak() - before}


# -- the table ------------------------------------------------------------------------------------------------------


def installed(route: str) -> bool:
    if route == "workbench":
        return True
    return importlib.util.find_spec(route) is not None or (Path(EXTRA) / route).is_dir()


def run(route: str, source: Path, precision: str) -> dict[str, float]:
    """:func:`measured` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.convert", "--route", route, "--source", str(source)]
    done = subprocess.run(
        [*command, "--precisions", precision],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode:
        raise RuntimeError(f"{route} does not convert {source.name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def compared(name: str, source: Path, precision: str, rounds: int, routes: Sequence[str]) -> None:
    """A row of the table for each route, and how we fare; the first round compiles modules and does not count."""
    rows: dict[str, list[dict[str, float]]] = {route: [] for route in routes}
    for count in range(rounds + 1):
        for route in routes:
            found = run(route, source, precision)
            if count:
                rows[route].append(found)
    medians = {
        route: {key: statistics.median(row[key] for row in runs) for key in runs[0]} for route, runs in rows.items()
    }
    weights = source.stat().st_size / 1e6
    for route, found in medians.items():
        total = found["imports"] + found["seconds"]
        print(
            f"{name:10} {precision}  {route:11} {total:6.2f} s, conversion proper {found['seconds']:6.2f} s, "
            f"{found['memory']:6.0f} MB = {found['memory'] / weights:.2f} × the weights",
            flush=True,
        )
    for label, parts in (("process", ("imports", "seconds")), ("conversion proper", ("seconds",))):
        totals = {route: sum(found[part] for part in parts) for route, found in medians.items()}
        own = totals.pop("workbench", None)
        if own is not None and totals:
            print(f"{name:10} {precision}  {label}: {min(totals.values()) / own:.1f} × as fast as the better one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--route", choices=ROUTES, help="one conversion in this process, for --source")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--routes", nargs="+", default=list(ROUTES), choices=ROUTES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    if chosen.route:
        print(json.dumps(measured(chosen.route, chosen.source, chosen.precisions[0])))
        return
    if importlib.util.find_spec("torch") is None:
        print("converting: PyTorch, which exports the networks, is not installed")
        return
    from tests.benchmarks.networks import export

    routes = [route for route in chosen.routes if installed(route)]
    for route in chosen.routes:
        if route not in routes:
            print(f"{route} is not installed: left out")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.networks:
            source = Path(folder) / f"{name}.onnx"
            export(name, source)
            for precision in chosen.precisions:
                compared(name, source, precision, chosen.rounds, routes)


if __name__ == "__main__":
    main()
