"""Step 4: the two models side by side, layer by layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ipywidgets

from workbench.errors import OptionError, WorkbenchError
from workbench.session import Failure, Session
from workbench.widgets.base import disclosure, row, show, stack
from workbench.widgets.content import Content, alert, badges, facts, failure_alert, text
from workbench.widgets.error_profile import ErrorProfile
from workbench.widgets.figures import about, errors_of, explained, signature_of, tensors_of
from workbench.widgets.graph_pair import GraphPair
from workbench.widgets.inspect_step import index_of
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.recordings import Recordings
from workbench.widgets.step import Step
from workbench.widgets.tensor_view import TensorView
from workbench.widgets.whatif import WhatIf

if TYPE_CHECKING:
    from workbench.compare import Report, Row

TONES = {"ok": "ok", "failing": "bad", "unmatched": "neutral", "skipped": "neutral"}
COLUMNS = (
    Column("layer", width="1.4fr"),
    Column("operator", width="1.25fr"),
    Column("converted", width="1.4fr"),
    Column("status", width="0.95fr", tones=TONES),
    Column("accumulated", kind="number", width="1.25fr"),
    Column("isolated", kind="number", width="0.8fr"),
    Column("max abs", kind="number", width="0.85fr"),
)
NOISE = Column("over fp16, dB", kind="number", width="1.3fr")
METRIC = "relative L2 error"


class Compare(Step):
    """Runs the comparison; the profile, the table, the graphs and the tensors follow one :attr:`selected` layer."""

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session)
        self._report: Report | None = None
        self._drawn = False
        self.mode = ipywidgets.Dropdown(
            options=("both", "accumulated", "isolated"), description="Mode", layout={"width": "auto"}
        )
        self.button = ipywidgets.Button(description="Compare", button_style="primary")
        self.recordings = Recordings(self.session)
        self.more = disclosure("Sides, feeds, recordings", self.recordings.widget, "What is compared, and on what")
        self.verdict = Content(live=True)
        self.profile = ErrorProfile()
        self.table = LayerTable(COLUMNS, height=234, markable=True)
        self.whatif = WhatIf(self.session, self.table, lambda: () if self._report is None else self._report.rows)
        self.graphs = GraphPair(self._select)
        self.about = Content(live=True)
        self.tensors = TensorView()
        self.details = Content()
        self._results = stack(
            self.profile,
            self.table,
            self.whatif.widget,
            self.graphs.widget,
            self.about,
            self.tensors,
            self.details,
        )
        top = row(self.mode, self.button, self.more)
        self.widget = stack(top, self.recordings.widget, self.verdict, self._results)
        self._looking = 0  # the number of the newest wish to see tensors; older ones are dropped
        self._looker = threading.Lock()
        self.button.on_click(lambda _: self._start())
        self.profile.observe(lambda change: self._select(change["new"]), names="selected")
        self.table.observe(lambda change: self._select(change["new"]), names="selected")
        self.watch()

    @property
    def selected(self) -> int:
        """The chosen row of the report, or -1."""
        return int(self.table.selected)

    def compare(self, **arguments: Any) -> Report:
        """Compare now, with the arguments of :func:`workbench.compare`; raises what goes wrong."""
        return self.session.compare(**arguments)

    def select(self, layer: str | int | None) -> None:
        """Choose a layer by its name or by its row, and show its tensors; ``None`` for none."""
        rows = self._report.rows if self._report is not None else ()
        by_layer = {name: place for place, found in reversed(list(enumerate(rows))) for name in found.layers}
        index = by_layer[layer] if isinstance(layer, str) and layer in by_layer else None
        if index is None:
            index = index_of(layer, [found.layer for found in rows])
        with self.quietly():
            self._select(index)
        self._look(index, self._next_look())

    def _start(self) -> None:
        try:
            arguments = self.recordings.arguments()
        except OptionError as error:
            self.verdict.put(alert(type(error).__name__, str(error)))
            return
        self.session.start("compare", mode=self.mode.value, **arguments)

    # What the session says

    def draw(self) -> None:
        state = self.session.state
        self.button.disabled = self.session.busy or state.model is None
        if state.report is None:
            missing = "" if state.converted is not None else " Convert the model first, or name what stands for it."
            self.verdict.put(text(f"Not compared yet.{missing}", "neutral"))
        if state.report is self._report and self._drawn:
            return
        self._report, self._drawn = state.report, True
        show(self._results, self._report is not None)
        self.tensors.figures = {}
        self.about.put()
        self.details.put()
        if self._report is None:
            self.table.put([])
            return
        self.verdict.put(*verdict_of(self._report))
        rows = self._report.rows
        noisy = any(found.noise is not None for found in rows)
        self.table.put([_cells(found, noisy) for found in rows], (*COLUMNS, NOISE) if noisy else COLUMNS)
        allowed = [found.allowance for found in rows]
        noise = [found.noise for found in rows]
        self.profile.put(
            [found.layer for found in rows],
            [None if found.accumulated is None else found.accumulated.relative_l2 for found in rows],
            [None if found.isolated is None else found.isolated.relative_l2 for found in rows],
            [found.status == "failing" for found in rows],
            metric=METRIC,
            limits=(
                [None if allowance is None else allowance.accumulated for allowance in allowed],
                [None if allowance is None else allowance.isolated for allowance in allowed],
            ),
            expected=(
                [None if explained is None else explained.accumulated for explained in noise],
                [None if explained is None else explained.isolated for explained in noise],
            ),
        )
        source = self._report.source
        sides = (state.model, state.converted) if source is None else (source.reference, source.target)
        self.graphs.put(*sides, rows)

    # One selection for all views

    def _select(self, index: int) -> None:
        self.table.selected = index
        self.profile.selected = index
        report = self._report
        self.graphs.mark(report.rows[index] if report is not None and 0 <= index < len(report.rows) else None)
        if not self.is_quiet and index >= 0:
            number = self._next_look()
            threading.Thread(target=self._look, args=(index, number), name="workbench-tensors", daemon=True).start()

    def _next_look(self) -> int:
        self._looking += 1
        return self._looking

    def _look(self, index: int, number: int) -> None:
        """Show the tensors of a row, unless another was chosen meanwhile."""
        report = self._report
        if report is None or not 0 <= index < len(report.rows):
            self.about.put()
            self.details.put()
            self.tensors.figures = {}
            return
        found = report.rows[index]
        with self._looker:
            if number != self._looking:
                return
            try:
                figures, tables = tensors_of(report, found)
            except WorkbenchError as error:
                figures, tables = {}, [text(str(error), "neutral")]
            except Exception as error:  # shown in place: this thread has no other way to tell
                figures, tables = {}, [failure_alert(Failure("select", error))]
            if number != self._looking:
                return
            self.about.put(*about(found))
            self.tensors.figures = figures
            self.details.put(errors_of(found), *tables)
            signed = explained(report, found)
            if number == self._looking and signed is not found:
                self.about.put(*about(signed))

    def static_html(self) -> str:
        return self.verdict.static_html() + self.table.static_html()


def verdict_of(report: Report) -> list[dict[str, Any]]:
    """The outcome in a sentence, how many rows have which status, and what made the tensors."""
    counts = [(f"{report.count(status):,} {status}", tone) for status, tone in TONES.items() if report.count(status)]
    sentence = "The converted model computes the same, within tolerance."
    if not report.ok:
        first = report.first_failing
        sentence = (
            "The converted model differs." if first is None else f"{first.operator} {first.layer!r}: {first.remark}"
        )
    made = f"Reference run by {report.executors[0]}, converted model by {report.executors[1]}; {report.feeds}."
    first = report.first_failing
    looks = [] if first is None or first.signature is None else [facts(*signature_of(first.signature))]
    declared = [text(f"Declared approximate: {bound}.", "warn") for bound in report.approximations]
    return [badges(*counts), text(sentence, "ok" if report.ok else "bad"), *looks, *declared, text(made, "neutral")]


def _cells(found: Row, noisy: bool) -> tuple[Any, ...]:
    accumulated, isolated = found.accumulated, found.isolated
    measured = accumulated or isolated
    return (
        found.layer,
        found.operator,
        ", ".join(found.target_layers),
        found.status,
        None if accumulated is None else accumulated.relative_l2,
        None if isolated is None else isolated.relative_l2,
        None if measured is None else measured.max_abs,
        *([found.isolated_db_above_noise if accumulated is None else found.db_above_noise] if noisy else []),
    )
