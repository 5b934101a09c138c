"""A report as HTML for notebooks: a short form whose figures do not vary between machines."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from workbench.compare.metrics import Metrics
from workbench.compare.tolerance import power_of_ten
from workbench.words import shorten

if TYPE_CHECKING:
    from workbench.compare.report import Report
    from workbench.compare.rows import Row

SHOWN = 20  # rows in the short form


def fragment(report: Report) -> str:
    """The short form: verdict, outputs, and the rows that are not ok (else the first ones)."""
    chosen = [row for row in report.rows if row.status != "ok" or row.output]
    shown = chosen[:SHOWN]
    cells = "".join(
        f"<tr><td>{escape(shorten(row.layer))}</td><td>{escape(row.operator)}</td><td>{escape(_status(row))}</td>"
        f"<td>{_rough(row.accumulated)}</td><td>{_rough(row.isolated)}</td><td>{escape(row.remark)}</td></tr>"
        for row in shown
    )
    head = "".join(f"<th>{name}</th>" for name in ("layer", "operator", "status", "relative L2", "isolated", "reason"))
    more = (
        f"<p>… and {len(chosen) - len(shown)} more that are not ok or are outputs</p>"
        if len(chosen) > len(shown)
        else ""
    )
    rest = report.count("ok") - sum(row.status == "ok" for row in chosen)
    ok = f"<p>{rest} inner tensors are ok</p>" if rest else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>" if shown else ""
    culprit = report.first_failing
    if culprit is not None and culprit.signature is not None:
        words = f"look first at {culprit.operator} {culprit.layer}: it looks like {culprit.signature}"
        ok = f"<p>{escape(words)}</p>{ok}"
    declared = "".join(f"<p>declared approximate: {escape(text)}</p>" for text in report.approximations)
    return f"<p>{escape(repr(report))}</p><p>{escape(_made_by(report))}</p>{declared}{table}{more}{ok}"


def _made_by(report: Report) -> str:
    return f"reference run by {report.executors[0]}; target run by {report.executors[1]}; {report.relation}"


def _status(row: Row) -> str:
    return f"{row.status} ({row.blame})" if row.blame else row.status


def _rough(metrics: Metrics | None) -> str:
    if metrics is None:
        return ""
    if metrics.pattern:
        return "other NaN or infinity"
    if metrics.mismatches is not None:
        return f"{metrics.mismatches} of {metrics.size} differ"
    return escape(power_of_ten(metrics.relative_l2))
