"""From the detail of a comparison to what the tensor view draws: counts and texts, never raw tensors."""

from __future__ import annotations

from typing import Any


def figures_of(detail: Any) -> dict[str, Any]:
    return dict(detail.figures)


def statistics_of(found: Any) -> list[dict[str, Any]]:
    return []


def worst_of(detail: Any) -> dict[str, Any] | None:
    return None
