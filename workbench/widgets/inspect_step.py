"""Step 2: what the model is, and its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets

from workbench.formats import all_formats
from workbench.session import Session
from workbench.widgets.base import stack
from workbench.widgets.content import Content, facts, text
from workbench.widgets.graph_view import GraphView
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.step import Step

if TYPE_CHECKING:
    from workbench.model import Model

COLUMNS = (
    Column("layer", width="2fr"),
    Column("operator", width="1.2fr"),
    Column("outputs", width="2fr"),
    Column("parameters", kind="number", width="1fr"),
)
MAX_OPERATORS = 8


class Inspect(Step):
    """Shows the summary and the layer table of the session's model."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self.summary = Content()
        self.table = LayerTable(COLUMNS)
        self.graph = GraphView()
        self.chosen = Content()
        self.widget = stack(self.summary, self.table, self.chosen, self.graph)
        self._shown: object = None
        self.table.observe(lambda change: self._explain(), names="selected")
        ipywidgets.link((self.table, "selected"), (self.graph, "selected"))
        self.watch()

    def select(self, layer: str | int | None) -> None:
        """Choose a layer by name or by its place; ``None`` for none."""
        model = self.session.model
        names = [found.name for found in model.layers] if model is not None else []
        self.table.selected = index_of(layer, names)

    def draw(self) -> None:
        model = self.session.model
        if model is self._shown:
            return
        self._shown = model
        self.graph.put(model)
        if model is None:
            self.summary.put(text("No model is open.", "neutral"))
            self.table.put([])
            return
        self.summary.put(facts(*summary(model)))
        self.table.put(
            [
                (
                    layer.name,
                    layer.operator,
                    ", ".join(spec.describe() for spec in layer.outputs),
                    layer.parameters or None,
                )
                for layer in model.layers
            ]
        )

    def _explain(self) -> None:
        model, index = self.session.model, self.table.selected
        if model is None or not 0 <= index < len(model.layers):
            self.chosen.put()
            return
        layer = model.layers[index]
        attributes = "\n".join(f"{name} = {value}" for name, value in layer.attributes.items())
        self.chosen.put(
            facts(
                ("layer", layer.name),
                ("operator", layer.operator),
                ("reads", "\n".join(name for name in layer.inputs if name) or "—"),
                ("makes", "\n".join(map(str, layer.outputs)) or "—"),
                ("attributes", attributes or "—"),
            )
        )

    def static_html(self) -> str:
        return self.summary.static_html() + self.table.static_html()


def summary(model: Model) -> list[tuple[str, str]]:
    """Labels and values: format, interface, layers, parameters."""
    formats = all_formats()
    title = formats[model.format].title if model.format in formats else model.format
    counts = Counter(layer.operator for layer in model.layers)
    usual = ", ".join(f"{operator} × {count}" for operator, count in counts.most_common(MAX_OPERATORS))
    return [
        ("model", model.name),
        ("format", title),
        ("inputs", "\n".join(map(str, model.inputs))),
        ("outputs", "\n".join(map(str, model.outputs))),
        ("layers", f"{len(model.layers):,} ({usual}{', …' if len(counts) > MAX_OPERATORS else ''})"),
        ("parameters", f"{sum(layer.parameters for layer in model.layers):,}"),
        *([("labels", _some(model.labels))] if model.labels else []),
        *((key, _some(words.split(), 60)) for key, words in model.metadata.items()),
    ]


def _some(parts: Sequence[object], most: int = 12) -> str:
    """The first of them in one line, and how many there are."""
    shown = " ".join(map(str, parts[:most]))
    return f"{shown} … ({len(parts):,})" if len(parts) > most else shown


def index_of(layer: str | int | None, names: list[str]) -> int:
    """The place of a layer that is given by name, by place, or not at all (-1).

    Raises:
        OptionError: there is no such layer; the message names the nearest.
    """
    import difflib

    from workbench.errors import OptionError

    if layer is None:
        return -1
    if isinstance(layer, int):
        if -1 <= layer < len(names):
            return layer
        raise OptionError(f"there is no layer number {layer}; there are {len(names)}.")
    if layer in names:
        return names.index(layer)
    near = difflib.get_close_matches(layer, names, n=1)
    raise OptionError(f"there is no layer {layer!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
