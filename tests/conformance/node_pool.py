"""Processes that work through tasks one by one: one that crashes or hangs costs its task, not the run."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

Task = tuple[Any, ...]


def _serve(work: Callable[..., Any], connection: Connection) -> None:
    """Answer one task after the other, until the other end closes."""
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(work(*task))


class _Worker:
    """One process, with the task that it is at and since when."""

    def __init__(self, work: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, other), daemon=True)
        self.process.start()
        other.close()
        self.task: Task | None = None
        self.deadline = 0.0

    def give(self, task: Task, limit: float) -> None:
        self.task, self.deadline = task, time.monotonic() + limit
        self.connection.send(task)

    def end(self) -> int | None:
        """End the process; its exit code if it has ended by itself."""
        self.process.join(1)
        code = self.process.exitcode
        self.process.kill()
        self.process.join()
        self.connection.close()
        return code


def run(
    work: Callable[..., Any], tasks: Iterable[Task], *, jobs: int, limit: float, first: float = 120.0
) -> Iterator[tuple[Task, Any, str]]:
    """Work through the tasks; yields each with its result and ``""``, or ``None`` and what became of its process.

    Args:
        work: a function of a module, called with a task's items in another process.
        tasks: tuples that can be pickled.
        jobs: processes.
        limit: seconds for one task.
        first: further seconds for a process's first task, which waits for its imports.
    """
    pending = deque(tasks)
    workers = [_Worker(work) for _ in range(min(jobs, len(pending)))]
    for worker in workers:
        worker.give(pending.popleft(), limit + first)
    while any(worker.task is not None for worker in workers):
        busy = [worker for worker in workers if worker.task is not None]
        pause = max(min(worker.deadline for worker in busy) - time.monotonic(), 0)
        ready = wait([worker.connection for worker in busy], pause)
        for place, worker in enumerate(workers):
            if worker.task is None or (worker.connection not in ready and time.monotonic() < worker.deadline):
                continue
            task = worker.task
            result, failure = _answer(worker) if worker.connection in ready else (None, f"no result in {limit:g} s")
            more = limit
            if failure:
                worker.end()
                worker = workers[place] = _Worker(work) if pending else worker
                more = limit + first
            worker.task = None
            if pending:
                worker.give(pending.popleft(), more)
            yield task, result, failure
    for worker in workers:
        worker.connection.close()
        worker.process.join(5)
        worker.process.kill()


def _answer(worker: _Worker) -> tuple[Any, str]:
    try:
        return worker.connection.recv(), ""
    except (EOFError, OSError):
        worker.process.join(5)
        return None, f"the process ended with the exit code {worker.process.exitcode}"
