"""A table of layers: any number of rows, sorted and filtered in the browser, worked by keyboard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import traitlets

from workbench.widgets.base import View, assets
from workbench.widgets.text import MAX_CHARACTERS, escape, rough, shown
from workbench.words import shorten

PIECE_BYTES = 1_000_000
"""Rows are sent in messages of about this size."""

STATIC_ROWS = 12
"""How many rows the static rendering shows."""

STATIC_CHARACTERS = 40
"""And how much of a name, which cannot wrap: the table stays as wide as a page."""

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column.

    ``kind`` is ``text`` (names), ``prose`` (sentences) or ``number``; ``width`` a CSS grid track; ``tones`` colours
    certain texts (``{"refused": "bad"}``).
    """

    title: str
    kind: str = "text"
    width: str = "1fr"
    tones: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the browser."""
        return {"title": self.title, "kind": self.kind, "width": self.width, "tones": dict(self.tones)}


class LayerTable(View):
    """Rows in the model's own order; ``selected`` is an index into them, -1 for none.

    Where rows can be marked (``markable``), ``marked`` holds the indices of those that are.

    Args:
        columns: the columns.
        label: what the rows are, for the filter box and for screen readers.
        height: pixels of the scrolling part, at most.
    """

    _esm, _css = assets("layer_table")

    columns: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(338).tag(sync=True)
    rows: traitlets.List[list[Cell]] = traitlets.List().tag(sync=True)
    """The first rows only; :attr:`all_rows` has all."""
    total = traitlets.Int(0).tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    markable = traitlets.Bool(False).tag(sync=True)
    marked: traitlets.List[int] = traitlets.List().tag(sync=True)

    def __init__(
        self, columns: Sequence[Column], label: str = "Layers", height: int = 338, markable: bool = False
    ) -> None:
        described = [column.to_dict() for column in columns]
        super().__init__(columns=described, label=label, height=height, markable=markable)
        self.all_rows: list[list[Cell]] = []
        self.on_msg(self._answer)

    def put(self, rows: Sequence[Sequence[Any]], columns: Sequence[Column] | None = None) -> None:
        """Show these rows instead, in other columns if they are given; selection and marks are dropped."""
        made = [[_cell(value) for value in row] for row in rows]
        described = self.columns if columns is None else [column.to_dict() for column in columns]
        if made == self.all_rows and described == self.columns:
            return
        self.all_rows = made
        with self.hold_sync():
            self.columns = described
            self.rows = self._piece(0)
            self.total = len(self.all_rows)
            self.selected = -1
            self.marked = []
            self.version += 1

    def _piece(self, start: int) -> list[list[Cell]]:
        """Rows from ``start`` on that fit into one message."""
        stop, size = start, 0
        while stop < len(self.all_rows) and size < PIECE_BYTES:
            size += len(json.dumps(self.all_rows[stop]))
            stop += 1
        return self.all_rows[start:stop]

    def _answer(self, widget: object, message: Any, buffers: object) -> None:
        if isinstance(message, dict) and message.get("type") == "more" and message.get("version") == self.version:
            start = message.get("start")
            if isinstance(start, int) and 0 <= start < len(self.all_rows):
                self.send({"type": "rows", "version": self.version, "start": start, "rows": self._piece(start)})

    def describe(self) -> str:
        return f"{self.total} rows, selected={self.selected}"

    def static_html(self) -> str:
        if not self.all_rows:
            return ""
        head = "".join(f"<th>{escape(column['title'])}</th>" for column in self.columns)
        kinds = [column["kind"] for column in self.columns]
        body = "".join("<tr>" + "".join(map(_static, row, kinds)) + "</tr>" for row in self.all_rows[:STATIC_ROWS])
        rest = len(self.all_rows) - STATIC_ROWS
        more = f"<p>… and {rest:,} more rows</p>" if rest > 0 else ""
        return f"<table><tr>{head}</tr>{body}</table>{more}"


def _static(value: Cell, kind: str) -> str:
    return f"<td>{escape(shorten(rough(value), STATIC_CHARACTERS) if kind == 'text' else rough(value))}</td>"


def _cell(value: Any) -> Cell:
    """What JSON can carry: NaN and the infinities become text. Of a very long name both ends stay."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return shown(shorten(str(value), MAX_CHARACTERS))
