"""A Jupyter kernel as a notebook has it: a process of its own that is sent cells, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 120
"""Seconds of the clock for one cell."""

LATE = 10
"""Seconds for the answer to a cell that has ended under Ctrl-C: one that comes just then takes the answer from it."""


@dataclass(frozen=True)
class Reply:
    """What became of a cell.

    Attributes:
        error: the exception's class, ``""`` if there was none.
        message: what it says.
        text: what the cell printed.
    """

    error: str
    message: str
    text: str

    @property
    def ok(self) -> bool:
        """Whether it ran to its end."""
        return not self.error


class Kernel:
    """A running kernel."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager, self._client = manager, client

    def run(self, code: str, interrupt: float | None = None) -> Reply:
        """Run a cell to its end.

        Args:
            interrupt: seconds after the cell has printed ``begun`` at which Ctrl-C is sent.
        """
        asked = self._client.execute(code, allow_stdin=False)
        text, when = "", float("inf")
        until = time.monotonic() + PATIENCE
        while True:
            now = time.monotonic()
            assert now < until, f"the kernel has not answered in {PATIENCE} s; it printed {text!r}"
            if now >= when:
                self._manager.interrupt_kernel()
                when = float("inf")
            message = self._next(asked, min(when, until) - now)
            if message is None:
                assert self._manager.is_alive(), f"the kernel has died; it printed {text!r}"
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                if interrupt is not None and "begun" in content["text"] and "begun" not in text:
                    when = time.monotonic() + interrupt
                text += content["text"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                break
        content = self._reply(asked, PATIENCE if interrupt is None else LATE)
        return Reply(content.get("ename", ""), content.get("evalue", ""), text)

    def _reply(self, asked: str, patience: float) -> Any:
        while True:  # what was asked before the first cell may be answered late
            try:
                message = self._client.get_shell_msg(timeout=patience)
            except queue.Empty:
                assert patience == LATE, "the kernel has not said what became of the cell"
                return {"ename": "KeyboardInterrupt"}
            if message["parent_header"].get("msg_id") == asked:
                return message["content"]

    def _next(self, asked: str, seconds: float) -> Any:
        """The next message of the cell, ``None`` if there is none in time or it is another's."""
        try:
            message = self._client.get_iopub_msg(timeout=min(max(seconds, 0.001), 1))
        except queue.Empty:
            return None
        return message if message["parent_header"].get("msg_id") == asked else None


@contextlib.contextmanager
def kernel(folder: Path, **environment: str) -> Iterator[Kernel]:
    """A kernel whose working directory and temporary folder are the one given; it is ended in any case."""
    from jupyter_client.manager import start_new_kernel

    (folder / "temporary").mkdir()
    env = {**os.environ, "TMPDIR": str(folder / "temporary"), **environment}
    manager, client = start_new_kernel(startup_timeout=PATIENCE, cwd=str(folder), env=env)
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
