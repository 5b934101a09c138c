"""Words for people: texts from models, in a length that can be read."""

from __future__ import annotations

CELL = 56
"""Characters of a name in a table: the column stays in the page beside others."""


def shorten(text: str, length: int = CELL) -> str:
    """The text with its middle left out if it is longer: names of layers differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"
