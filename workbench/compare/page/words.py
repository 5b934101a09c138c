"""Figures and verdicts as the page says them."""

from __future__ import annotations

import math

from workbench.compare.metrics import Metrics
from workbench.compare.rows import Row
from workbench.words import one_line, shorten

TITLE = 72
"""Characters of a name where it stands for a row; the row's facts have all of it."""


def title(row: Row) -> str:
    """``Conv-11 features/3/conv``, in a length that can be read."""
    return f"{one_line(row.operator)} {shorten(one_line(row.layer), TITLE)}"


def tone(row: Row) -> str:
    """The class that colours a row and its mark: its status, or that it inherits."""
    return "inherited" if row.blame == "inherited" else row.status


def status(row: Row) -> str:
    """``failing (own)``."""
    return f"{row.status} ({row.blame})" if row.blame else row.status


def number(value: float, form: str = "{:.1e}") -> str:
    """The number in that form; zero, infinities and NaN by their own signs."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "0" if value == 0 else form.format(value)


def error_of(metrics: Metrics) -> float:
    """The error that is judged: relative L2, or the share of integers that differ; infinite where NaN differ."""
    return math.inf if metrics.pattern else metrics.error
