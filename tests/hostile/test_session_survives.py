"""Interrupted, cancelled, out of memory: the session says so, keeps what it had, and goes on."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.hostile.corpus.onnx_bombs import LOOP
from tests.hostile.corpus.onnx_files import model_of
from workbench import limits
from workbench.files import digest
from workbench.session import Session

SHAPES = {"image": (1, 1, 8, 8)}


def ready() -> Session:
    """A session that has come as far as a conversion."""
    session = Session(wb.samples.digits())
    session.convert("onnx", shapes=SHAPES)
    return session


STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "open": ("workbench.session.session._load", {"source": "other.onnx"}),
    "plan": ("workbench.model.Model.plan", {"to": "nnef", "shapes": SHAPES}),
    "convert": ("workbench.model.Model.convert", {"to": "nnef", "shapes": SHAPES}),
    "compare": ("workbench.session.session._compare", {}),
    "export": ("workbench.model.Model.save", {"path": "never.onnx"}),
}

ERRORS = {
    "interrupted": (KeyboardInterrupt(), "was interrupted; nothing was changed"),
    "out of memory": (MemoryError(), "ran out of memory; nothing was changed"),
    "a limit": (wb.LimitError("the file: 7 is beyond the limit nodes = 5; raise it"), "limit nodes"),
    "a defect": (RuntimeError("what?"), "defect of the workbench"),
}


@pytest.mark.parametrize("threaded", [False, True], ids=["at once", "on a thread"])
@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_what_there_was(
    step: str, how: str, threaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ready()
    before = session.state
    where, arguments = STEPS[step]
    error, says = ERRORS[how]

    def fail(*args: Any, **options: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        patch.setattr(session, "_load", fail)
        patch.setattr(session, "_compare", fail)
        patch.setattr(threading, "excepthook", lambda told: None)  # the thread's own report of Ctrl-C
        if threaded:
            assert session.start(step, **arguments).wait(10)
        else:
            with pytest.raises(type(error)):
                session._now(step, **arguments)
    state = session.state
    assert not session.busy
    assert state.failure is not None
    assert says in state.failure.message
    assert (state.failure.step, state.failure.expected) == (step, how != "a defect")
    for field in ("origin", "model", "target", "plan", "converted", "converted_to", "report", "exported"):
        assert getattr(state, field) is getattr(before, field), f"{field} was changed"
    assert not session.history[-1].ok
    session.convert("nnef", shapes=SHAPES)
    assert session.state.failure is None
    assert session.converted is not None
    assert session.converted.format == "nnef"


def test_ctrl_c_ends_a_run_that_would_not_end() -> None:
    session = Session(model_of(LOOP))
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        assert session.model is not None
        session.model.run({"x": np.ones(3, np.float32)})
    assert session.model is not None
    assert session.plan("nnef").target_format == "nnef"


def test_ctrl_c_ends_a_comparison_that_would_not_end() -> None:
    session = Session(model_of(LOOP.replace("4611686018427387904", "2000000000")))
    session.convert("onnx")
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        session.compare()
    failure = session.state.failure
    assert failure is not None
    assert failure.cancelled
    assert session.report is None
    assert not session.busy


def test_a_cancelled_session_is_free_at_once_and_drops_what_comes_later(tmp_path: Path) -> None:
    session = ready()
    begun, go_on = threading.Event(), threading.Event()

    def slow(source: Any, **options: Any) -> wb.Model:
        begun.set()
        go_on.wait(30)
        return wb.load(wb.samples.digits())

    session._load = slow
    before = session.model
    session.start("open", source="other.onnx")
    assert begun.wait(10)
    began = time.monotonic()
    assert session.cancel()
    assert time.monotonic() - began < 5
    assert not session.busy
    go_on.set()
    exported = session.export(tmp_path / "a.onnx")
    assert exported.exists()
    assert session.model is before
    assert session.state.failure is None


@pytest.mark.timeout(240, method="thread")  # the other method takes the timer that the test needs
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the moments are those of a timer that Windows has not")
def test_ctrl_c_at_any_moment_leaves_nothing_behind(tmp_path: Path) -> None:
    """Interrupted at 60 moments of a walk through all steps, the next walk is as if nothing had been."""
    import resource

    def walk() -> bytes:
        session = Session(wb.samples.digits())
        sessions.append(session)
        session.plan("coreml", shapes=SHAPES)
        session.convert("coreml", shapes=SHAPES)
        session.compare(seed=1)
        written = session.export(tmp_path / "digits.mlpackage", overwrite=True)
        return b"".join(file.read_bytes() for file in sorted(written.rglob("*")) if file.is_file())

    def interrupt(*ignored: object) -> None:
        raise KeyboardInterrupt

    sessions: list[Session] = []
    whole, seconds = b"", 60.0
    for _ in range(6):  # a walk is faster the more often it was taken
        began = time.perf_counter()
        whole = walk()
        seconds = min(seconds, time.perf_counter() - began)
    bound = resource.getrlimit(resource.RLIMIT_AS)
    usual = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for moment in np.random.default_rng(3).uniform(0.001, seconds, 60):
            try:
                signal.setitimer(signal.ITIMER_REAL, moment)
                walk()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert not any(session.busy for session in sessions), "the session waits for work that has ended"
            sessions.clear()  # with the error that it keeps, whose frames keep what was interrupted
            gc.collect()
            assert not limits._INSIDE, "a bound of memory was left behind"
            assert resource.getrlimit(resource.RLIMIT_AS) == bound
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert interrupted > 20, interrupted
    session = Session()  # on another thread: what Ctrl-C left locked, this one holds
    assert session.start("open", source=wb.samples.digits()).wait(30)
    assert session.model is not None
    assert walk() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["digits.mlpackage"]


def test_ctrl_c_while_it_is_drawn_that_work_begins_does_not_begin_it(tmp_path: Path) -> None:
    session = ready()

    def interrupted() -> None:
        raise KeyboardInterrupt

    unsubscribe = session.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.export(tmp_path / "never.onnx")
    unsubscribe()
    assert not session.busy
    assert not (tmp_path / "never.onnx").exists()
    assert session.state.failure is not None
    assert session.state.failure.cancelled
    assert session.export(tmp_path / "a.onnx").exists()


def test_a_model_whose_file_is_gone_is_converted_all_the_same(tmp_path: Path) -> None:
    path = Path(shutil.copy(wb.samples.digits(), tmp_path / "digits.onnx"))
    model = wb.load(path)
    path.unlink()
    for target in ("onnx", "nnef", "coreml"):
        assert model.convert(target, shapes=SHAPES).layers
    with pytest.raises(wb.ModelError, match="cannot be read"):
        digest(path)
