"""``report.plot``: every figure by name, of the row that is asked for or of the one to look at first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tests.compare.support import chain, converted, same_names, source
from tests.plots.test_plots import pixels
from workbench.compare import Report, compare, load_report
from workbench.errors import OptionError, WorkbenchError
from workbench.plots.theme import theme_named

OF_A_ROW = ("histograms", "scatter", "difference", "channels", "heatmap", "worst")


@pytest.fixture(scope="module")
def report() -> Report:
    return _report(8)


def _report(depth: int, fault: int | None = 3) -> Report:
    reference, hub = source(chain(depth)), chain(depth, fault=fault)
    links = same_names(hub)
    made = {f"{prefix}_{index}": (f"{prefix}_{index}",) for index in range(depth) for prefix in ("dense", "tanh")}
    return compare(reference, converted(hub, reference, links, layers=made))


def title(figure: Figure) -> str:
    return figure.axes[0].get_title()


def test_called_it_is_the_profile(report: Report) -> None:
    assert title(report.plot()) == title(report.plot.error_profile()) == f"net → converted: {report.summary()}"
    assert report.plot("dark").page == "dark"  # type: ignore[attr-defined]
    assert repr(report.plot) == (
        "Plots(error_profile, graph, histograms, scatter, difference, channels, heatmap, worst)"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", OF_A_ROW)
def test_figures_of_a_row(report: Report, name: str, theme: str) -> None:
    draw = getattr(report.plot, name)
    assert title(draw(theme=theme)).startswith("dense_3\n")  # the culprit
    assert title(draw("tanh_4", theme=theme)).startswith("tanh_4\n")
    figure = draw(0, theme=theme)
    assert title(figure).startswith("dense_0\n")
    assert figure.page == theme
    assert pixels(figure)[..., 3].any()


def test_a_row_that_only_inherits_is_shown_as_it_is_judged(report: Report) -> None:
    """Its own error is nothing: isolated, the figure would say that all is well."""
    assert report.plot.worst("tanh_4").axes[0].lines
    isolated = report.plot.worst("tanh_4", mode="isolated")
    assert [text.get_text() for text in isolated.axes[0].texts] == ["all elements are equal"]


def test_the_tensors_of_a_row_are_computed_once(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    detail = Report.detail

    def counted(self: Report, row: Any, *, mode: str) -> Any:
        asked.append((row.index, mode))
        return detail(self, row, mode=mode)

    monkeypatch.setattr(Report, "detail", counted)
    fresh = dataclasses.replace(report)
    for name in OF_A_ROW:
        getattr(fresh.plot, name)(2)
    assert asked == [(2, "accumulated")]


def test_a_healthy_report_shows_the_row_nearest_to_its_tolerance() -> None:
    found = _report(3, fault=None)
    assert title(found.plot.histograms()).startswith(f"{found.worst(1)[0].layer}\n")


def test_without_models_the_way_to_them_is_named(report: Report, tmp_path: Path) -> None:
    loaded = load_report(report.save(tmp_path / "r.json"))
    assert title(loaded.plot()) == title(report.plot())
    for name in (*OF_A_ROW, "graph"):
        with pytest.raises(WorkbenchError, match=r"report\.attach\(reference, target\) gives it those"):
            getattr(loaded.plot, name)()
    assert report.source is not None
    again = loaded.attach(report.source.reference, report.source.target)
    assert title(again.plot.scatter()) == title(report.plot.scatter())


def test_what_is_not_there_is_refused(report: Report) -> None:
    with pytest.raises(OptionError, match="Did you mean 'dense_3'"):
        report.plot.histograms("dense3")
    with pytest.raises(OptionError, match="no row 99"):
        report.plot.graph(99)
    with pytest.raises(OptionError, match="layers=0: at least one layer"):
        report.plot.graph(layers=0)
    with pytest.raises(OptionError, match="no row of the report was compared"):
        dataclasses.replace(report, rows=()).plot.worst()


def _boxes(figure: Figure, side: int) -> list[FancyBboxPatch]:
    return [patch for patch in figure.axes[side].patches if isinstance(patch, FancyBboxPatch)]


def _texts(figure: Figure, side: int) -> list[str]:
    return [text.get_text() for text in figure.axes[side].texts]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_graphs_show_every_layer_in_the_colour_of_its_error(report: Report, theme: str) -> None:
    from matplotlib.colors import to_hex

    colours = theme_named(theme)
    figure = report.plot.graph(theme=theme)
    for side in (0, 1):
        assert _texts(figure, side)[1::2] == [f"{kind}_{at}" for at in range(8) for kind in ("dense", "tanh")]
        edges = [to_hex(box.get_edgecolor()) for box in _boxes(figure, side)]
        assert edges[:6] == [colours.reference] * 6
        assert edges[6] == colours.text  # the culprit is framed
        assert set(edges[7:]) == {colours.inherited}
    assert pixels(figure)[..., 3].min() == 0


def test_of_a_large_model_the_neighbourhood_is_drawn() -> None:
    found = _report(60, fault=30)
    figure = found.plot.graph(layers=9)
    for side in (0, 1):
        names = _texts(figure, side)[1::2]
        assert len(names) == 9
        assert names[4] == "dense_30"
        assert "9 of 120 layers" in figure.axes[side].get_title()
        assert len(figure.axes[side].lines) == 2  # that it goes on above and below
    assert _texts(found.plot.graph("tanh_10", layers=3), 1)[1::2] == ["dense_10", "tanh_10", "dense_11"]
    assert len(_boxes(found.plot.graph(layers=None), 0)) == 120
