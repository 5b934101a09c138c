"""Text from model files on its way to the screen. The one place where it is escaped."""

from __future__ import annotations

import html

from workbench.words import one_line

MAX_CHARACTERS = 300
"""A name may be a megabyte long; nobody reads more than this."""


def shown(value: object, limit: int = MAX_CHARACTERS) -> str:
    """A text as one line: control characters and marks that change the writing direction are spelled out."""
    text = str(value)
    return one_line(text if len(text) <= limit else f"{text[: limit - 1]}…")


def paragraph(value: object, limit: int = 4000) -> str:
    """Like :func:`shown`, but line ends stay and more of it is kept."""
    return "\n".join(shown(line, limit) for line in str(value)[:limit].split("\n"))


def escape(value: object) -> str:
    """For HTML that we write ourselves (the static rendering): as :func:`paragraph`, and nothing in it is markup."""
    return html.escape(paragraph(value))


def number(value: object) -> str:
    """A measured value for people: three significant digits, ``—`` where there is none."""
    if value is None:
        return "—"
    if isinstance(value, bool | str):
        return shown(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else shown(value)


def rough(value: object) -> str:
    """Like :func:`number`, but a measurement keeps its power of ten only: the same on every machine."""
    from workbench.compare.tolerance import power_of_ten

    return power_of_ten(abs(value)) if isinstance(value, float) else number(value)


def size(count: int) -> str:
    """Bytes for people: ``1.4 MB``."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{int(amount)} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
