"""What most names begin and end with: it tells nothing, and takes the room of what tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_BORDERS = "/._:-"
_MOST = 0.6
"""Of the names, so many share it."""
_SHORT = 12
"""A name is left as long as this at least."""
_LEAST = 4
"""Of so few names nothing is left out."""


@dataclass(frozen=True)
class Affixes:
    """The longest beginning and the longest end that most of some names share, up to a border of words."""

    beginning: str = ""
    end: str = ""

    @classmethod
    def of(cls, names: Sequence[str]) -> Affixes:
        """Of these names."""
        if len(names) < _LEAST:
            return cls()
        turned = _shared([name[::-1] for name in names])
        return cls(_shared(names), turned[::-1])

    def without(self, name: str) -> str:
        """The name with an ellipsis for what most others have as well."""
        if self.beginning and name.startswith(self.beginning) and len(name) - len(self.beginning) >= _SHORT:
            name = "…" + name[len(self.beginning) :]
        if self.end and name.endswith(self.end) and len(name) - len(self.end) >= _SHORT:
            name = name[: -len(self.end)] + "…"
        return name


def _shared(names: Sequence[str]) -> str:
    counts = Counter(
        name[: place + 1] for name in set(names) for place, letter in enumerate(name) if letter in _BORDERS
    )
    return max((text for text, count in counts.items() if count >= _MOST * len(names)), key=len, default="")
