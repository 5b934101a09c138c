"""Words for people: texts from models, in a length that can be read, and without power over the screen."""

from __future__ import annotations

import re

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

CELL = 56
"""Characters of a name in a table: the column stays in the page beside others."""


def one_line(value: object) -> str:
    """The text with control characters and marks that change the writing direction spelled out (``\\x1b``).

    Everything that shows a text from a file passes it through here: a terminal would obey an escape sequence.
    """
    return _UNSEEN.sub(_spelled, str(value))


def lines(value: object) -> str:
    """The same of a text of several lines, whose ends stay."""
    return "\n".join(map(one_line, str(value).split("\n")))


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def shorten(text: str, length: int = CELL) -> str:
    """The text with its middle left out if it is longer: names of layers differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"
