"""The page as a whole: its head, its security policy, and its parts in their places.

Everything is in the one file: the table and the profile as they are without scripts, the details of the rows as data,
and one script of ours whose hash the page's security policy names. Nothing is loaded, and names are never markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.compare import storage
from workbench.compare.page.details import details_of, facts
from workbench.compare.page.views import profile, table
from workbench.compare.page.words import error_of, number, title
from workbench.compare.rows import Row
from workbench.words import one_line

if TYPE_CHECKING:
    from workbench.compare.report import Report


def page(report: Report, details: int) -> str:
    """The page.

    Args:
        report: what to show.
        details: of how many rows the tensors' distributions are computed, where the report has its models.
    """
    heading = one_line(f"{report.reference.name} → {report.target.name}")
    data = _island({"rows": [facts(row) for row in report.rows], "details": details_of(report, details)})
    script, style = _asset("page.js"), _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    verdict = "ok" if report.ok else "not ok"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(heading)}</title><style>{style}</style></head><body>"
        f'<header><h1>{escape(heading)} <span class="badge {"good" if report.ok else "bad"}">{verdict}</span></h1>'
        f"<p>{_counts(report)}</p>{_summary(report)}</header>"
        f'<section id="profile" aria-label="Error of each tensor">{profile(report.rows)}</section>'
        f'<div class="views"><section id="rows" aria-label="Tensors">{table(report.rows)}</section>'
        '<section id="detail" aria-label="The selected tensor" aria-live="polite">'
        "<p>Select a row or a bar to see its figures and tensors.</p></section></div>"
        f'<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>\n'
    )


@functools.cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _island(content: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(storage.encoded(content), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _counts(report: Report) -> str:
    kinds = {"ok": "good", "failing": "bad", "unmatched": "plain", "skipped": "plain"}
    return " ".join(
        f'<span class="badge {kind}">{report.count(status)} {status}</span>'
        for status, kind in kinds.items()
        if report.count(status)
    )


def _summary(report: Report) -> str:
    facts = [
        ("reference", escape(_side(report.reference))),
        ("target", escape(_side(report.target))),
        ("matched by", escape(report.relation)),
        ("inputs", escape(f"{report.feeds}, {report.samples} sample{'s' if report.samples != 1 else ''}")),
    ]
    facts += [("declared approximate", escape(text)) for text in report.approximations]
    facts += [("note", escape(one_line(text))) for text in report.notes]
    facts += [(f"output {row.tensor}", _link(row, _verdict(row))) for row in report.outputs]
    facts += [("look at", _link(row, _accusation(row))) for row in report.culprits(3)]
    return "<dl>" + "".join(f"<dt>{escape(one_line(name))}</dt><dd>{text}</dd>" for name, text in facts) + "</dl>"


def _side(side: object) -> str:
    name, form, executor, precision = (getattr(side, key) for key in ("name", "format", "executor", "precision"))
    return f"{one_line(name)} ({form}), run by {executor}" + (f"; {precision}" if precision else "")


def _verdict(row: Row) -> str:
    metrics = row.accumulated or row.isolated
    error = "" if metrics is None else f", relative L2 {number(error_of(metrics))}"
    return f"{row.status}{error}" + (f": {row.reason}" if row.reason else "")


def _accusation(row: Row) -> str:
    signature = "" if row.signature is None else f"; it looks like {row.signature}"
    return f"{title(row)}: {row.reason}{signature}"


def _link(row: Row, text: str) -> str:
    return f'<a class="pick" href="#row-{row.index}">{escape(one_line(text))}</a>'
