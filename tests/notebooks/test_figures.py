"""A figure in a notebook is readable whatever the page's theme: it asks for the background that it was drawn for."""

from __future__ import annotations

import pytest
from IPython.core.formatters import DisplayFormatter

from workbench.plots.theme import new_figure, theme_named


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_figure_asks_for_its_background(theme: str) -> None:
    figure, _ = new_figure(theme_named(theme), 1, 1)
    data, metadata = DisplayFormatter().format(figure)
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"] == {"needs_background": theme}
