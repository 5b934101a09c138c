"""The errors of all layers in topological order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import traitlets

from workbench.widgets.base import View, assets
from workbench.widgets.text import shown

NAME_CHARACTERS = 80
SERIES = ("accumulated", "isolated")
Pair = tuple[Sequence[float | None], Sequence[float | None]]


class ErrorProfile(View):
    """Two series over the layers (``None``: not measured), their tolerances, what the target's precision explains of
    them, and the ``selected`` layer (-1: none)."""

    _esm, _css = assets("error_profile", "svg")

    data = traitlets.Dict().tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.put([], [], [], [], metric="")

    def put(
        self,
        names: Sequence[str],
        accumulated: Sequence[float | None],
        isolated: Sequence[float | None],
        failing: Sequence[bool],
        *,
        metric: str,
        limits: Pair = ((), ()),
        expected: Pair = ((), ()),
    ) -> None:
        """Show these layers instead; the sequences have one entry for each layer.

        ``limits`` are the tolerances of the accumulated and of the isolated error, ``expected`` what the precision of
        the target alone makes.
        """
        with self.hold_sync():
            self.selected = -1
            self.data = {
                "names": [shown(name, NAME_CHARACTERS) for name in names],
                "accumulated": [_finite(value) for value in accumulated],
                "isolated": [_finite(value) for value in isolated],
                "failing": [bool(value) for value in failing],
                "metric": metric,
                "limits": _by_series(limits),
                "expected": _by_series(expected),
            }

    def describe(self) -> str:
        return f"{len(self.data['names'])} layers, selected={self.selected}"


def _by_series(pair: Pair) -> dict[str, list[float | str | None]]:
    return {name: [_finite(value) for value in values] for name, values in zip(SERIES, pair, strict=True)}


def _finite(value: Any) -> float | str | None:
    """A number with four digits, which is what a plot can show; NaN and infinity as text, which JSON can carry."""
    if value is None:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else str(float(value))
