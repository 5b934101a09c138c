"""onnxruntime's sessions and runs, within the limits of time and memory and open to Ctrl-C.

What a model computes may depend on what it is fed, so no check beforehand can bound it. Native code runs on a thread of
its own while the caller waits: for so long as ``limits.run_seconds`` allows, or until it is interrupted. Then the run
is told to end, which onnxruntime does before its next node; a node that goes on is left behind. Memory beyond
``limits.memory_bytes`` is refused by the system (``limits.bounded_memory``), and onnxruntime reports that.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench import limits
from workbench.errors import LimitError

if TYPE_CHECKING:
    import onnxruntime

_GRACE = 2.0
"""Seconds that a run gets for ending after it was told to."""

_TICK = 0.02
"""Seconds between two looks at the memory."""

_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")
"""What onnxruntime's messages say where memory was refused."""


def make_session(data: bytes, options: onnxruntime.SessionOptions, **rest: Any) -> onnxruntime.InferenceSession:
    """A session for a serialised model.

    Raises:
        LimitError: it took too long, or too much memory.
        Exception: onnxruntime's own, of many classes.
    """
    import onnxruntime

    def make() -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"], **rest)

    return _bounded(make, "making the model ready", lambda: None)


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str] | None, feeds: Mapping[str, Any]
) -> list[Any]:
    """Run a session once; raises as :func:`make_session`."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4

    def stop() -> None:
        options.terminate = True

    found: list[Any] = _bounded(lambda: session.run(outputs, feeds, options), "running the model", stop)
    return found


def _bounded(work: Callable[[], Any], what: str, stop: Callable[[], None]) -> Any:
    """Do the work on another thread, within the limits."""
    seconds = limits.current.run_seconds
    worker = _idle.pop() if _idle else _Worker()
    with limits.bounded_memory(what):
        job, reason = _Job(work), "interrupted"  # by Ctrl-C, or the end of the program
        try:
            worker.begin(job)
            reason = _await(job, seconds)
        finally:
            if reason:
                stop()
                if job.wait(_GRACE):
                    _idle.append(worker)
        if reason == "memory":
            raise limits.out_of_memory(what)
        if reason == "time":
            raise LimitError(
                f"{what} took longer than the limit run_seconds = {seconds:,}; {limits.way_out('run_seconds')}."
            )
        _idle.append(worker)
        if job.error is None:
            return job.result
        if any(words in str(job.error) for words in _NO_MEMORY):
            raise limits.out_of_memory(what) from job.error
        raise job.error


def _await(job: _Job, seconds: float) -> str:
    """Wait for the job: ``""`` when it is done, else ``time`` or ``memory``, of which there is too little to go on.

    Where memory is refused onnxruntime fails properly at most times, but at some it ends the process: it is stopped
    before.
    """
    deadline = time.monotonic() + seconds
    while not job.wait(min(_TICK, max(deadline - time.monotonic(), 0))):
        if time.monotonic() >= deadline:
            return "time"
        if limits.memory_is_short():
            return "memory"
    return ""


class _Job:
    """One piece of work and what came of it.

    One thread waits for it, on a lock itself: what a Condition (an Event, too) holds inside stays locked for good if
    Ctrl-C comes between its taking the lock and its ``with``.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._ending = threading.Lock()
        self._ending.acquire()

    def do(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._ending.release()

    def wait(self, seconds: float) -> bool:
        """Whether it is done within so many seconds."""
        return self.done or self._ending.acquire(timeout=seconds) or self.done


class _Worker:
    """A daemon thread that does one job after the other: one that is left behind does not keep the process alive."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="workbench-native", daemon=True).start()

    def begin(self, job: _Job) -> None:
        self._jobs.put(job)

    def _serve(self) -> None:
        while True:
            self._jobs.get().do()


_idle: list[_Worker] = []
"""Workers without a job; popping and appending are atomic."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked process has none of the threads
