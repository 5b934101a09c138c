"""A table of lowerings over another one, which is asked for what the upper one does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workbench.lowering import Entry, Function, Table


class Overlay(Table[Function]):
    """A table whose own lowerings come before those of ``base``."""

    def __init__(self, base: Table[Any]) -> None:
        super().__init__(base.source, base.target)
        self.base = base

    def find(self, operator: str, version: int = 1, domain: str = "") -> Function | None:
        """The table's own lowering, or the base's."""
        return super().find(operator, version, domain) or self.base.find(operator, version, domain)

    def __iter__(self) -> Iterator[Entry[Function]]:
        own = {(entry.domain, entry.operator) for entry in super().__iter__()}
        rest = (entry for entry in self.base if (entry.domain, entry.operator) not in own)
        yield from sorted([*super().__iter__(), *rest], key=lambda entry: (entry.domain, entry.operator, -entry.since))

    def knows(self, operator: str, domain: str = "") -> bool:
        """Whether either of them has the operator."""
        return super().knows(operator, domain) or self.base.knows(operator, domain)
