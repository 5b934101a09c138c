"""Which rows come first: by how far they are beyond their tolerance, and by name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from workbench.compare.rows import Row
from workbench.errors import OptionError


def severity(row: Row) -> tuple[int, float]:
    """For sorting: first what makes an error, then what has one, then the rest; each by how near it is to its bound."""
    if row.status in ("unmatched", "skipped") or row.allowance is None:
        return -1, 0.0
    rank = {"own": 2, "inherited": 1, "": 1}[row.blame] if row.status == "failing" else 0
    metrics, bound = row.accumulated, row.allowance.accumulated
    if row.isolated is not None and row.blame != "inherited":
        metrics, bound = row.isolated, row.allowance.isolated
    if metrics is None or metrics.pattern:
        return rank, math.inf
    error = metrics.error
    return rank, error / bound if bound else (math.inf if error else 0.0)


def ranked(rows: Sequence[Row], mode: str) -> tuple[Row, ...]:
    """The failing rows that make an error, the worst first; where only accumulated errors are known, in order."""
    worst = sorted(rows, key=severity, reverse=True)
    found = [row for row in worst if row.status == "failing" and row.blame != "inherited"]
    return tuple(sorted(found, key=lambda row: row.index) if mode == "accumulated" else found)


def find(rows: Sequence[Row], which: Row | int | str) -> Row:
    """A row by its index, or by the name of its layer or tensor.

    Raises:
        OptionError: there is none.
    """
    if isinstance(which, Row):
        return which
    if isinstance(which, int):
        if not -len(rows) <= which < len(rows):
            raise OptionError(f"there is no row {which}; the report has {len(rows)}.")
        return rows[which]
    found = [row for row in rows if which in row.layers] or [row for row in rows if which == row.tensor]
    if not found:
        names = [name for row in rows for name in row.layers]
        near = difflib.get_close_matches(which, names, n=1)
        raise OptionError(f"no layer is called {which!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
    return found[0]
