"""Figures of a comparison: pure functions that return a ``matplotlib.figure.Figure`` and never touch pyplot.

``report.plot`` has all of them by name (:class:`Plots`).
"""

from workbench.plots.graph import graph
from workbench.plots.namespace import Plots
from workbench.plots.profile import error_profile
from workbench.plots.tensors import channels, difference, heatmap, histograms, scatter, worst

__all__ = ["Plots", "channels", "difference", "error_profile", "graph", "heatmap", "histograms", "scatter", "worst"]
