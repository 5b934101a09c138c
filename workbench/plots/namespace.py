"""``report.plot``: every figure of a report, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from workbench.errors import OptionError
from workbench.plots import profile, tensors
from workbench.plots.graph import LAYERS, graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.compare.detail import Detail
    from workbench.compare.report import Report
    from workbench.compare.rows import Row

    Which: TypeAlias = Row | int | str | None
    Mode: TypeAlias = Literal["", "accumulated", "isolated"]


class Plots:
    """The figures of one report; called, the profile of its errors.

    Those of a row take it by itself, its index or the name of its layer; without one it is the first culprit, or the
    worst row where there is none. ``mode`` is ``"accumulated"`` or ``"isolated"``; left out, it is what the row is
    judged by: isolated where it makes an error, else accumulated as far as that was measured. The tensors are computed
    again, those of the last row are remembered.

    All take ``theme="light"`` or ``"dark"`` and return a ``matplotlib.figure.Figure``. All but the profile raise
    :class:`~workbench.errors.WorkbenchError` where the report was loaded from a file and has no models.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last: tuple[tuple[int, str], Detail] | None = None

    def __call__(self, theme: str = "light") -> Figure:
        """As :meth:`error_profile`."""
        return self.error_profile(theme=theme)

    def __repr__(self) -> str:
        names = ", ".join(name for name in vars(type(self)) if not name.startswith("_"))
        return f"Plots({names})"

    def error_profile(self, *, theme: str = "light") -> Figure:
        """The error of each tensor in topological order (:func:`workbench.plots.error_profile`)."""
        return profile.error_profile(self._report, theme=theme)

    def graph(self, row: Which = None, *, layers: int | None = LAYERS, theme: str = "light") -> Figure:
        """Both graphs side by side, coloured by error (:func:`workbench.plots.graph`)."""
        chosen = None if row is None else self._report.row(row)
        return graph(self._report, chosen, layers=layers, theme=theme)

    def histograms(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """How the values of both tensors are distributed (:func:`workbench.plots.histograms`)."""
        return tensors.histograms(self._detail(row, mode), theme=theme)

    def scatter(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """The target's elements over the reference's (:func:`workbench.plots.scatter`)."""
        return tensors.scatter(self._detail(row, mode), theme=theme)

    def difference(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """How the difference is distributed (:func:`workbench.plots.difference`)."""
        return tensors.difference(self._detail(row, mode), theme=theme)

    def channels(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """The difference of each channel (:func:`workbench.plots.channels`)."""
        return tensors.channels(self._detail(row, mode), theme=theme)

    def heatmap(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """Where the tensors differ (:func:`workbench.plots.heatmap`)."""
        return tensors.heatmap(self._detail(row, mode), theme=theme)

    def worst(self, row: Which = None, *, mode: Mode = "", theme: str = "light") -> Figure:
        """The elements that differ most (:func:`workbench.plots.worst`)."""
        return tensors.worst(self._detail(row, mode), theme=theme)

    def _detail(self, which: Which, mode: str) -> Detail:
        row = self._chosen() if which is None else self._report.row(which)
        mode = mode or ("isolated" if row.blame == "own" or row.accumulated is None else "accumulated")
        key = row.index, mode
        if self._last is None or self._last[0] != key:
            self._last = key, self._report.detail(row, mode=mode)
        return self._last[1]

    def _chosen(self) -> Row:
        """The row that one looks at first."""
        row = self._report.first_bad or next((row for row in self._report.worst(1) if row.target_tensor), None)
        if row is None:
            raise OptionError("no row of the report was compared: there are no two tensors to draw.")
        return row
