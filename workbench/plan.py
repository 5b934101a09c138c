"""What a conversion will do, layer by layer, before anything is written."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from workbench.errors import Refusal
from workbench.words import one_line, shorten

if TYPE_CHECKING:
    import pandas


class Verdict(str, Enum):
    """How a layer fares in a conversion."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    UNDECIDED = "undecided"
    """Nothing stands against the layer so far, but what it becomes depends on something that is not known yet."""
    REFUSED = "refused"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class PlanRow:
    """One source layer in a plan.

    ``note`` is the cause of a refusal, the bound of an approximation, what an undecided layer waits for, or a remark
    (``folded into a constant``);
    ``way_out`` is what the user can do about a refusal.
    """

    layer: str
    operator: str
    verdict: Verdict
    note: str = ""
    way_out: str = ""
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The verdict on every layer of a model for one target and one set of options."""

    source_format: str
    target_format: str
    subject: str
    options: Mapping[str, Any]
    rows: tuple[PlanRow, ...]
    general: tuple[Refusal, ...] = field(default=())
    """Refusals that concern the model's interface and no single layer."""

    @property
    def ok(self) -> bool:
        """Whether the conversion will go through."""
        return not self.general and not self.count(Verdict.REFUSED) and not self.count(Verdict.UNDECIDED)

    def __bool__(self) -> bool:
        return self.ok

    def __iter__(self) -> Iterator[PlanRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def count(self, verdict: Verdict | str) -> int:
        """Number of layers with that verdict."""
        return sum(row.verdict is Verdict(verdict) for row in self.rows)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Every reason against the conversion."""
        layers = (
            Refusal(self.source_format, self.target_format, row.operator, row.layer, row.note, row.way_out)
            for row in self.rows
            if row.verdict is Verdict.REFUSED
        )
        return (*self.general, *layers)

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a pandas DataFrame (pandas has to be installed)."""
        import pandas

        return pandas.DataFrame(
            [(row.layer, row.operator, str(row.verdict), row.note, row.way_out) for row in self.rows],
            columns=["layer", "operator", "verdict", "note", "way_out"],
        )

    def summary(self) -> str:
        """``95 layers: 90 exact, 3 approximate, 2 refused``; or ``93 undecided, 2 refused``."""
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict if self.count(verdict))
        parts = [f"{len(self.rows)} layers: {counts}"] if self.rows else []
        if self.general:
            parts.append(f"{len(self.general)} input or output refused")
        return "; ".join(parts) or "no layers"

    def __repr__(self) -> str:
        return f"Plan({self.subject!r}, {self.source_format} → {self.target_format}, {self.summary()})"

    def __str__(self) -> str:
        """All layers but the undecided, of which there is nothing to say yet but their number."""
        lines = [repr(self), *(f"  {refusal}" for refusal in self.general)]
        lines += [
            f"  {row.verdict!s:12}{row.operator:24}{row.layer}" + (f"  ({row.note})" if row.note else "")
            for row in self.rows
            if row.verdict is not Verdict.UNDECIDED
        ]
        return "\n".join(map(one_line, lines))

    def _repr_html_(self) -> str:
        quiet = (Verdict.EXACT, Verdict.UNDECIDED)
        shown = [row for row in self.rows if row.verdict not in quiet] or list(self.rows[:20])
        kinds = " or ".join(str(verdict) for verdict in quiet if self.count(verdict))
        head = f"<p>{html.escape(repr(self))}</p>"
        general = "".join(f"<p>{html.escape(str(refusal))}</p>" for refusal in self.general)
        return f"{head}{general}{_table(shown)}" + (
            f"<p>… and {len(self.rows) - len(shown)} more layers, all {kinds}</p>"
            if len(shown) < len(self.rows)
            else ""
        )


def _table(rows: Iterable[PlanRow]) -> str:
    cells = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(text)}</td>" for text in (shorten(row.layer), row.operator, str(row.verdict), row.note)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr><th>layer</th><th>operator</th><th>verdict</th><th>note</th></tr>{cells}</table>"
