"""Two tensors side by side: how their values are distributed, which became which, and how they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.plots.theme import label, legend, new_figure, theme_named
from workbench.words import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.compare.detail import Detail


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
    counts = np.where(detail.density > 0, detail.density.astype(np.float64), np.nan)  # empty cells stay clear
    axis.plot([low, high], [low, high], color=colours.text, linewidth=0.8, linestyle="--", label="equal")
    mesh = axis.pcolormesh(
        detail.density_edges,
        detail.density_edges,
        counts,
        cmap=colours.density,
        norm=LogNorm(1, max(int(detail.density.max(initial=0)), 2)),
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


def _title(detail: Detail, what: str) -> str:
    return f"{shorten(detail.title, 36)}\n{what}" if detail.title else what
