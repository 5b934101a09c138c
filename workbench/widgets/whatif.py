"""What follows from a comparison: which layers matter, and what to show others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets

from workbench.formats import all_formats
from workbench.session import Session
from workbench.widgets.base import Panel, row, show, stack, text_field
from workbench.widgets.content import Block, Content, alert, table, text
from workbench.widgets.export_step import default_stem
from workbench.widgets.layer_table import LayerTable
from workbench.widgets.text import number

if TYPE_CHECKING:
    from workbench.compare import Counterfactual, Row


class WhatIf(Panel):
    """Corrects layers, keeps those that matter in float32, writes a repro: on the rows of the comparison's table.

    Args:
        session: with the comparison.
        rows: the table whose marked rows are corrected, and whose chosen row is shown to others.
        found: gives the report's rows.
    """

    def __init__(self, session: Session, rows: LayerTable, found: Callable[[], Sequence[Row]]) -> None:
        super().__init__(session)
        self._table, self._rows = rows, found
        self.correct = _button("What if the marked were right?", "The outputs with the marked layers corrected")
        self.fed = ipywidgets.Checkbox(
            description="and what comes into them too", indent=False, layout={"width": "auto"}, value=False
        )
        self.smallest = _button("Find the fewest layers", "The fewest layers whose correction makes all outputs ok")
        self.keep = _button("Convert again, these in float32", "Mixed precision: all else stays in float16")
        self.outcome = Content(live=True)
        self.folder = text_field("Repro", "new folder for the chosen layer")
        self.repro = _button("Write a repro", "The chosen layer alone, in both formats, with a script for a bug report")
        self.written = Content()
        self.widget = stack(
            row(self.correct, self.fed, self.smallest, self.keep),
            self.outcome,
            row(self.folder, self.repro),
            self.written,
        )
        self._answer: Counterfactual | None = None
        self._proposed = ""
        self.correct.on_click(lambda _: self._start())
        self.smallest.on_click(lambda _: self.session.start("smallest_correction"))
        self.keep.on_click(lambda _: self._keep())
        self.repro.on_click(lambda _: self._write())
        self._table.observe(lambda change: self._changed(), names=["selected", "marked"])
        self.watch()

    def _start(self) -> None:
        rows = self._rows()
        layers = [handle_of(rows, place) for place in self._table.marked]
        self.session.start("counterfactual", layers=layers, **({"fed": True} if self.fed.value else {}))

    def _keep(self) -> None:
        state = self.session.state
        if state.counterfactual is None or state.converted_to is None:
            return
        before = tuple(state.converted_with.get("keep_fp32") or ())
        kept = list(dict.fromkeys((*before, *state.counterfactual.layers)))
        options = {**state.converted_with, "precision": "mixed", "keep_fp32": kept}
        self.session.start("convert", to=state.converted_to, **options)

    def _write(self) -> None:
        folder = self.folder.value.strip()
        if not folder:
            self.written.put(alert("No folder", "Say in the field before the button which folder is to be made."))
            return
        self.session.start("repro", layer=handle_of(self._rows(), self._table.selected), folder=folder)

    def _changed(self) -> None:
        with self._drawing:
            self._enable()
            rows, place = self._rows(), self._table.selected
            if 0 <= place < len(rows) and self.folder.value in ("", self._proposed):
                self._proposed = self.folder.value = f"repro-{default_stem(rows[place].layer)}"

    def _enable(self) -> None:
        busy, rows = self.session.busy or self.session.report is None, self._rows()
        marked = len(self._table.marked)
        self.correct.description = (
            f"What if the {marked} marked were right?" if marked else "Mark layers to correct them"
        )
        self.correct.disabled = busy or not marked
        self.smallest.disabled = busy
        self.repro.disabled = busy or not 0 <= self._table.selected < len(rows)

    def draw(self) -> None:
        state = self.session.state
        self._enable()
        answer = state.counterfactual
        if answer is not self._answer:
            self._answer = answer
            if answer is not None and not state.asked:
                self._table.marked = _places(self._rows(), answer.layers)
            self.outcome.put(*([] if answer is None else outcome_of(answer)))
        show(self.keep, answer is not None and answer.ok and bool(answer.layers) and self._is_half())
        self.keep.disabled = self.session.busy
        if state.repro is None:
            self.written.put()
        else:
            self.written.put(alert("Repro written", f"{state.repro}: README.md in it says how to run it.", tone="ok"))

    def _is_half(self) -> bool:
        """Whether the conversion can keep layers in float32, and did not keep all of them."""
        state = self.session.state
        known = all_formats().get(state.converted_to or "")
        takes = known is not None and any(field.name == "keep_fp32" for field in dataclasses.fields(known.options))
        return takes and state.converted_with.get("precision") in ("fp16", "mixed")

    def static_html(self) -> str:
        return self.outcome.static_html()


def handle_of(rows: Sequence[Row], place: int) -> str | int:
    """What a row is called where a layer is asked for: its layer or tensor, if no earlier row is called so."""
    found = rows[place]
    for name in (*found.layers[:1], found.tensor):
        named = [row for row in rows if name in row.layers] or [row for row in rows if name == row.tensor]
        if named == [found]:
            return name
    return place


def outcome_of(answer: Counterfactual) -> list[Block]:
    """The outputs before and after."""
    count = len(answer.layers)
    layers = ", ".join(answer.layers[:12]) + (" …" if count > 12 else "")
    rows = [
        (item.tensor, number(item.before.relative_l2), number(item.after.relative_l2), item.reason or "ok")
        for item in answer.outputs
    ]
    verdict = "makes all outputs ok" if answer.ok else "is not enough"
    sentence = f"Correcting {count} layer{'s' if count != 1 else ''} ({layers}) {verdict}."
    if answer.ok and not count:
        sentence = "All outputs are ok as they are; nothing has to be corrected."
    return [
        text(sentence, "ok" if answer.ok else "bad"),
        table("Relative L2 error of the outputs", ("output", "as it is", "corrected", "verdict"), rows),
    ]


def _places(rows: Sequence[Row], layers: Sequence[str]) -> list[int]:
    """The rows that layers make, one for each of them that has a counterpart."""
    wanted = set(layers)
    return [place for place, found in enumerate(rows) if found.target_tensor and wanted.intersection(found.layers)]


def _button(description: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=description, tooltip=tooltip, disabled=True, layout={"width": "auto"})
