"""A report as HTML: a short form for notebooks, whose figures do not vary between machines, and a page of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from workbench.compare.metrics import Metrics
from workbench.compare.tolerance import power_of_ten
from workbench.words import shorten

if TYPE_CHECKING:
    from workbench.compare.report import Report
    from workbench.compare.rows import Row

SHOWN = 20  # rows in the short form
FLOOR = 1e-9  # errors are drawn from here on
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 260, 52, 12, 24

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ok: #2a78c2; --own: #c22f2f; --inherited: #d98a1f; --muted: #888; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
td.n { text-align: right; white-space: nowrap; } td { overflow-wrap: anywhere; }
.failing { color: var(--own); font-weight: 600; } .inherited { color: var(--inherited); }
.unmatched, .skipped { color: var(--muted); }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dd { margin: 0; }
"""


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
    declared = "".join(f"<p>declared approximate: {escape(text)}</p>" for text in report.approximations)
    return f"<p>{escape(repr(report))}</p><p>{escape(_made_by(report))}</p>{declared}{table}{more}{ok}"


def page(report: Report) -> str:
    """A stand-alone page: no scripts, nothing loaded from elsewhere."""
    facts = [
        ("verdict", "ok: every comparable tensor is within its tolerance" if report.ok else "not ok"),
        ("tensors", report.summary()),
        ("reference", _side(report.reference)),
        ("target", _side(report.target)),
        ("matched by", report.relation),
        ("inputs", f"{report.feeds}, {report.samples} sample{'s' if report.samples != 1 else ''}"),
    ]
    facts += [("declared approximate", text) for text in report.approximations]
    first = report.first_failing
    if first is not None:
        facts.append(("look first at", f"{first.operator} {first.layer}: {first.remark}"))
    listing = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    title = f"{report.reference.name} → {report.target.name}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><dl>{listing}</dl>"
        f"<h2>Relative L2 error of each tensor, in topological order</h2>{_profile(report.rows)}"
        f"<h2>Outputs</h2>{_table(report.outputs)}"
        f"<h2>Beyond their tolerance</h2>{_table(report.failing) if report.failing else '<p>None.</p>'}"
        f"<details><summary>All tensors</summary>{_table(report.rows)}</details>"
        "</body></html>\n"
    )


def _side(side: object) -> str:
    parts = [getattr(side, name) for name in ("name", "format", "executor", "precision")]
    return f"{parts[0]} ({parts[1]}), run by {parts[2]}" + (f"; {parts[3]}" if parts[3] else "")


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


def _table(rows: Iterable[Row]) -> str:
    names = (
        "",
        "layer",
        "operator",
        "tensor",
        "shape",
        "status",
        "relative L2",
        "SQNR dB",
        "max |d|",
        "at",
        "isolated",
        "reason",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_line, rows))}</tbody></table>"


def _line(row: Row) -> str:
    a, i = row.accumulated, row.isolated
    shape = "" if row.shape is None else f"{row.dtype}{list(row.shape)}"
    texts = [row.layer, row.operator, row.tensor, shape]
    place = "" if a is None or not a.max_abs else str(list(a.max_abs_index))
    numbers = [
        _number(a, "relative_l2"),
        _number(a, "sqnr_db", "{:.1f}"),
        _number(a, "max_abs"),
        escape(place),
        _number(i, "relative_l2"),
    ]
    kind = "inherited" if row.blame == "inherited" else row.status
    return (
        f'<tr><td class="n">{row.index}</td>'
        + "".join(f"<td>{escape(text)}</td>" for text in texts)
        + f'<td class="{kind}">{escape(_status(row))}</td>'
        + "".join(f'<td class="n">{text}</td>' for text in numbers)
        + f"<td>{escape(row.remark)}</td></tr>"
    )


def _number(metrics: Metrics | None, name: str, form: str = "{:.2e}") -> str:
    if metrics is None:
        return ""
    value = float(getattr(metrics, name))
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return form.format(value)


def _profile(rows: Iterable[Row]) -> str:
    """The errors as an SVG: dots accumulated, bars isolated, coloured by verdict, each with its tolerance."""
    measured = [row for row in rows if row.accumulated is not None or row.isolated is not None]
    if not measured:
        return "<p>Nothing was measured.</p>"
    plot = _HEIGHT - _TOP - _BOTTOM
    lowest, highest = math.log10(FLOOR), 1.0

    def y(value: float) -> float:
        clipped = min(max(math.log10(max(value, FLOOR)), lowest), highest)
        return _TOP + plot * (highest - clipped) / (highest - lowest)

    step = (_WIDTH - _LEFT) / len(measured)
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(10.0**e):.1f}" y2="{y(10.0**e):.1f}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 6}" y="{y(10.0**e) + 4:.1f}" text-anchor="end">1e{e}</text>'
        for e in range(-8, 2, 2)
    ]
    for place, row in enumerate(measured):
        x = _LEFT + step * (place + 0.5)
        colour = f"var(--{row.blame or ('own' if row.status == 'failing' else 'ok')})"
        title = f"<title>{escape(f'{row.index} {row.operator} {row.layer}: {_status(row)} {row.remark}')}</title>"
        if row.isolated is not None:
            top = y(row.isolated.relative_l2)
            parts.append(
                f'<rect x="{x - step * 0.35:.1f}" y="{top:.1f}" width="{max(step * 0.7, 0.6):.1f}" '
                f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="{colour}" opacity=".45">{title}</rect>'
            )
        if row.accumulated is not None:
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y(row.accumulated.relative_l2):.1f}" r="3" fill="{colour}">{title}</circle>'
            )
        if row.allowance is not None:
            bound = y(row.allowance.accumulated if row.accumulated is not None else row.allowance.isolated)
            parts.append(
                f'<line x1="{x - step / 2:.1f}" x2="{x + step / 2:.1f}" y1="{bound:.1f}" y2="{bound:.1f}" '
                'stroke="currentColor" stroke-dasharray="3 3" opacity=".6"/>'
            )
    legend = "dots: accumulated; bars: isolated; dashed: tolerance of the accumulated error"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{legend}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{legend}">{"".join(parts)}</svg>'
