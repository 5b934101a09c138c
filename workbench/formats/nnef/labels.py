"""Names: what NNEF accepts as identifiers, and labels of variables, which are file names at the same time."""

from __future__ import annotations

import re
from collections.abc import Callable

from workbench.formats.nnef.binding import standard_operations

_KEYWORDS = frozenset(
    "version extension graph fragment tensor integer scalar logical string true false for in if else yield "
    "length_of shape_of range_of lambda".split()
)
_LONGEST = 80
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$", re.IGNORECASE)


class Names:
    """Makes unique identifiers and labels. Labels differ in more than their case (some file systems ignore it)."""

    def __init__(self) -> None:
        self._identifiers: set[str] = set()
        self._labels: set[str] = set()

    def identifier(self, name: str) -> str:
        """The name as an identifier: ASCII letters, digits, underscores; no keyword and no name of an operation."""
        base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:_LONGEST] or "tensor"
        if base[0].isdigit() or base in _KEYWORDS or base in standard_operations():
            base = f"t_{base}"
        return _unique(base, self._identifiers, str)

    def label(self, name: str) -> str:
        """The name as a label: a relative path of plain characters, slashes kept."""
        parts = [re.sub(r"[^A-Za-z0-9_.\-]+", "_", part).strip(".") for part in name.replace("\\", "/").split("/")]
        parts = [f"_{part}" if _WINDOWS_DEVICES.match(part) else part for part in parts if part]
        return _unique("/".join(part[:_LONGEST] for part in parts[-8:]) or "variable", self._labels, str.lower)


def _unique(base: str, taken: set[str], fold: Callable[[str], str]) -> str:
    candidate, count = base, 0
    while fold(candidate) in taken:
        count += 1
        candidate = f"{base}_{count}"
    taken.add(fold(candidate))
    return candidate
