"""Holding back what libraries log while they do our work."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(library: str, level: int) -> Iterator[None]:
    """Hold back what a library logs below a level.

    Not with ``Logger.setLevel``: Ctrl-C within it leaves logging locked for all other threads (Python 3.11).
    """
    levels, block = _gate(library).levels, object()
    try:
        levels[block] = level
        yield
    finally:
        levels.pop(block, None)


class _Gate(logging.Handler):
    """Stands between a library's loggers and those above."""

    def __init__(self, library: str) -> None:
        super().__init__()
        self.levels: dict[object, int] = {}
        self._logger = logging.getLogger(library)
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        above = self._logger.parent
        if above is not None and record.levelno >= max(tuple(self.levels.values()), default=0):
            above.callHandlers(record)


_gate = functools.cache(_Gate)
