"""Core ML off Apple: what reading a large package costs, and what running a translated program costs beside ONNX.

Times are CPU seconds; the two sides of a ratio are measured in turns, in this process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.real_models import COREML, onnx_model
from workbench.formats.coreml import toolkit

Array = np.ndarray[Any, Any]

LAYERS, WIDTH = 24, 2048  # 400 MB of float32
ROUNDS = 15


def cpu(action: Callable[[], object]) -> float:
    """CPU seconds of the action, over all threads."""
    start = time.process_time()
    action()
    return time.process_time() - start


def anonymous() -> int:
    """Megabytes of memory that is no mapped file (Linux; 0 elsewhere)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon")), 0)


def large_package(folder: Path) -> Path:
    """A program of linear layers."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5 for _ in range(LAYERS)]
    with toolkit.session():
        ct, mb = toolkit.coremltools(), toolkit.mil().Builder

        @mb.program(input_specs=[mb.TensorSpec((1, WIDTH))], opset_version=ct.target.iOS16)  # type: ignore[untyped-decorator]
        def program(x: Any) -> Any:
            for weight in weights:
                x = mb.relu(x=mb.linear(x=x, weight=weight))
            return x

        model = ct.convert(
            program,
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(folder / "large.mlpackage"))
    return folder / "large.mlpackage"


def reading() -> None:
    """Load and lower a package of 400 MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = large_package(Path(folder))
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        before = anonymous()
        seconds = cpu(lambda: wb.load(path).graph)
        print(
            f"reading {size:.0f} MB: {seconds:.3f} s of CPU time, {max(0, anonymous() - before)} MB beside the weights"
        )


def running() -> None:
    """The same trained network as ML program and as ONNX model."""
    import onnxruntime

    program, original = wb.load(COREML["basic-pitch"].path), onnx_model("basic-pitch").path
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 0
    session = onnxruntime.InferenceSession(str(original), options, providers=["CPUExecutionProvider"])
    array: Array = np.random.default_rng(0).normal(size=(1, 43844, 1)).astype(np.float32)
    ours: Mapping[str, Array] = {program.inputs[0].name: array}
    theirs = {session.get_inputs()[0].name: array}
    actions = (lambda: program.run(ours), lambda: session.run(None, theirs))
    for action in actions:
        action()
    times = [[cpu(action) for action in actions] for _ in range(ROUNDS)]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"running nmp.mlpackage: {mine * 1e3:.1f} ms, nmp.onnx: {other * 1e3:.1f} ms, ratio {mine / other:.2f}")


def main() -> None:
    reading()
    running()


if __name__ == "__main__":
    main()
