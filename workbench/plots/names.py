"""Names above a figure, each joined to its place by a line; placed so that none covers another or its line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LETTER = 5.6
"""Width of a letter in points, at a size of nine."""
_ROW = 13.0
"""Height of a row of names in points."""
_GAP = 3.0
_SHARE = 0.92
"""Of the figure's width, the axis'."""


@dataclass(frozen=True)
class Placed:
    """Where a name goes.

    Attributes:
        row: counted from the axis upwards.
        leftwards: whether it ends at its line instead of beginning there.
    """

    row: int
    leftwards: bool


def put_names(axis: Axes, names: Sequence[tuple[float, float, str]], colour: str) -> int:
    """Write (x, y, text) above the axis with a line down to each; returns how many rows of text there are.

    The axis' limits are not to be changed afterwards.
    """
    from matplotlib.transforms import ScaledTranslation

    low, high = axis.get_xlim()
    figure = axis.get_figure(root=True)
    assert figure is not None
    width = 72 * figure.get_figwidth() * _SHARE
    places = [(x - low) / (high - low) * width for x, _, _ in names]
    found = arrange(places, [len(text) * _LETTER for _, _, text in names], width)
    for (x, y, text), placed in zip(names, found, strict=True):
        lifted = ScaledTranslation(0, (_GAP + placed.row * _ROW) / 72, figure.dpi_scale_trans)
        side = 1 if placed.leftwards else 0
        axis.annotate(
            text.replace("$", r"\$"), (x, y), xytext=(x, 1.0), textcoords=axis.get_xaxis_transform() + lifted,
            ha="right" if placed.leftwards else "left", va="bottom", color=colour, fontsize=9, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkA": 0, "shrinkB": 0, "relpos": (side, 0)},
        )  # fmt: skip
    return 1 + max((placed.row for placed in found), default=-1)


def arrange(places: Sequence[float], widths: Sequence[float], room: float) -> list[Placed]:
    """A row and a direction for each name: as few rows as cover neither a name nor the line of another.

    Args:
        places: of the lines; ``widths`` of the names; ``room``: width of the axis; all in one unit.
    """
    count = len(places)
    best: tuple[tuple[int, int], list[Placed]] = ((count * count + 1, 0), [Placed(row, False) for row in range(count)])
    for sides in itertools.product((False, True), repeat=count):
        spans = [
            (place - width - 2 * _GAP, place) if left else (place, place + width + 2 * _GAP)
            for place, width, left in zip(places, widths, sides, strict=True)
        ]
        outside = sum(low < 0 or high > room for low, high in spans)
        for rows in itertools.product(range(count), repeat=count):
            bad = outside + sum(_clash(spans, rows, places, pair) for pair in itertools.permutations(range(count), 2))
            cost = bad, sum(rows)
            if cost < best[0]:
                best = cost, [Placed(row, left) for row, left in zip(rows, sides, strict=True)]
    return best[1]


def _clash(
    spans: Sequence[tuple[float, float]], rows: Sequence[int], places: Sequence[float], pair: tuple[int, int]
) -> bool:
    """Whether the first name of a pair stands on the second, or on the line of it."""
    one, other = pair
    low, high = spans[one]
    if rows[one] == rows[other]:
        return low < spans[other][1] and spans[other][0] < high
    return rows[one] < rows[other] and low < places[other] < high
