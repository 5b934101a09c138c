"""Figures of a comparison: pure functions that return a ``matplotlib.figure.Figure`` and never touch pyplot."""

from workbench.plots.profile import error_profile
from workbench.plots.tensors import difference, histograms, scatter

__all__ = ["difference", "error_profile", "histograms", "scatter"]
