"""Steps around a comparison: what takes a side of it, and what follows from what it found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OptionError
from workbench.files import replacing
from workbench.session.state import State
from workbench.session.task import Task

if TYPE_CHECKING:
    from workbench.compare import Report

NONE: Mapping[str, Any] = {"report": None, "report_file": None, "counterfactual": None, "asked": {}, "repro": None}
"""What is known of a comparison that has not been made."""

SIDES = {"source": "model", "converted": "converted"}
"""Side of a comparison → the field of the state that holds its model."""


def sides_of(state: State, arguments: Mapping[str, Any]) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """The two models to compare, paths where such were given, and the further arguments.

    Raises:
        OptionError: something else than a path was given for a model.
        WorkbenchError: there is no model yet.
    """
    options = dict(arguments)
    given = {side: options.pop(side, None) for side in ("reference", "target")}
    for side, value in given.items():
        if not isinstance(value, str | Path | None):
            raise OptionError(
                f"compare: {side} is the path of a recording or model here, not a {type(value).__name__}."
            )
    reference, target = (None if value is None else os.path.expanduser(value) for value in given.values())
    if reference is None:
        reference = state.need("model", "compare", "open a model")
    if target is None:
        target = state.need("converted", "compare", "convert the model, or name a recording or another model as target")
    return (reference, target), options


def counterfactual(state: State, task: Task, layers: Sequence[str | int], fed: bool = False) -> Any:
    """Correct these layers."""
    report = _report(state, "counterfactual")
    task.progress("correcting layers", 0.0)
    found = report.counterfactual(layers, fed=fed)
    changes = {"counterfactual": found, "asked": {"layers": list(layers), **({"fed": True} if fed else {})}}
    return found, changes, "all outputs ok" if found.ok else "not enough"


def smallest_correction(state: State, task: Task) -> Any:
    """Find the fewest layers to correct."""
    report = _report(state, "smallest_correction")
    task.progress("searching the fewest layers", 0.0)
    found = report.smallest_correction()
    outcome = f"{len(found.layers)} layers suffice" if found.ok else "no layers suffice"
    return found, {"counterfactual": found, "asked": {}}, outcome


def repro(state: State, task: Task, layer: str | int, folder: str | Path) -> Any:
    """Write what shows one row's difference."""
    report = _report(state, "repro")
    task.progress("writing", 0.0)
    written = report.repro(layer, os.path.expanduser(folder))
    return written, {"repro": written, "repro_of": layer}, str(written)


def record(
    state: State, task: Task, path: str | Path, side: str = "converted", overwrite: bool = False, **arguments: Any
) -> Any:
    """Write a recording. A cancelled one leaves nothing."""
    from workbench.compare import record as write

    if side not in SIDES:
        raise OptionError(f"record: the side is one of {', '.join(SIDES)}, not {side!r}.")
    model = state.need(SIDES[side], "record", "convert the model" if side == "converted" else "open a model")
    written = Path(os.path.expanduser(path))
    with replacing(written, overwrite=overwrite) as partial:
        write(model, partial, progress=task.progress, **arguments)
        task.check()
    given = {"side": side, "overwrite": overwrite, **arguments}
    return written, {"recorded": written, "recorded_with": given}, str(written)


def _report(state: State, step: str) -> Report:
    report: Report = state.need("report", step, "compare the models")
    return report
