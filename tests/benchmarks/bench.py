"""How long the path takes on the real models: import, load, convert, compare. Wall time, the best of three runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import workbench as wb
from tests.real_models import ONNX, RealModel

T = TypeVar("T")
RUNS = 3
TARGETS = ("coreml", "nnef")
HEAD = f"{'model':24} {'target':8} {'load':>9} {'convert':>9} {'compare':>9}"


def best(action: Callable[[], T]) -> tuple[float, T]:
    """The shortest time of the action in seconds, and what it returned last."""
    shortest = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        result = action()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest, result


def import_time() -> float:
    """Seconds that `import workbench` takes in a new interpreter, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(RUNS))


def row(real: RealModel, target: str) -> str:
    """One line of the table; a model that is refused says so instead of its times."""
    loading, model = best(lambda: wb.load(real.source))
    head = f"{real.name:24} {target:8} {loading:8.2f}s"
    try:
        converting, converted = best(lambda: model.convert(target, shapes=real.shapes))
    except wb.ConversionError as error:
        return f"{head} refused: {len(error.refusals)} causes"
    comparing, report = best(lambda: wb.compare(model, converted, feeds=real.feeds(model)))
    return f"{head} {converting:8.2f}s {comparing:8.2f}s" + ("" if report.ok else "  (differs)")


def main() -> None:
    print(f"import workbench: {import_time():.3f}s\n\n{HEAD}")
    for real in ONNX:
        for target in TARGETS:
            print(row(real, target), flush=True)


if __name__ == "__main__":
    main()
