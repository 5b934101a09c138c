"""The error of every tensor along the model: where it begins, and how far it carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots.names import put_names
from workbench.plots.theme import Theme, label, new_figure, theme_named
from workbench.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.compare.metrics import Metrics
    from workbench.compare.report import Report
    from workbench.compare.rows import Row

FLOOR = 1e-9
CEILING = 10.0
NAMED = 3


def error_profile(report: Report, *, theme: str = "light") -> Figure:
    """Relative L2 error of each measured tensor in topological order, with its tolerance and its noise floor.

    A line shows the accumulated error, bars show what each layer adds by itself; dotted is the accumulated error that
    the target's float16 alone explains, where it has any. Errors below 1e-9 (none at all among
    them) are drawn there, those above 10 (other shapes, other NaN) at the top, as crosses. The layers that make an
    error by themselves are named, the worst three of them.
    """
    from matplotlib.ticker import MaxNLocator

    colours = theme_named(theme)
    rows = [row for row in report.rows if row.status in ("ok", "failing")]
    figure, (axis,) = new_figure(colours, 9.5, 3.4)
    label(
        axis,
        colours,
        title=f"{report.reference.name} → {report.target.name}: {report.summary()}",
        x="row of the report: tensors in topological order",
        y="relative L2 error",
    )
    if not rows:
        axis.text(0.5, 0.5, "nothing was measured", ha="center", transform=axis.transAxes, color=colours.text)
        return figure
    axis.set_yscale("log")
    axis.set_ylim(FLOOR * 0.6, CEILING * 2)
    axis.set_xlim(rows[0].index - 0.8, rows[-1].index + 0.8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(False, axis="x")
    _bars(axis, rows, colours)
    _line(axis, rows, colours)
    _bounds(axis, rows, colours)
    _noise(axis, rows, colours)
    _crosses(axis, rows, colours)
    _names(axis, rows, report.worst(len(report.rows)), colours)
    figure.legend(
        loc="outside lower center", ncols=5, frameon=False, labelcolor=colours.text, fontsize=9, handlelength=1.6
    )
    return figure


def error_of(metrics: Metrics | None) -> float:
    """The error as it is drawn: within the axis, differing integers as their share, differing NaN at the top."""
    if metrics is None:
        return math.nan
    error = metrics.relative_l2 if metrics.mismatches is None else metrics.mismatches / max(metrics.size, 1)
    return CEILING if metrics.pattern else min(max(error, FLOOR), CEILING)


def _places(rows: Sequence[Row]) -> list[int]:
    return [row.index for row in rows]


def _bars(axis: Axes, rows: Sequence[Row], colours: Theme) -> None:
    for own, colour, name in (
        (False, colours.reference, "isolated"),
        (True, colours.own, "isolated, beyond tolerance"),
    ):
        places = [
            (row.index, error_of(row.isolated))
            for row in rows
            if row.isolated is not None and (row.blame == "own") is own
        ]
        if places:
            x, heights = zip(*places, strict=True)
            axis.bar(x, heights, width=0.8, bottom=0, color=colour, alpha=0.75 if own else 0.4, label=name)


def _line(axis: Axes, rows: Sequence[Row], colours: Theme) -> None:
    errors = [error_of(row.accumulated) for row in rows]
    if all(map(math.isnan, errors)):
        return
    many = len(rows) > 150
    axis.plot(
        _places(rows),
        errors,
        color=colours.target,
        linewidth=1.3,
        marker=None if many else "o",
        markersize=3,
        label="accumulated",
    )


def _bounds(axis: Axes, rows: Sequence[Row], colours: Theme) -> None:
    places = _places(rows)
    bounds = {
        name: [math.nan if row.allowance is None else max(getattr(row.allowance, name), FLOOR) for row in rows]
        for name in ("accumulated", "isolated")
        if any(getattr(row, name) is not None for row in rows)
    }
    if "accumulated" in bounds:
        axis.step(
            places,
            bounds["accumulated"],
            where="mid",
            ls="--",
            lw=1,
            color=colours.text,
            label="tolerance, accumulated",
        )
    if "isolated" in bounds:  # it changes from layer to layer: a dash for each
        axis.scatter(
            places,
            bounds["isolated"],
            marker="_",
            s=16,
            lw=1,
            alpha=0.55,
            color=colours.text,
            label="tolerance, isolated",
        )


def _noise(axis: Axes, rows: Sequence[Row], colours: Theme) -> None:
    """What the precision alone explains: an error on this line is no fault."""
    floors = [
        math.nan if row.noise is None or row.noise.accumulated is None else max(row.noise.accumulated, FLOOR)
        for row in rows
    ]
    if not all(map(math.isnan, floors)):
        axis.plot(_places(rows), floors, ls=":", lw=1.4, color=colours.inherited, label="explained by float16")


def _crosses(axis: Axes, rows: Sequence[Row], colours: Theme) -> None:
    places = [
        row.index
        for row in rows
        if row.status == "failing"
        and (row.accumulated is None or row.accumulated.pattern)
        and (row.isolated is None or row.isolated.pattern)
    ]
    if places:
        axis.plot(
            places, [CEILING] * len(places), "x", color=colours.own, markersize=7, label="other shape, dtype or NaN"
        )


def _names(axis: Axes, rows: Sequence[Row], ranking: Sequence[Row], colours: Theme) -> None:
    drawn = {row.index for row in rows}
    culprits = [row for row in ranking if row.blame == "own" and row.index in drawn][:NAMED]
    if culprits:
        names = [
            (row.index, CEILING if row.isolated is None else error_of(row.isolated), _name(row)) for row in culprits
        ]
        lines = put_names(axis, names, colours.own)
        axis.set_title(axis.get_title(), color=colours.text, fontsize=10, pad=8 + 13 * lines)


def _name(row: Row) -> str:
    return shorten(f"{row.index} {row.operator} {row.layer}", 34)
