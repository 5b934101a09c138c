"""What the layers of a graph show of the rows of a report: which row, and how near its error is to its tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.compare.rows import Row

DECADES = 4
"""A layer whose error is this many powers of ten below its tolerance shows nothing of it."""


def rows_of_layers(rows: Sequence[Row], side: int) -> dict[str, int]:
    """Name of a layer → the row to show for it: the first that speaks against it, else the last, its result.

    Args:
        side: 0 for the reference's layers, 1 for the target's.
    """
    places: dict[str, int] = {}
    for at, found in enumerate(rows):
        for name in (found.layers, found.target_layers)[side]:
            if name not in places or rows[places[name]].status != "failing":
                places[name] = at
    return places


def heat(found: Row) -> float:
    """How near the error of a row is to its tolerance: 1 at the tolerance, 0 at :data:`DECADES` below it."""
    measured, allowance = found.accumulated or found.isolated, found.allowance
    if measured is None or allowance is None:
        return 0.0
    limit = allowance.accumulated if found.accumulated is not None else allowance.isolated
    if measured.pattern or not math.isfinite(measured.error):
        return 1.0
    if measured.error == 0 or limit <= 0:
        return float(measured.error > 0)
    return 1 + math.log10(measured.error / limit) / DECADES
