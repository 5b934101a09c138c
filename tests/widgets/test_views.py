"""The views with a front end of their own: their state, their messages, their representation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.compare import summarize
from workbench.compare.detail import PIXELS
from workbench.session import Upload
from workbench.session.upload import PIECE_BYTES
from workbench.widgets import figures
from workbench.widgets.error_profile import ErrorProfile
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.step_bar import StepBar
from workbench.widgets.tensor_view import TensorView
from workbench.widgets.upload_button import UploadButton

FOLDER = Path(figures.__file__).parent
MESSAGE_BYTES = 4_000_000
LIBRARIES = {"graph_groups", "graph_layout", "graph_painter", "graph_scene", "keyboard", "svg", "toggles"}
"""Modules without a view: what views build on."""


def heard(view: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The custom messages that the view sends from now on."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: messages.append(content))
    return messages


def test_every_view_has_its_module_and_style_and_no_markup_from_data() -> None:
    for script in FOLDER.glob("*.js"):
        assert script.with_suffix(".py").exists() or script.stem in LIBRARIES
        assert script.with_suffix(".css").exists() or script.stem in LIBRARIES
        code = script.read_text(encoding="utf-8")
        assert "innerHTML" not in code
        assert "insertAdjacentHTML" not in code
        assert "outerHTML" not in code


def test_colours_come_from_the_theme() -> None:
    import re

    for style in FOLDER.glob("*.css"):
        for line in style.read_text(encoding="utf-8").splitlines():
            bare = re.sub(r"var\(--jp-[\w-]+, [^()]*\)", "", line)
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b", bare), f"{style.name}: {line}"


def test_a_long_table_comes_in_pieces_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    table = LayerTable([Column("layer"), Column("operator")])
    rows = [(f"layer/{i}/" + "n" * 200, "Conv-11") for i in range(20_000)]
    table.put(rows)
    messages = heard(table, monkeypatch)
    collected = list(table.rows)
    assert 0 < len(collected) < len(rows)
    while len(collected) < table.total:
        table._handle_custom_msg({"type": "more", "start": len(collected), "version": table.version}, [])
        piece = messages.pop()
        assert len(json.dumps(piece)) < MESSAGE_BYTES
        assert piece["start"] == len(collected)
        collected += piece["rows"]
    assert [tuple(row) for row in collected] == rows


@pytest.mark.parametrize("message", [{"type": "more", "start": -1}, {"type": "more", "start": "x"}, {"type": "?"}, "x"])
def test_a_table_ignores_what_it_does_not_know(message: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = LayerTable([Column("layer")])
    table.put([("a",)])
    if isinstance(message, dict):
        message["version"] = table.version
    messages = heard(table, monkeypatch)
    table._handle_custom_msg(message, [])
    assert messages == []


def test_a_table_without_a_browser() -> None:
    table = LayerTable([Column("layer"), Column("error", kind="number")])
    table.put([("<b>bold</b>", float("nan")), *((f"l{i}", 1e-7) for i in range(30))])
    bundle, _ = table._repr_mimebundle_()
    assert bundle["text/plain"] == "LayerTable(31 rows, selected=-1)"
    assert "<b>bold" not in bundle["text/html"]
    assert "… and 19 more rows" in bundle["text/html"]
    assert "&lt; 1e-06" in bundle["text/html"]  # not the digits, which vary between machines
    assert table.rows[0] == ["<b>bold</b>", "nan"]


def test_a_long_name_does_not_make_a_table_without_a_browser_wider_than_a_page() -> None:
    table = LayerTable([Column("layer"), Column("why", kind="prose")])
    table.put([("encoder/" * 40 + "last", "sentences wrap: " * 9)])
    page = table.static_html()
    assert "<td>encoder/encoder/enc…encoder/encoder/last</td>" in page
    assert "sentences wrap: " * 9 in page


def test_new_rows_drop_the_selection_and_equal_ones_keep_it() -> None:
    table = LayerTable([Column("layer")])
    table.put([("a",), ("b",)])
    table.selected = 1
    table.put([("a",), ("b",)])
    assert table.selected == 1
    table.put([("c",)])
    assert table.selected == -1


def test_a_profile_of_ten_thousand_layers_fits_one_message() -> None:
    profile = ErrorProfile()
    count = 10_000
    names = [f"block_{i}/" + "n" * 300 for i in range(count)]
    values = [1e-7 * i for i in range(count)]
    limits = ([1e-4] * count, [None] * count)
    profile.put(names, values, [None] * count, [False] * count, metric="relative L2", limits=limits)
    assert len(json.dumps(profile.data, allow_nan=False)) < MESSAGE_BYTES
    assert repr(profile) == "ErrorProfile(10000 layers, selected=-1)"


def test_a_profile_carries_what_json_cannot() -> None:
    profile = ErrorProfile()
    profile.put(["a", "b"], [float("inf"), float("nan")], [0.0, 1.23456789], [True, True], metric="m")
    assert profile.data["accumulated"] == ["inf", "nan"]
    assert profile.data["isolated"] == [0.0, 1.235]


def test_a_step_bar_knows_the_steps_only() -> None:
    bar = StepBar()
    with pytest.raises(Exception, match="current"):
        bar.current = "fly"
    assert repr(bar) == "StepBar('import')"


def drawn(reference: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> dict[str, Any]:
    made = figures.figures_of(summarize(reference, target))
    assert len(json.dumps(made, allow_nan=False)) < MESSAGE_BYTES
    assert repr(TensorView(figures=made)).startswith("TensorView(distributions, density")
    return made


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (1, 3, 200, 300), (2, 3, 4, 5, 6), (0, 4), (5, 0)])
def test_figures_of_any_shape(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=shape).astype(np.float32)
    made = drawn(reference, (reference * np.float32(1.01)).astype(np.float32))
    assert sum(made["density"]["counts"]) == reference.size
    assert sum(made["distributions"]["reference"]) == sum(made["distributions"]["target"]) == reference.size
    if reference.size:
        heat = made["heatmap"]
        assert max(heat["rows"], heat["columns"]) <= PIXELS
        assert len(heat["values"]) == heat["rows"] * heat["columns"]
        assert heat["most"] == pytest.approx(float(np.abs(reference).max()) * 0.01, rel=1e-3)


def test_figures_of_equal_tensors_show_no_difference() -> None:
    same = np.arange(6.0).reshape(2, 3)
    assert list(drawn(same, same)) == ["distributions", "density"]


def test_figures_survive_nan_and_infinity() -> None:
    reference = np.array([[1.0, np.nan, np.inf, -np.inf]], np.float32)
    target = np.array([[1.5, np.nan, 3.0, -np.inf]], np.float32)
    assert drawn(reference, target)["heatmap"]["most"] == 0.5


def test_each_channel_has_its_box() -> None:
    reference = np.zeros((1, 40, 4, 4), np.float32)
    target = reference.copy()
    target[0, 7] = np.linspace(-1, 3, 16).reshape(4, 4)
    made = drawn(reference, target)["channels"]
    assert made["note"] == "axis 1; the 32 of 40 that differ most"
    assert made["quartiles"][made["indices"].index(7)] == pytest.approx([-1.0, 0.0, 1.0, 2.0, 3.0], abs=1e-6)
    assert "channels" not in drawn(reference[:, :1], target[:, 7:8]), "one channel is what the other figures show"


def test_the_density_has_its_largest_target_on_top() -> None:
    reference, target = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    counts = np.array(drawn(reference, target)["density"]["counts"])
    side = int(np.sqrt(counts.size))
    assert counts.reshape(side, side)[0, 0] == 1  # reference 0, target 1: at the left, on top


# The upload


def test_a_file_arrives_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Upload] = []
    button = UploadButton(done.append)
    messages = heard(button, monkeypatch)
    data = bytes(PIECE_BYTES) + b"end"
    button._handle_custom_msg({"type": "begin", "name": "a.onnx", "size": len(data)}, [])
    while messages[-1]["type"] == "want":
        offset, size = messages[-1]["offset"], messages[-1]["bytes"]
        assert size <= MESSAGE_BYTES
        button._handle_custom_msg({"type": "piece", "offset": offset}, [memoryview(data[offset : offset + size])])
    assert messages[-1] == {"type": "end", "text": "Received a.onnx"}
    assert done[0].finish().read_bytes() == data


def test_an_impossible_upload_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    button = UploadButton(lambda upload: None)
    messages = heard(button, monkeypatch)
    button._handle_custom_msg({"type": "begin", "name": "a.onnx", "size": 1 << 40}, [])
    assert messages[-1]["type"] == "end"
    assert "by its path" in messages[-1]["text"]


def test_a_cancelled_upload_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    button = UploadButton(lambda upload: None)
    heard(button, monkeypatch)
    button._handle_custom_msg({"type": "begin", "name": "a.onnx", "size": 10}, [])
    assert button._upload is not None
    path = button._upload._path
    assert path.exists()
    button._handle_custom_msg({"type": "cancel"}, [])
    assert not path.exists()
    assert button._upload is None
