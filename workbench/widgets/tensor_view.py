"""The two tensors of one layer, as figures."""

from __future__ import annotations

import traitlets

from workbench.widgets.base import View, assets


class TensorView(View):
    """Draws :attr:`figures`: ``distributions``, ``density``, ``difference``, ``heatmap``, each a dict of counts.

    See :mod:`workbench.widgets.figures`, which makes them from a comparison's detail.
    """

    _esm, _css = assets("tensor_view", "svg")

    figures = traitlets.Dict().tag(sync=True)

    def describe(self) -> str:
        return ", ".join(self.figures)
