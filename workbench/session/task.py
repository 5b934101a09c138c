"""A piece of long work: its progress, its cancellation, its result."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from workbench.errors import Cancelled

# Conversions take turns in one process: coremltools' builder keeps module-level state, and work that was cancelled
# may still be using the models of its session.
_TURN = threading.RLock()
_TURN_SECONDS = 0.05

NOTIFY_SECONDS = 0.1  # progress faster than this is not worth a message to the browser


class Task:
    """One step that runs, here or on a worker thread.

    The work calls :meth:`progress`, which raises :class:`Cancelled` once :meth:`cancel` was called. Work that does not
    ask for so long is abandoned: the task counts as ended, and what the work returns later is dropped.
    """

    def __init__(self, step: str, changed: Callable[[], None], *, cancellable: bool = True) -> None:
        self.step = step
        self.cancellable = cancellable
        self.stage = ""
        self.fraction = 0.0
        self.error: BaseException | None = None
        self._value: Any = None
        self._changed = changed
        self._notified = 0.0
        self._stage_began = time.monotonic()
        self._cancelled = threading.Event()
        self._done = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the end."""
        return self._cancelled.is_set()

    @property
    def done(self) -> bool:
        """Whether the task ended: with a result, with an error, or cancelled."""
        return self._done.is_set()

    @property
    def seconds_left(self) -> float | None:
        """Until the stage ends, by the fraction of it that is done; ``None`` while there is too little to tell from."""
        elapsed = time.monotonic() - self._stage_began
        if self.fraction < 0.05 or elapsed < 1:
            return None
        return elapsed * (1 - self.fraction) / self.fraction

    def check(self) -> None:
        """Raise :class:`Cancelled` if the end was asked for."""
        if self._cancelled.is_set():
            raise Cancelled(f"{self.step}: cancelled; nothing was changed.")

    def progress(self, stage: str, fraction: float) -> None:
        """The ``Progress`` listener for the work (see :mod:`workbench.document`); ``fraction`` in [0, 1].

        Raises:
            Cancelled: the user cancelled.
        """
        self.check()
        now = time.monotonic()
        news = stage != self.stage
        if news:
            self._stage_began = now
        self.stage, self.fraction = stage, min(max(float(fraction), 0.0), 1.0)
        if news or now - self._notified >= NOTIFY_SECONDS:
            self._notified = now
            self._changed()

    def cancel(self) -> None:
        """Ask the work to end. Whoever waits for the task is released at once."""
        self._cancelled.set()
        self.finish(error=Cancelled(f"{self.step}: cancelled; nothing was changed."))

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """Set the result; only the first call counts."""
        if not self._done.is_set():
            self._value, self.error = value, error
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it came within ``timeout`` seconds."""
        return self._done.wait(timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end, then return the result or raise the error.

        Raises:
            TimeoutError: it did not come within ``timeout`` seconds.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"{self.step} is still running")
        if self.error is not None:
            raise self.error
        return self._value

    def __repr__(self) -> str:
        if not self.done:
            return f"Task({self.step!r}, {self.stage or 'started'}, {self.fraction:.0%})"
        return f"Task({self.step!r}, {'done' if self.error is None else type(self.error).__name__})"


@contextlib.contextmanager
def in_turn(task: Task) -> Iterator[None]:
    """Wait until no other work runs in the process; a cancelled task stops waiting."""
    held, inner = False, _TURN._is_owned()  # type: ignore[attr-defined]
    try:
        while not (held := _TURN.acquire(timeout=_TURN_SECONDS)):
            task.progress("waiting for earlier work to end", 0.0)
        task.check()
        yield
    finally:
        if held or (not inner and _TURN._is_owned()):  # type: ignore[attr-defined]  # Ctrl-C in between
            _TURN.release()
