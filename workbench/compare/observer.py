"""Did looking change what was looked at? The untouched models' outputs against those of the walk in segments.

A comparison runs a few nodes at a time, without fusions, so that every tensor can be seen. The model that is deployed
is run whole and optimised (by Apple's runtime, where it is one of Core ML's and that is here). If the two give other
outputs, a fault may lie in what the comparison does not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.match import by_tensor
from workbench.compare.metrics import measure
from workbench.compare.rows import Row
from workbench.compare.tolerance import judge
from workbench.errors import ExecutionError
from workbench.executors import executor_for

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]


class Untouched:
    """The outputs of a model as it is deployed, on one sample.

    Args:
        model: it is run once, and what that took is freed again.
        feeds: its own inputs.
    """

    def __init__(self, model: Model, feeds: Mapping[str, Array], threads: int) -> None:
        self.model = model
        self.failure = ""
        self.outputs: Mapping[str, Array] = {}
        try:
            with executor_for(model.document, threads=threads) as executor:
                self.name = executor.name
                self.outputs = by_tensor(model, executor.run(feeds))
        except ExecutionError as error:
            self.failure = str(error)

    def notes(self, side: str, tapped: Mapping[str, Array], rows: Sequence[Row]) -> list[str]:
        """What is to be said about the difference from the outputs that the comparison has seen.

        Args:
            side: ``reference`` or ``target``.
            tapped: the model's own tensor → what the comparison has computed.
            rows: of the outputs; an output may differ by as much as its row's accumulated error.
        """
        if self.failure:
            return [f"whether tapping changes the {side}'s outputs is not known: {self.failure}"]
        found = []
        for row in rows:
            name = row.tensor if side == "reference" else row.target_tensor
            if name in tapped and name in self.outputs:
                reason = _differs(self.outputs[name], tapped[name], row)
                if reason:
                    found.append(
                        f"tapping changes the {side}'s output {name!r}: {reason} against the untouched model run by "
                        f"{self.name}; the rows show the tapped one"
                    )
        return found


def _differs(untouched: Any, tapped: Any, row: Row) -> str:
    if not (isinstance(untouched, np.ndarray) and isinstance(tapped, np.ndarray)) or row.allowance is None:
        return ""
    if untouched.shape != tapped.shape:
        return f"shape {list(tapped.shape)} instead of {list(untouched.shape)}"
    if untouched.dtype.kind not in "biuf":
        return ""
    return judge(measure(untouched, tapped), row.allowance.accumulated, row.allowance.accumulated_floor)
