"""Two tensors side by side: how their values are distributed, which became which, and how they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.compare.detail import coarser
from workbench.errors import OptionError
from workbench.plots.theme import colour_map, label, legend, new_figure, theme_named
from workbench.words import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.compare.detail import Detail

SPOTS = 64
"""So many in each direction of the scatter: a single one can be seen."""


def histograms(detail: Detail, *, theme: str = "light") -> Figure:
    """The distribution of both tensors' finite values over the same bins; counts on a logarithmic axis."""
    colours = theme_named(theme)
    figure, (axis,) = new_figure(colours, 5.2, 3.2)
    axis.stairs(
        detail.reference_counts, detail.edges, fill=True, color=colours.reference, alpha=0.35, label="reference"
    )
    axis.stairs(detail.target_counts, detail.edges, color=colours.target, linewidth=1.6, label="target")
    highest = max(int(detail.reference_counts.max(initial=0)), int(detail.target_counts.max(initial=0)), 1)
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(0, highest * 2)
    label(axis, colours, title=_title(detail, "values"), x="value", y="elements")
    legend(axis, colours)
    return figure


def scatter(detail: Detail, *, theme: str = "light") -> Figure:
    """Each element of the target over its reference; all on the diagonal if nothing differs. Colour: how many."""
    from matplotlib.colors import LogNorm

    colours = theme_named(theme)
    figure, (axis,) = new_figure(colours, 4.4, 3.8)
    low, high = float(detail.density_edges[0]), float(detail.density_edges[-1])
    cells = coarser(detail.density, SPOTS, np.add)
    counts = np.where(cells > 0, cells.astype(np.float64), np.nan)  # empty cells stay clear
    edges = np.linspace(low, high, len(cells) + 1)
    axis.plot([low, high], [low, high], color=colours.text, linewidth=0.8, linestyle="--", label="equal")
    mesh = axis.pcolormesh(
        edges,
        edges,
        counts,
        cmap=colour_map(colours),
        norm=LogNorm(1, max(int(cells.max(initial=0)), 2)),
        rasterized=True,
    )
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_aspect("equal")
    bar = figure.colorbar(mesh, ax=axis, shrink=0.85)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("")
    bar.set_label("elements", color=colours.text, fontsize=9)
    bar.ax.tick_params(which="both", colors=colours.text, labelsize=8)
    bar.ax.spines["outline"].set_visible(False)
    label(axis, colours, title=_title(detail, "target over reference"), x="reference", y="target")
    return figure


def difference(detail: Detail, *, theme: str = "light") -> Figure:
    """The distribution of target - reference; counts on a logarithmic axis."""
    colours = theme_named(theme)
    figure, (axis,) = new_figure(colours, 5.2, 3.2)
    axis.stairs(detail.difference_counts, detail.difference_edges, fill=True, color=colours.target, alpha=0.6)
    axis.axvline(0, color=colours.text, linewidth=0.8, linestyle="--")
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(0, max(int(detail.difference_counts.max(initial=0)), 1) * 2)
    axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    axis.xaxis.get_offset_text().set_color(colours.text)
    label(axis, colours, title=_title(detail, "difference"), x="target - reference", y="elements")
    return figure


def channels(detail: Detail, *, theme: str = "light") -> Figure:
    """The difference of each channel: a box from quartile to quartile, whiskers to the extremes.

    Raises:
        OptionError: the tensors have no channels: they have fewer than two dimensions.
    """
    found = detail.channels
    if found is None:
        raise OptionError(f"tensors of shape {list(detail.shape)} have no channels to draw.")
    colours = theme_named(theme)
    figure, (axis,) = new_figure(colours, 5.2, 3.2)
    names = ("whislo", "q1", "med", "q3", "whishi")
    line = {"color": colours.target, "linewidth": 1.0}
    axis.bxp(
        [dict(zip(names, map(float, box), strict=True)) for box in found.quartiles],
        positions=range(len(found.indices)), showfliers=False, widths=0.7, patch_artist=True,
        boxprops={"facecolor": colours.target, "edgecolor": colours.target, "alpha": 0.5},
        medianprops={"color": colours.text}, whiskerprops=line, capprops=line,
    )  # fmt: skip
    axis.axhline(0, color=colours.text, linewidth=0.8, linestyle="--")
    places = range(0, len(found.indices), max(1, len(found.indices) // 8))
    axis.set_xticks(list(places), [str(int(found.indices[place])) for place in places])
    axis.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    axis.yaxis.get_offset_text().set_color(colours.text)
    some = "" if len(found.indices) == found.total else f", the {len(found.indices)} of {found.total} that differ most"
    label(
        axis, colours, title=_title(detail, f"difference by channel{some}"), x=f"channel (axis {found.axis})",
        y="target - reference",
    )  # fmt: skip
    return figure


def heatmap(detail: Detail, *, theme: str = "light") -> Figure:
    """Where the tensors differ: the absolute difference over the last two dimensions, the largest of all others.

    Raises:
        OptionError: the tensors have no elements.
    """
    plane = detail.plane
    if plane is None:
        raise OptionError("tensors without elements have no difference to draw.")
    colours = theme_named(theme)
    figure, (axis,) = new_figure(colours, 4.8, 3.6)
    image = axis.imshow(plane.cells, cmap=colour_map(colours), aspect="auto", interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    bar = figure.colorbar(image, ax=axis, shrink=0.85)
    bar.set_label("|target - reference|", color=colours.text, fontsize=9)
    bar.ax.tick_params(which="both", colors=colours.text, labelsize=8)
    bar.ax.yaxis.get_offset_text().set_color(colours.text)
    bar.ax.spines["outline"].set_visible(False)
    x, y = f"axis {plane.axes[-1]}", f"axis {plane.axes[0]}" if len(plane.axes) > 1 else ""
    label(axis, colours, title=_title(detail, "where they differ"), x=x, y=y)
    return figure


def worst(detail: Detail, *, theme: str = "light") -> Figure:
    """The elements that differ most, each with its index: from the reference's value to the target's.

    NaN and infinities, which have no place on the axis, are written.
    """
    colours = theme_named(theme)
    found = detail.worst
    figure, (axis,) = new_figure(colours, 5.6, max(1.3 + 0.27 * len(found), 2.0))
    label(axis, colours, title=_title(detail, "elements that differ most"), x="value")
    if not found:
        axis.text(0.5, 0.5, "all elements are equal", ha="center", transform=axis.transAxes, color=colours.text)
        axis.set_yticks([])
        return figure
    places = range(len(found))
    axis.hlines(
        places, [item.reference for item in found], [item.target for item in found], color=colours.text, lw=1, alpha=0.6
    )
    for name, colour in (("reference", colours.reference), ("target", colours.target)):
        axis.plot([getattr(item, name) for item in found], places, "o", color=colour, markersize=5, label=name)
    axis.set_yticks(list(places), [str(list(item.index)) for item in found])
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.grid(False, axis="y")
    across = axis.get_yaxis_transform()
    for place, item in zip(places, found, strict=True):
        finite = np.isfinite(item.difference)
        words = f"{item.difference:+.3g}" if finite else f"{item.reference:.3g} → {item.target:.3g}"
        axis.text(1.02, place, words, transform=across, va="center", color=colours.text, fontsize=8)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=colours.text, fontsize=9)
    return figure


def _title(detail: Detail, what: str) -> str:
    return f"{shorten(detail.title, 36)}\n{what}" if detail.title else what
