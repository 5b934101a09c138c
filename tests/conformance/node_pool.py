"""Processes that work through tasks one by one: one that crashes or hangs costs its task, not the run."""

from __future__ import annotations

import multiprocessing
import time
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
        self.given = 0

    def give(self, task: Task, limit: float, first: float) -> None:
        self.task, self.deadline = task, time.monotonic() + limit + (0 if self.given else first)
        self.given += 1
        self.connection.send(task)

    def end(self) -> None:
        """End the process, by force if it does not see that there is nothing more to do."""
        self.connection.close()
        self.process.join(1)
        self.process.kill()
        self.process.join()


def run(
    work: Callable[..., Any],
    tasks: Iterable[Task],
    *,
    jobs: int,
    limit: float,
    first: float = 120.0,
    renew: int | None = None,
) -> Iterator[tuple[Task, Any, str]]:
    """Work through the tasks; yields each with its result and ``""``, or ``None`` and what became of its process.

    Args:
        work: a function of a module, called with a task's items in another process.
        tasks: tuples that can be pickled; each is asked for when a process is free.
        jobs: processes.
        limit: seconds for one task.
        first: further seconds for a process's first task, which waits for its imports.
        renew: a process is replaced after so many tasks, since each may leave some memory behind.
    """
    pending = iter(tasks)
    workers: list[_Worker] = []

    def begin(worker: _Worker | None) -> None:
        """Give the next task, if there is one, to the worker or to a new one."""
        task = next(pending, None)
        if task is not None:
            workers.append(worker or _Worker(work))
            workers[-1].give(task, limit, first)
        elif worker is not None:
            worker.end()

    for _ in range(jobs):
        begin(None)
    while workers:
        pause = max(min(worker.deadline for worker in workers) - time.monotonic(), 0)
        ready = wait([worker.connection for worker in workers], pause)
        for worker in list(workers):
            if worker.connection not in ready and time.monotonic() < worker.deadline:
                continue
            task = worker.task
            assert task is not None
            result, failure = _answer(worker) if worker.connection in ready else (None, f"no result in {limit:g} s")
            workers.remove(worker)
            if failure or worker.given == renew:
                worker.end()
                begin(None)
            else:
                begin(worker)
            yield task, result, failure


def _answer(worker: _Worker) -> tuple[Any, str]:
    try:
        return worker.connection.recv(), ""
    except (EOFError, OSError):
        worker.process.join(5)
        return None, f"the process ended with the exit code {worker.process.exitcode}"
