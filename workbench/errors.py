"""Every exception the workbench raises on purpose, and the one form their messages have.

A message says what went wrong, where (file, layer, operator and its version), why, and the way out. Anything that
is raised and is not a :class:`WorkbenchError` is a defect of the workbench.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.words import lines, one_line


class WorkbenchError(Exception):
    """Base of every error that the workbench raises on purpose. Its text has no power over a terminal."""

    def __str__(self) -> str:
        return lines(super().__str__())


class ModelError(WorkbenchError):
    """A model cannot be read: damaged, of an unknown kind, or refused because reading it would be unsafe."""


class LimitError(ModelError):
    """A model goes beyond one of the limits of :mod:`workbench.limits`; the message names the limit."""


class OptionError(WorkbenchError, ValueError):
    """An option is unknown or has a value that cannot be used; the message lists what can."""


class ExecutionError(WorkbenchError):
    """A model cannot be run: feeds that do not fit, or a failure inside the executor."""


class SaveError(WorkbenchError):
    """A model cannot be written to its destination; whatever stood there before is untouched."""


class CompressionWarning(UserWarning):
    """Weights of a converted model are not compressed, though that was asked for."""

    def __init__(self, scheme: str, weights: Sequence[str]) -> None:
        self.weights = tuple(weights)
        super().__init__(f"compress={scheme!r}: these weights are held as they were: {', '.join(self.weights)}.")


class StateWarning(UserWarning):
    """A converted model lacks numbers that its source's states begin with, because its format does not have them."""

    def __init__(self, target: str, states: Sequence[str]) -> None:
        self.states = tuple(states)
        names = ", ".join(map(repr, self.states))
        super().__init__(
            f"the {target} model does not hold what these states begin with: {names}. They are inputs of it: feed them "
            "with the source's new_state() first, or give them values for good with constants={…}."
        )


class Cancelled(WorkbenchError):
    """The work was cancelled by the user; nothing was written."""


@dataclass(frozen=True)
class Refusal:
    """One reason why one layer cannot be converted.

    ``operator`` carries its version where the format has versions (``Reshape-14``).
    """

    source_format: str
    target_format: str
    operator: str
    layer: str
    cause: str
    way_out: str = ""

    def __str__(self) -> str:
        text = f"{self.source_format} {self.operator} {self.layer!r} → {self.target_format}: {self.cause}"
        return one_line(f"{text}; {self.way_out}." if self.way_out else f"{text}.")


class ConversionError(WorkbenchError):
    """A model cannot be expressed in the target format. ``refusals`` holds *all* reasons, layer by layer."""

    def __init__(self, refusals: Iterable[Refusal], subject: str = "the model") -> None:
        self.refusals: tuple[Refusal, ...] = tuple(refusals)
        self.subject = subject
        count = len(self.refusals)
        head = f"{subject} cannot be converted: {count} layer{'s' if count != 1 else ''} refused"
        super().__init__("\n  ".join([head, *(str(refusal) for refusal in self.refusals)]))
