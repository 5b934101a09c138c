"""Colours for light and dark pages; figures are transparent and take the page's background."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours, each readable on the page and told apart by people who see red and green alike."""

    text: str
    grid: str
    reference: str
    target: str
    own: str
    inherited: str
    density: str
    """Name of matplotlib's colour map for counts."""
    page: str
    """The pages that it is for."""
    background: str
    """The colour of such a page, roughly: for what has to cover something."""
    faint: str
    """For lines that are not looked at."""


_CLEAR = 0.18
"""Of the colours for counts so many are left out."""

_THEMES = {
    "light": Theme(
        "#222222", "#d8d8d8", "#1f6fb4", "#d9730d", "#c01f2e", "#b8860b", "viridis_r", "light", "#ffffff", "#9a9a9a"
    ),
    "dark": Theme(
        "#e4e4e4", "#4a4a4a", "#6cb2f0", "#f5a45c", "#ff6b74", "#e8c35a", "viridis", "dark", "#161616", "#8a8a8a"
    ),
}


def theme_named(name: str) -> Theme:
    """The colours for ``"light"`` or ``"dark"`` pages.

    Raises:
        OptionError: there is no such theme.
    """
    if name not in _THEMES:
        raise OptionError(f"unknown theme {name!r}; there are {', '.join(_THEMES)}.")
    return _THEMES[name]


def new_figure(theme: Theme, width: float, height: float, columns: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    """A transparent figure, in inches, that knows nothing of pyplot.

    Args:
        columns: how wide its axes are, side by side, in any unit.
    """
    figure = _figure_class()(figsize=(width, height), layout="constrained")
    figure.page = theme.page
    figure.patch.set_alpha(0)
    grid = figure.add_gridspec(1, len(columns), width_ratios=columns)
    axes = [figure.add_subplot(place) for place in grid]
    for axis in axes:
        axis.patch.set_alpha(0)
        axis.tick_params(colors=theme.text, labelsize=9)
        axis.grid(True, color=theme.grid, linewidth=0.6)
        axis.set_axisbelow(True)
        for name, spine in axis.spines.items():
            spine.set_color(theme.grid)
            spine.set_visible(name in ("left", "bottom"))
    return figure, axes


@functools.lru_cache(maxsize=1)
def _figure_class() -> Any:
    """A figure that a notebook shows as a picture; matplotlib's own is only shown once pyplot has been imported.

    Where the page is not of the figure's theme, JupyterLab lays the background under it that the metadata asks for.
    """
    from matplotlib import figure

    class Figure(figure.Figure):
        page = "light"

        def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=110)
            return buffer.getvalue(), {"needs_background": self.page}

    return Figure


def colour_map(theme: Theme) -> Colormap:
    """The colours for counts and sizes, without those that are next to the page's."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    every = matplotlib.colormaps[theme.density]
    return ListedColormap([every(_CLEAR + (1 - _CLEAR) * step / 255) for step in range(256)])


def blend(colour: str, background: str, share: float) -> str:
    """A colour that covers what is under it, as if ``share`` of ``colour`` lay over the background."""
    pairs = zip(*(bytes.fromhex(text[1:]) for text in (colour, background)), strict=True)
    return "#" + bytes(round(share * over + (1 - share) * under) for over, under in pairs).hex()


def label(axis: Axes, theme: Theme, *, title: str = "", x: str = "", y: str = "") -> None:
    """Title and axis labels in the theme's colour; texts are shown as they are (a ``$`` begins no formula)."""
    for setter, text in ((axis.set_title, title), (axis.set_xlabel, x), (axis.set_ylabel, y)):
        setter(text.replace("$", r"\$"), color=theme.text, fontsize=10)


def legend(axis: Axes, theme: Theme) -> None:
    """A frameless legend in the theme's colour."""
    axis.legend(loc="upper right", frameon=False, labelcolor=theme.text, fontsize=9)
