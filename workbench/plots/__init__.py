"""Figures of a comparison: pure functions that return a ``matplotlib.figure.Figure`` and never touch pyplot."""

from workbench.plots.profile import error_profile
from workbench.plots.tensors import channels, difference, heatmap, histograms, scatter

__all__ = ["channels", "difference", "error_profile", "heatmap", "histograms", "scatter"]
