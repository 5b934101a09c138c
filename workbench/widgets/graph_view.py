"""The graph of a model: its layers, what they read from one another, and how large their errors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from workbench.widgets.base import View, assets
from workbench.widgets.text import shown

if TYPE_CHECKING:
    from workbench.model import Model

NAME_CHARACTERS = 60
MAX_NODES = 30_000
"""More cannot be sent in one message (and nobody finds anything among them): the view says so."""

TONES = ("", "ok", "bad", "unknown")
"""What a node's colour says: nothing, its layer is right, its layer is wrong, nobody knows."""


class GraphView(View):
    """A graph on a canvas: pan, zoom, collapse groups, choose a layer.

    ``selected`` is the chosen layer (-1: none), ``marked`` are those that stand for a layer chosen elsewhere; both
    index the model's layers. Layers whose names share a path (``/encoder/layer.0/…``) form groups.

    Args:
        label: what the graph is of, for screen readers and as its heading.
        height: pixels.
    """

    _esm, _css = assets("graph_view", "graph_layout", "graph_groups", "graph_scene", "graph_painter")

    label = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(380).tag(sync=True)
    graph = traitlets.Dict().tag(sync=True)
    tones: traitlets.List[int] = traitlets.List().tag(sync=True)
    heat: traitlets.List[float] = traitlets.List().tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    marked: traitlets.List[int] = traitlets.List().tag(sync=True)

    def __init__(self, label: str = "Graph", height: int = 380) -> None:
        super().__init__(label=label, height=height)
        self.put(None)

    def put(self, model: Model | None) -> None:
        """Show the graph of this model instead; nothing is chosen in it."""
        with self.hold_sync():
            self.selected, self.marked, self.tones, self.heat = -1, [], [], []
            self.graph = {} if model is None else graph_of(model)
            self.label = "Graph" if model is None else shown(model.name, NAME_CHARACTERS)

    def colour(self, tones: Sequence[str], heat: Sequence[float]) -> None:
        """Colour the layers: a tone of :data:`TONES` each, and from 0 to 1 how near its error is to the tolerance."""
        with self.hold_sync():
            self.tones = [TONES.index(tone) for tone in tones]
            self.heat = [round(min(max(value, 0.0), 1.0), 3) for value in heat]

    def describe(self) -> str:
        return f"{len(self.graph.get('names', ()))} nodes, selected={self.selected}"


def graph_of(model: Model) -> dict[str, Any]:
    """``names``, ``operators`` and ``edges`` (pairs, in one list): of the layers, then of the inputs and outputs.

    ``layers`` is how many of the nodes are layers. A model of more than :data:`MAX_NODES` has no nodes here.
    """
    layers = model.layers
    if len(layers) > MAX_NODES:
        return {"names": [], "operators": [], "edges": [], "layers": len(layers)}
    maker = {spec.name: place for place, layer in enumerate(layers) for spec in layer.outputs}
    names = [layer.name for layer in layers]
    operators = [layer.operator for layer in layers]
    for spec in model.inputs:
        maker[spec.name] = len(names)
        names.append(spec.name)
        operators.append("input")
    edges = {
        (maker[name], place): None
        for place, layer in enumerate(layers)
        for name in layer.inputs
        if name in maker and maker[name] != place
    }
    for spec in model.outputs:
        if spec.name in maker:
            edges[maker[spec.name], len(names)] = None
            names.append(spec.name)
            operators.append("output")
    return {
        "names": [shown(name, NAME_CHARACTERS) for name in names],
        "operators": [shown(operator, NAME_CHARACTERS) for operator in operators],
        "edges": [end for edge in edges for end in edge],
        "layers": len(layers),
    }
