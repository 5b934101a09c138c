"""Everything that a user would do with a model, with whatever it makes of it; in a process that may die of it."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from tests.hostile.bundle import Bundle
from workbench.session import STEPS
from workbench.session.upload import PIECE_BYTES

GROWTH = 1 << 30
"""Bytes by which what a process holds in memory may grow. Its address space may by three times as much: the C library
sets much of that aside for threads, and never uses it."""

SECONDS = 10.0
"""Of processor time, for one model."""

_TARGETS = ("onnx", "nnef", "coreml")
_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        verdict: ``refused`` (an error of the workbench's), ``fine`` (all steps done, or refused by some), ``error``
            (any other exception), ``memory`` (the process grew beyond :data:`GROWTH`, or memory was refused), ``died``,
            ``hung`` (it took more than :data:`SECONDS`).
        step: the last step that was begun.
        detail: the error.
        seconds: how long it took, of processor time: other work on the machine does not count.
    """

    verdict: str
    step: str = ""
    detail: str = ""
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        """Whether the workbench failed."""
        return self.verdict not in ("refused", "fine")

    @property
    def signature(self) -> str:
        """What failures of one cause have in common."""
        return (
            f"{self.verdict} in {self.step}: {self.detail.strip().splitlines()[-1][:90] if self.detail.strip() else ''}"
        )


def feeds_of(model: Any) -> dict[str, Any]:
    """Random feeds, open sizes being two; ``{}`` if they would be large."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for spec in model.inputs:
        shape = tuple(dim if isinstance(dim, int) else 2 for dim in spec.shape or ())
        if np.prod([max(float(dim), 1) for dim in shape]) > _ELEMENTS:  # numpy counts a size of none as one, too
            return {}
        if spec.dtype == "string":
            found[spec.name] = np.full(shape, "a", object)
        elif spec.dtype == "bool":
            found[spec.name] = rng.random(shape) > 0.5
        elif spec.dtype.startswith(("int", "uint")):
            found[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype if spec.dtype in np.sctypeDict else "int64")
        else:
            found[spec.name] = rng.normal(size=shape).astype(spec.dtype if spec.dtype in np.sctypeDict else "float32")
    return found


def _open(path: Path, reader: str, wb: Any) -> Any:
    """The model, in the way that the reader is for."""
    if reader == "session":
        return wb.Session.load(path).model
    if reader == "upload":
        return _uploaded(path, wb)
    return wb.load(path)


def _uploaded(path: Path, wb: Any) -> Any:
    """The model, as a browser sends it to the widget, which shows it in every step."""
    try:
        return _sent(path, wb.Workbench(), wb)
    finally:
        ipywidgets.Widget.close_all()  # else they live as long as the process


def _sent(path: Path, bench: Any, wb: Any) -> Any:
    data, button = path.read_bytes(), bench.steps["import"].upload
    button._receive(button, {"type": "begin", "name": path.name, "size": len(data)}, [])
    for offset in range(0, len(data), PIECE_BYTES):
        piece = memoryview(data[offset : offset + PIECE_BYTES])
        button._receive(button, {"type": "piece", "offset": offset}, [piece])
    task = bench.session.task
    if task is not None:
        task.wait()
    failure = bench.session.state.failure
    if failure is not None:
        raise failure.error
    if bench.session.model is None:
        raise wb.ModelError("the upload was refused")
    for step in STEPS:
        bench.go(step)
    return bench.session.model


def walk(path: Path, reader: str = "") -> Outcome:
    """Open, list, show, plan, run, convert and save a model; errors of the workbench end a step, others the walk."""
    import workbench as wb

    steps: list[str] = []

    def begin(step: str) -> None:
        steps.append(step)

    refused = ""
    began = time.process_time()
    try:
        begin("load")
        model = _open(path, reader, wb)
        begin("show")
        repr(model), model._repr_html_(), [repr(layer) for layer in model.layers]
        begin("session")
        session = wb.Session(model)
        session.code()
        for step, do in (("run", _run), ("plan", _plan), ("convert", _convert)):
            begin(step)
            refused = do(model, wb, steps) or refused
    except wb.WorkbenchError as error:
        return Outcome("refused", steps[-1], f"{type(error).__name__}: {str(error)[:300]}", time.process_time() - began)
    except MemoryError as error:
        return Outcome("memory", steps[-1], repr(error), time.process_time() - began)
    except Exception:
        return Outcome("error", steps[-1], traceback.format_exc()[-3000:], time.process_time() - began)
    return Outcome("refused" if refused else "fine", steps[-1], refused, time.process_time() - began)


def _run(model: Any, wb: Any, steps: list[str]) -> str:
    try:
        model.run(feeds_of(model))
        steps.append("taps")
        model.run(feeds_of(model), taps="all")
    except wb.WorkbenchError as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


def _plan(model: Any, wb: Any, steps: list[str]) -> str:
    for target in _TARGETS:
        steps.append(f"plan {target}")
        try:
            repr(model.plan(target))
        except wb.WorkbenchError as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


def _convert(model: Any, wb: Any, steps: list[str]) -> str:
    refused = ""
    suffixes = {"onnx": ".onnx", "nnef": ".nnef", "coreml": ".mlpackage"}
    for target in _TARGETS:
        steps.append(f"convert {target}")
        folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        try:
            shapes = {
                spec.name: tuple(dim if isinstance(dim, int) else 2 for dim in spec.shape)
                for spec in model.inputs
                if spec.shape is not None and not spec.is_static
            }
            converted = model.convert(target, shapes=shapes)
            steps.append(f"save {target}")
            saved = converted.save(folder / f"converted{suffixes[target]}")
            steps.append(f"run {target}")
            wb.load(saved).run(feeds_of(converted))
        except wb.WorkbenchError as error:
            refused = f"{type(error).__name__}: {str(error)[:300]}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return refused


_LIMITED: list[int] = []


def prepare() -> None:
    """Once in a process: import everything, then let the address space grow by no more than three times the bound."""
    if _LIMITED:
        return
    import resource  # Windows has none

    import coremltools  # noqa: F401
    import onnxruntime  # noqa: F401

    import workbench as wb
    from workbench import limits, widgets  # noqa: F401

    warm = wb.load(wb.samples.digits())
    for target in _TARGETS:
        warm.convert(target, shapes={"image": (1, 1, 8, 8)}).run({"image": np.zeros((1, 1, 8, 8), np.float32)})
    limits.change(memory_bytes=GROWTH * 3 // 4, run_seconds=5, folded_elements=1 << 20)
    base = status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (base + 3 * GROWTH, base + 3 * GROWTH))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _LIMITED.append(base)


def status(field: str) -> int:
    """Bytes of address space (``VmSize``), in memory (``VmRSS``), or at most so since :func:`forget` (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    return 0


def forget() -> None:
    """Let the peak of what is in memory begin anew (man 5 proc, ``clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5")


def exercise(bundle: Bundle) -> Outcome:
    """Write the bundle, walk through it, and look at the memory."""
    prepare()
    forget()
    before = status("VmRSS")
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        try:
            path = bundle.write(folder)
        except OSError as error:
            return Outcome("fine", "write", f"the system has no such file name: {error}")
        outcome = walk(path, bundle.reader)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.seconds > SECONDS and not outcome.bad:
        return Outcome("hung", outcome.step, f"{outcome.seconds:.0f} s; {outcome.detail}", outcome.seconds)
    more = status("VmHWM") - before
    if more > GROWTH and not outcome.bad:
        return Outcome("memory", outcome.step, f"grew by {more >> 20} MB; {outcome.detail}", outcome.seconds)
    return outcome
