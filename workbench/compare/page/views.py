"""The table and the profile of the page: static, complete without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from workbench.compare.page.words import error_of, number, status, title, tone
from workbench.compare.rows import Row
from workbench.words import one_line

FLOOR, CEILING = 1e-9, 10.0
"""Errors are drawn between these; none at all at the floor, other NaN or shapes at the ceiling."""
_WIDEST = 60  # a tensor's column: of two tensors none fills half of the page
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 1200, 250, 46, 10, 8
_COLUMNS = (
    ("#", "number"),
    ("layer", "text"),
    ("operator", "text"),
    ("status", "text"),
    ("relative L2", "number"),
    ("isolated", "number"),
    ("dB over noise", "number"),  # left out where no precision was emulated
    ("max |d|", "number"),
    ("shape", "text"),
    ("reason", "text"),
)


def table(rows: Sequence[Row]) -> str:
    """Every row, with what the script sorts and filters by."""
    noisy = any(row.noise is not None for row in rows)
    head = "".join(
        f'<th scope="col" data-kind="{kind}" aria-sort="none"><button type="button">{escape(name)}</button></th>'
        for name, kind in _COLUMNS
        if noisy or name != "dB over noise"
    )
    return (
        '<div class="tools"><input type="search" id="filter" placeholder="Filter: name, operator, status" '
        'aria-label="Filter rows"> <span id="shown"></span> <span class="keys">↑ ↓ rows · n p failing ones · / filter'
        '</span></div><div class="scroll"><table role="grid"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(_line(row, noisy) for row in rows)}</tbody></table></div>"
    )


def _line(row: Row, noisy: bool) -> str:
    measured = row.accumulated or row.isolated
    shape = "" if row.shape is None else f"{row.dtype}{list(row.shape)}"
    numbers: list[tuple[float | None, str]] = [
        (None if item is None else error_of(item), "{:.1e}") for item in (row.accumulated, row.isolated)
    ]
    if noisy:
        numbers.append((row.db_above_noise, "{:+.1f}"))
    numbers.append((None if measured is None else measured.max_abs, "{:.1e}"))
    cells = [
        _cell(str(row.index), row.index),
        f'<td><span class="name">{escape(one_line(row.layer))}</span></td><td>{escape(one_line(row.operator))}</td>',
        f'<td class="status">{escape(status(row))}</td>',
        *(_cell("" if value is None else number(value, form), value) for value, form in numbers),
        f'<td class="shape">{escape(shape)}</td><td><span class="name">{escape(one_line(row.reason))}</span></td>',
    ]
    output = " output" if row.output else ""
    return (
        f'<tr id="row-{row.index}" class="{tone(row)}{output}" tabindex="-1" aria-selected="false">'
        f"{''.join(cells)}</tr>"
    )


def _cell(text: str, value: float | None) -> str:
    order = "" if value is None else f' data-v="{min(value, 1e300) if value == value else 1e300!r}"'
    return f'<td class="n"{order}>{escape(text)}</td>'


def profile(rows: Iterable[Row]) -> str:
    """The errors in topological order: bars isolated, dots accumulated, dashes tolerance, dotted noise floor."""
    measured = [row for row in rows if row.accumulated is not None or row.isolated is not None]
    if not measured:
        return "<p>Nothing was measured.</p>"
    step = min((_WIDTH - _LEFT) / len(measured), _WIDEST)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{_y(10.0**e):.1f}" y2="{_y(10.0**e):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(10.0**e) + 4:.1f}" text-anchor="end">1e{e}</text>'
        for e in range(-8, 2, 2)
    )
    marks = "".join(_mark(row, _LEFT + step * place, step) for place, row in enumerate(measured))
    legend = (
        '<p class="legend"><i class="dot"></i> accumulated <i class="bar"></i> isolated (the layer\'s own) '
        '<i class="bound"></i> tolerance <i class="noise"></i> explained by the target\'s precision</p>'
    )
    label = "Relative L2 error of each tensor in topological order, logarithmic"
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" tabindex="0"'
    return f"<h2>{label}</h2><svg {box}>{grid}{marks}</svg>{legend}"


def _y(value: float) -> float:
    low, high = math.log10(FLOOR), math.log10(CEILING)
    place = min(max(math.log10(min(max(value, FLOOR), CEILING)), low), high)
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - place) / (high - low)


def _mark(row: Row, left: float, step: float) -> str:
    """One tensor's column; all of it can be clicked."""
    middle, gap = left + step / 2, min(step * 0.15, 2.0)
    parts = [f'<rect class="hit" x="{left:.2f}" y="0" width="{step:.2f}" height="{_HEIGHT}"/>']
    if row.isolated is not None:
        top, width = _y(error_of(row.isolated)), max(step - 2 * gap, 0.6)
        height = max(_HEIGHT - _BOTTOM - top, 1.0)
        parts.append(
            f'<rect class="bar" x="{left + gap:.2f}" y="{top:.1f}" width="{width:.2f}" height="{height:.1f}"/>'
        )
    ends = f'x1="{left:.2f}" x2="{left + step:.2f}"'
    if row.allowance is not None:
        bound = _y(row.allowance.accumulated if row.accumulated is not None else row.allowance.isolated)
        parts.append(f'<line class="bound" {ends} y1="{bound:.1f}" y2="{bound:.1f}"/>')
    if row.noise is not None and row.noise.accumulated:
        noise = _y(row.noise.accumulated)
        parts.append(f'<line class="noise" {ends} y1="{noise:.1f}" y2="{noise:.1f}"/>')
    if row.accumulated is not None:
        radius = min(max(step / 3, 1.2), 3.2)
        parts.append(f'<circle cx="{middle:.2f}" cy="{_y(error_of(row.accumulated)):.1f}" r="{radius:.1f}"/>')
    text = escape(one_line(f"{row.index} {title(row)}: {status(row)} {row.remark}"))
    return f'<g class="{tone(row)}" data-row="{row.index}"><title>{text}</title>{"".join(parts)}</g>'
