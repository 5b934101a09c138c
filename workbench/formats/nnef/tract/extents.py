"""Extents that depend on symbols (``N``, ``2 * N + 1``), as tract's texts have them where the standard has integers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


@dataclass(frozen=True)
class Symbol:
    """A symbol that the text declares by ``extension tract_symbol``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Computed:
    """``left operator right``; a division rounds down."""

    operator: str
    left: Extent
    right: Extent

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"


Extent = Symbol | Computed | int


def is_symbolic(value: object) -> bool:
    """Whether a value depends on a symbol; of lists, whether an item does."""
    if isinstance(value, list | tuple):
        return any(is_symbolic(item) for item in value)
    return isinstance(value, Symbol | Computed)


def computed(operation: str, left: Extent, right: Extent) -> Extent:
    """The two combined.

    Raises:
        ValueError: the operator is not one of ``+ - * /``, or an operand is no extent.
    """
    if operation not in _OPERATORS or not all(type(side) is int or is_symbolic(side) for side in (left, right)):
        raise ValueError(f"the operator {operation} does not apply to symbols")
    if isinstance(left, int) and isinstance(right, int):
        return _OPERATORS[operation](left, right)
    return Computed(operation, left, right)


def evaluated(extent: Extent, values: Mapping[str, int]) -> int:
    """The extent's number, given those of the symbols."""
    if isinstance(extent, int):
        return extent
    if isinstance(extent, Symbol):
        return values[extent.name]
    return _OPERATORS[extent.operator](evaluated(extent.left, values), evaluated(extent.right, values))


def substituted(value: Any, values: Mapping[str, int]) -> Any:
    """The value with its extents as numbers where those of all their symbols are given; recursive."""
    if isinstance(value, list | tuple):
        return type(value)(substituted(item, values) for item in value)
    if not is_symbolic(value):
        return value
    try:
        return evaluated(value, values)
    except KeyError:
        return value


def factor_of(extent: Extent) -> tuple[int, str] | None:
    """The number and the symbol that an extent is the product of; ``None`` if it is anything else."""
    if isinstance(extent, Symbol):
        return 1, extent.name
    if isinstance(extent, Computed) and extent.operator == "*" and isinstance(extent.right, Symbol):
        return (extent.left, extent.right.name) if isinstance(extent.left, int) else None
    return None
