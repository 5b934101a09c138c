"""The graphs of two models side by side: one selection, coloured by the error of their layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.compare.heat import heat, rows_of_layers
from workbench.widgets.base import row
from workbench.widgets.graph_view import GraphView

if TYPE_CHECKING:
    from workbench.compare import Row
    from workbench.model import Model

TONES = {"ok": "ok", "failing": "bad", "unmatched": "unknown", "skipped": "unknown"}


class GraphPair:
    """Reference at the left, target at the right.

    Args:
        choose: called with the index of a row when the user chooses one of its layers.
    """

    def __init__(self, choose: Callable[[int], object]) -> None:
        self.views = (GraphView(height=300), GraphView(height=300))
        self.widget = row(*self.views, name="wb-pair")
        self._choose = choose
        self._rows_of: list[list[int]] = [[], []]
        self._layers_of: list[dict[str, int]] = [{}, {}]
        for side, view in enumerate(self.views):
            view.observe(lambda change, side=side: self._chosen(side, change["new"]), names="selected")

    def put(self, reference: Model | None, target: Model | None, rows: Sequence[Row]) -> None:
        """Show these models instead, each layer in the colour of the row that it is in."""
        for side, model in enumerate((reference, target)):
            names = [] if model is None else [layer.name for layer in model.layers]
            places = rows_of_layers(rows, side)
            shown = [places.get(name, -1) for name in names]
            self._rows_of[side] = shown
            self._layers_of[side] = {name: place for place, name in enumerate(names)}
            self.views[side].put(model)
            self.views[side].colour(
                [TONES[rows[at].status] if at >= 0 else "" for at in shown],
                [heat(rows[at]) if at >= 0 else 0.0 for at in shown],
            )

    def mark(self, found: Row | None) -> None:
        """Show where the layers of a row are."""
        sides = ((), ()) if found is None else (found.layers, found.target_layers)
        for view, known, names in zip(self.views, self._layers_of, sides, strict=True):
            view.marked = [known[name] for name in names if name in known]
            if view.selected not in view.marked:
                view.selected = -1

    def _chosen(self, side: int, layer: int) -> None:
        at = self._rows_of[side][layer] if layer >= 0 else -1
        if at >= 0:
            self._choose(at)
