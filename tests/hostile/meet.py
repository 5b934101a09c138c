"""Opening one case of the corpus in a process that is watched: which files it opens, and how long it takes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.corpus.case import SECRET, Hostile
from tests.hostile.exercise import prepare

STEPS = ("load", "hub", "run", "plan", "convert")


@dataclass(frozen=True)
class Meeting:
    """What came of it.

    Attributes:
        error: class of the exception, ``""`` if there was none.
        ours: whether it is a :class:`workbench.WorkbenchError`.
        step: in which step of :data:`STEPS` it was raised.
        message: its text.
        seconds: until then.
        trespasses: files that were opened, or changed, beyond the model's own folder.
    """

    error: str
    ours: bool
    step: str
    message: str
    seconds: float
    trespasses: tuple[str, ...] = ()


class _Watch:
    """Notes which files are opened, through Python's audit hook, which sees every ``open`` that Python makes."""

    def __init__(self) -> None:
        self.inside: Path | None = None
        self.temporary = ""
        self.secret: tuple[int, int] = (0, 0)
        self.found: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.inside is None or event != "open" or not isinstance(arguments[0], str | bytes):
            return
        root, self.inside = self.inside, None  # what is done here is not watched
        try:
            self._judge(root, os.fsdecode(arguments[0]), arguments[2])
        finally:
            self.inside = root

    def _judge(self, root: Path, name: str, flags: int) -> None:
        path = os.path.realpath(name)
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            status = None
        if status is not None and (status.st_dev, status.st_ino) == self.secret:
            self.found.append(f"read the secret as {name[:100]}")
        elif (path.startswith(("/dev/", "/etc/")) and not path.startswith(("/dev/null", "/dev/urandom"))) or (
            path.startswith("/proc/") and "environ" in path
        ):
            self.found.append(f"opened {name[:100]}")
        elif flags & (os.O_WRONLY | os.O_RDWR) and not path.startswith((self.temporary, "/dev/null", "/proc/")):
            self.found.append(f"wrote {name[:100]}")


_WATCH: list[_Watch] = []


def meet(name: str) -> Meeting:
    """Build the case of that name in a fresh folder, and open it step by step until it is refused."""
    from tests.hostile.corpus import CORPUS

    prepare()
    if not _WATCH:
        _WATCH.append(_Watch())
    case, watch = CORPUS[name], _WATCH[0]
    base = Path(tempfile.mkdtemp(prefix="hostile-"))
    here = os.getcwd()
    try:
        for part in ("outside", "model", "temporary", "elsewhere"):
            (base / part).mkdir()
        secret = base / "outside" / "secret"
        secret.write_bytes(SECRET)
        source = case.make(base / "model")
        outside = _listing(base, "model", "temporary")
        tempfile.tempdir = watch.temporary = str(base / "temporary")
        status = secret.stat()
        watch.secret, watch.found = (status.st_dev, status.st_ino), []
        meeting = _met(case, _named(case, base, source), watch)
        trespasses = list(watch.found)
        if _listing(base, "model", "temporary") != outside:
            trespasses.append("a file outside was written")
        return Meeting(**{**meeting.__dict__, "trespasses": tuple(trespasses)})
    finally:
        tempfile.tempdir = None
        os.chdir(here)
        shutil.rmtree(base, ignore_errors=True)


def _named(case: Hostile, base: Path, source: Path) -> str:
    """What is given to ``load``, with the working directory that makes it so."""
    if case.way == "relative path":
        os.chdir(base)
        return os.path.relpath(source, base)
    if case.way == "bare name":
        os.chdir(source.parent)
        return source.name
    os.chdir(base / "elsewhere")
    return str(source)


def _listing(base: Path, *left_out: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(base)): path.read_bytes()
        for path in sorted(base.rglob("*"))
        if path.is_file() and path.relative_to(base).parts[0] not in left_out
    }


def _met(case: Hostile, source: str, watch: _Watch) -> Meeting:
    import workbench as wb
    from workbench import limits

    began, step = time.monotonic(), "load"
    with limits.changed(**{"memory_bytes": 768 << 20, "run_seconds": 5, **case.limits}):
        watch.inside = Path(source)
        try:
            for step in _steps(wb, source, case):  # noqa: B007  # the one that is raised in
                pass
        except BaseException as error:
            watch.inside = None
            ours = isinstance(error, wb.WorkbenchError)
            return Meeting(type(error).__name__, ours, step, str(error), time.monotonic() - began)
        finally:
            watch.inside = None
    return Meeting("", False, step, "", time.monotonic() - began)


def _steps(wb: Any, source: str, case: Hostile) -> Iterator[str]:
    """Takes one step after the other, each announced before it is taken."""
    yield "load"
    model = wb.load(source)
    repr(model), model._repr_html_(), len(model.layers)
    yield "hub"
    _ = model.graph
    yield "run"
    feeds = {
        name: np.ones(given, np.float32) if isinstance(given, tuple) else np.int64(given)
        for name, given in case.feeds.items()
    }
    for spec in model.inputs:
        if spec.name in feeds and spec.shape == ():
            feeds[spec.name] = feeds[spec.name].reshape(())
        if spec.name not in feeds and spec.shape is not None and spec.dtype in np.sctypeDict:
            feeds[spec.name] = np.ones([dim if isinstance(dim, int) else 2 for dim in spec.shape], spec.dtype)
    model.run(feeds)
    yield "plan"
    for target in ("nnef", "coreml", "onnx"):
        plan = model.plan(target)
        if not plan.ok:
            raise wb.ConversionError(plan.refusals)
    yield "convert"
    model.convert("onnx")
