"""Blocks of text in the workbench: facts, badges, messages, code, progress. Text in them is never markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import traitlets

from workbench.session import Failure, Task
from workbench.widgets.base import View, assets
from workbench.widgets.text import escape, paragraph, shown

Block = dict[str, Any]

MAX_ITEMS = 200
"""More entries of one list are not sent to the browser; the list says how many there are."""


class Content(View):
    """Shows :attr:`blocks`, made by the functions of this module."""

    _esm, _css = assets("content")

    blocks: traitlets.List[Block] = traitlets.List().tag(sync=True)
    live = traitlets.Bool(False).tag(sync=True)
    """Whether a screen reader speaks what changes here."""

    def describe(self) -> str:
        return ", ".join(block["kind"] for block in self.blocks)

    def put(self, *blocks: Block | None) -> None:
        """Show these blocks instead; nothing is sent if they are the same."""
        self.blocks = [block for block in blocks if block is not None]

    def static_html(self) -> str:
        return "".join(_STATIC[block["kind"]](block) for block in self.blocks)


def heading(text: str) -> Block:
    """A small heading."""
    return {"kind": "heading", "text": shown(text)}


def text(value: str, tone: str = "") -> Block:
    """A paragraph; tone ``ok``, ``warn``, ``bad``, ``neutral`` or none."""
    return {"kind": "text", "text": paragraph(value), "tone": tone}


def facts(*rows: tuple[str, object]) -> Block:
    """Labels with their values."""
    return {"kind": "facts", "rows": [[label, paragraph(value)] for label, value in rows]}


def badges(*items: tuple[str, str]) -> Block:
    """Short texts with a tone each."""
    return {"kind": "badges", "items": [[shown(label), tone] for label, tone in items]}


def code(source: str) -> Block:
    """Python to read and to copy."""
    return {"kind": "code", "text": source}


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Block:
    """A small table of ready texts."""
    return {
        "kind": "table",
        "caption": shown(caption),
        "columns": list(columns),
        "rows": [[shown(value) for value in row] for row in rows],
    }


def alert(title: str, text: str = "", items: Sequence[str] = (), detail: str = "", tone: str = "bad") -> Block:
    """A message that a screen reader speaks."""
    listed = [paragraph(item, 1000) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        listed.append(f"… and {len(items) - MAX_ITEMS:,} more")
    return {
        "kind": "alert",
        "title": shown(title),
        "text": paragraph(text),
        "items": listed,
        "detail": paragraph(detail, 20_000),
        "tone": tone,
    }


def failure_alert(failure: Failure) -> Block:
    """What went wrong, with its type, its causes and the way out."""
    if failure.cancelled:
        return alert("Cancelled", failure.message, tone="warn")
    return alert(failure.kind, failure.message, failure.items, failure.trace)


def progress(task: Task) -> Block:
    """How far a task is."""
    left = task.seconds_left
    parts = [f"{task.step}: {task.stage or 'starting'}"]
    if task.fraction > 0:
        parts.append(f"{task.fraction:.0%}")
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return {"kind": "progress", "step": task.step, "text": shown(" · ".join(parts)), "fraction": task.fraction}


def duration(seconds: float) -> str:
    """A time for people: ``40 s``, ``3 min``, ``2 h``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _static_list(items: Iterable[Any]) -> str:
    texts = (item[0] if isinstance(item, list) else item for item in items)
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _static_rows(rows: Iterable[Sequence[object]], tag: str = "td") -> str:
    return "".join("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>" for row in rows)


def _static_alert(block: Block) -> str:
    items = _static_list(block["items"]) if block["items"] else ""
    return f"<p><b>{escape(block['title'])}</b>: {escape(block['text'])}</p>{items}"


_STATIC: dict[str, Callable[[Block], str]] = {
    "heading": lambda block: f"<h4>{escape(block['text'])}</h4>",
    "text": lambda block: f"<p>{escape(block['text'])}</p>",
    "badges": lambda block: "<p>" + " · ".join(escape(label) for label, _ in block["items"]) + "</p>",
    "facts": lambda block: f"<table>{_static_rows(block['rows'])}</table>",
    "code": lambda block: f"<pre>{escape(block['text'])}</pre>",
    "alert": _static_alert,
    "progress": lambda block: "",
    "table": lambda block: (
        f"<table><caption>{escape(block['caption'])}</caption>"
        f"{_static_rows([block['columns']], 'th')}{_static_rows(block['rows'])}</table>"
    ),
}
