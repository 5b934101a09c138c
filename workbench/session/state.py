"""What a session holds at one moment: immutable values, so that any thread may read them without a lock."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import Cancelled, ConversionError, WorkbenchError

if TYPE_CHECKING:
    from workbench.compare import Counterfactual, Report
    from workbench.model import Model
    from workbench.plan import Plan

STEPS = ("import", "inspect", "convert", "compare", "export")
"""The steps in their order."""


@dataclass(frozen=True)
class Origin:
    """Where the model of a session came from.

    Attributes:
        value: what was given to ``wb.load``: a path or a live object.
        name: how it is called on display.
        uploaded: whether ``value`` is a temporary file that was sent by a browser.
        options: the further arguments of ``wb.load`` that were given.
    """

    value: object
    name: str
    uploaded: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_path(self) -> bool:
        """Whether the model was read from a file or folder."""
        return isinstance(self.value, str | Path)


@dataclass(frozen=True)
class Failure:
    """A step that went wrong, as a value that can be shown."""

    step: str
    error: BaseException

    @property
    def kind(self) -> str:
        """The type of the error, for the heading of a message."""
        return type(self.error).__name__

    @property
    def expected(self) -> bool:
        """Whether it is no defect of the workbench: raised on purpose, by the user, or for want of memory."""
        return isinstance(self.error, WorkbenchError | KeyboardInterrupt | MemoryError)

    @property
    def cancelled(self) -> bool:
        """Whether the user wanted it so."""
        return isinstance(self.error, Cancelled | KeyboardInterrupt)

    @property
    def message(self) -> str:
        """What is to be read first: one paragraph without the list of refusals."""
        if isinstance(self.error, ConversionError):
            return str(self.error).split("\n", 1)[0]
        if isinstance(self.error, KeyboardInterrupt):
            return f"{self.step} was interrupted; nothing was changed."
        if isinstance(self.error, MemoryError):
            return f"{self.step} ran out of memory; nothing was changed. Free some, or work on a smaller model."
        text = str(self.error) or self.kind
        return text if self.expected else f"{text} This is a defect of the workbench; please report it."

    @property
    def items(self) -> tuple[str, ...]:
        """The refusals of a conversion, one text each."""
        return tuple(map(str, self.error.refusals)) if isinstance(self.error, ConversionError) else ()

    @property
    def trace(self) -> str:
        """The traceback of a defect; empty for an error that was raised on purpose."""
        return "" if self.expected else "".join(traceback.format_exception(self.error))


@dataclass(frozen=True)
class Attempt:
    """One entry of the history: a step that was taken, with what it was given and what came of it.

    ``whole`` says whether ``arguments`` are all that it was given; else arrays and live objects are named by type.
    """

    step: str
    arguments: Mapping[str, Any]
    outcome: str
    ok: bool
    whole: bool = True


@dataclass(frozen=True)
class State:
    """Everything a session knows. A later step's value is ``None`` until that step was taken."""

    origin: Origin | None = None
    model: Model | None = None
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    converted: Model | None = None
    converted_to: str | None = None
    converted_with: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    compared_with: Mapping[str, Any] = field(default_factory=dict)
    counterfactual: Counterfactual | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What :attr:`counterfactual` answers: the arguments of ``Report.counterfactual``; empty for the smallest one."""
    repro: Path | None = None
    repro_of: str | int | None = None
    recorded: Path | None = None
    recorded_with: Mapping[str, Any] = field(default_factory=dict)
    exported: Path | None = None
    overwritten: bool = False
    report_file: Path | None = None
    kept: Path | None = None
    failure: Failure | None = None
    history: tuple[Attempt, ...] = ()

    def reached(self) -> str:
        """The furthest step whose work is done (``"import"`` in an empty session)."""
        done = [
            ("export", self.exported),
            ("compare", self.report),
            ("convert", self.converted),
            ("inspect", self.model),
        ]
        return next((step for step, value in done if value is not None), "import")

    def allows(self, step: str) -> bool:
        """Whether the step has what it needs."""
        needs = {"import": True, "export": self.converted or self.report}
        return needs.get(step, self.model) is not None

    def need(self, field: str, step: str, way_out: str) -> Any:
        """The value of a field that a step cannot do without.

        Raises:
            WorkbenchError: it is not there yet; ``way_out`` says what makes it.
        """
        value = getattr(self, field)
        if value is None:
            what = "converted model" if field == "converted" else field
            raise WorkbenchError(f"{step}: there is no {what} yet; {way_out} first.")
        return value
