"""Figures: made without pyplot, whatever the report or the tensors hold; readable on light and dark pages."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.compare.support import chain, converted, same_names, source
from workbench.compare import Report, compare, summarize
from workbench.errors import OptionError
from workbench.plots import channels, difference, error_profile, heatmap, histograms, scatter, worst


def report(fault: int | None = 3, mode: str = "both") -> Report:
    reference = source(chain(8))
    hub = chain(8, fault=fault)
    return compare(reference, converted(hub, reference, same_names(hub)), mode=mode)


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    """The drawn figure, [H, W, RGBA]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["both", "accumulated", "isolated"])
def test_the_profile_names_the_culprit(mode: str, theme: str) -> None:
    figure = error_profile(report(mode=mode), theme=theme)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ([] if mode == "accumulated" else ["6 MatMul dense_3"])
    image = pixels(figure)
    assert image[..., 3].min() == 0  # transparent
    drawn = image[image[..., 3] > 200][:, :3].astype(int)
    brightness = float(drawn.mean())
    assert brightness < 170 if theme == "light" else brightness > 85


def test_the_profile_shows_the_measured_errors_in_order() -> None:
    found = report()
    figure = error_profile(found)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "accumulated")
    expected = [max(row.accumulated.relative_l2, 1e-9) for row in found.rows if row.accumulated]
    assert list(line.get_ydata()) == expected


def test_places_are_the_rows_of_the_report() -> None:
    """A row that is not measured leaves a gap: what is read off the axis can be looked up."""
    import dataclasses

    found = report()
    rows = [dataclasses.replace(row, status="unmatched") if row.index in (0, 4) else row for row in found.rows]
    figure = error_profile(dataclasses.replace(found, rows=tuple(rows)))
    line = next(line for line in figure.axes[0].lines if line.get_label() == "accumulated")
    assert list(line.get_xdata()) == [row.index for row in rows if row.index not in (0, 4)]


@pytest.mark.parametrize("places", [(5, 6, 7), (0, 1, 14), (13, 14, 15), (0, 8, 15)])
def test_names_of_culprits_do_not_cover_one_another(places: tuple[int, ...]) -> None:
    import dataclasses

    found = report()
    rows = list(found.rows)
    for place in places:
        rows[place] = dataclasses.replace(
            rows[6], index=place, layers=(f"network/stage_{place}/block/convolution",), status="failing", blame="own"
        )
    rows[6] = rows[6] if 6 in places else found.rows[4]
    found = dataclasses.replace(found, rows=tuple(dataclasses.replace(row, index=at) for at, row in enumerate(rows)))
    figure = error_profile(found)
    pixels(figure)
    axis = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.overlaps(axis.title.get_window_extent()) for box in boxes)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_healthy_and_an_empty_report_can_be_drawn() -> None:
    assert not error_profile(report(fault=None)).axes[0].texts
    import dataclasses

    empty = dataclasses.replace(report(), rows=())
    assert [text.get_text() for text in error_profile(empty).axes[0].texts] == ["nothing was measured"]


def test_names_are_no_formulas() -> None:
    import dataclasses

    found = report()
    strange = dataclasses.replace(found.reference, name="$\\frac{")
    pixels(error_profile(dataclasses.replace(found, reference=strange)))
    detail = summarize(np.arange(9.0), np.arange(9.0), title="$x_{")
    for draw in (histograms, scatter, difference, worst):
        pixels(draw(detail))


@pytest.mark.parametrize("draw", [histograms, scatter, difference, worst])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.linspace(-1, 1, 999), np.linspace(-1, 1.1, 999)),
        (np.full(5, 2.0), np.full(5, 2.0)),
        (np.empty(0), np.empty(0)),
        (np.asarray(np.nan), np.asarray(1.0)),
        (np.asarray([1e300, 0]), np.asarray([0, -1e300])),
        (np.asarray([True, False]), np.asarray([True, True])),
    ],
)
def test_any_tensors_can_be_drawn(draw: Any, x: Any, y: Any) -> None:
    figure = draw(summarize(x, y, title="layer"), theme="dark")
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    assert buffer.getvalue().startswith(b"<?xml")


@pytest.mark.parametrize("draw", [channels, heatmap])
@pytest.mark.parametrize("shape", [(3, 5), (1, 70, 9, 8), (2, 1, 4)])
def test_tensors_with_channels_can_be_drawn(draw: Any, shape: tuple[int, ...]) -> None:
    reference = np.random.default_rng(0).normal(size=shape)
    assert pixels(draw(summarize(reference, reference * 1.01, title="layer"), theme="dark")).any()


def test_what_has_no_channels_or_no_elements_is_refused() -> None:
    with pytest.raises(OptionError, match=r"shape \[4\] have no channels"):
        channels(summarize(np.zeros(4), np.ones(4)))
    with pytest.raises(OptionError, match="without elements"):
        heatmap(summarize(np.zeros((0, 4)), np.ones((0, 4))))


def test_the_worst_elements_are_named_by_index_also_where_they_are_no_numbers() -> None:
    x, y = np.asarray([[1.0, 2.0, 3.0, 4.0]]), np.asarray([[1.0, np.nan, np.inf, 4.5]])
    axis = worst(summarize(x, y)).axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["[0, 1]", "[0, 2]", "[0, 3]"]
    assert [text.get_text() for text in axis.texts] == ["2 → nan", "3 → inf", "+0.5"]
    assert [text.get_text() for text in worst(summarize(x, x)).axes[0].texts] == ["all elements are equal"]


def test_unknown_themes_are_refused() -> None:
    with pytest.raises(OptionError, match="'sepia'; there are light, dark"):
        error_profile(report(), theme="sepia")


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from workbench.compare import summarize\n"
        "from workbench.plots import histograms, scatter, difference\n"
        "assert 'matplotlib' not in sys.modules\n"
        "detail = summarize(np.arange(9.0), np.arange(9.0))\n"
        "[draw(detail).savefig('/dev/null' if sys.platform != 'win32' else 'NUL', format='png')"
        " for draw in (histograms, scatter, difference)]\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
