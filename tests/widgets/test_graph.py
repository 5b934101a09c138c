"""The graphs of the two models: what is drawn, in which colours, and that all views share one selection."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.widgets.fakes import FakeModel
from workbench import samples
from workbench.compare import Row
from workbench.compare.heat import heat, rows_of_layers
from workbench.compare.metrics import measure
from workbench.compare.tolerance import Allowance
from workbench.widgets import Compare, Inspect
from workbench.widgets.graph_pair import GraphPair
from workbench.widgets.graph_view import MAX_NODES, GraphView, graph_of

MESSAGE_BYTES = 4_000_000


def model_of(count: int, name: str = "layer") -> Any:
    """A chain of layers (the fake has what the graph asks for)."""
    return FakeModel(count=count, layer_name=name)


def row_of(index: int, status: str = "ok", error: float | None = None, limit: float = 1e-3) -> Any:
    exact = np.ones(8, np.float32)
    metrics = None if error is None else measure(exact, exact * np.float32(1 + error))
    return Row(
        index=index, layers=(f"layer_{index}",), target_layers=(f"layer_{index}",), tensor=f"t{index}",
        target_tensor=f"t{index}", operator="Relu-14", shape=(8,), dtype="float32",
        status=status, accumulated=metrics, allowance=Allowance(limit, limit, 0.0, 0.0),  # type: ignore[arg-type]
    )  # fmt: skip


def test_inputs_feed_the_layers_and_the_last_one_feeds_the_output() -> None:
    model = wb.load(samples.digits())
    graph = graph_of(model)
    count = graph["layers"]
    assert graph["names"][:count] == [layer.name for layer in model.layers]
    assert graph["operators"][count:] == ["input", "output"]
    edges = list(zip(graph["edges"][::2], graph["edges"][1::2], strict=True))
    assert [to for of, to in edges if of == count] == [0]
    assert [of for of, to in edges if to == count + 1] == [count - 1]
    assert {to for _, to in edges} == set(range(count)) | {count + 1}


def test_a_large_graph_fits_into_a_message_and_a_huge_one_says_so() -> None:
    large = graph_of(model_of(MAX_NODES, "n" * 300))
    assert len(json.dumps(large)) < MESSAGE_BYTES
    assert graph_of(model_of(MAX_NODES + 1)) == {"names": [], "operators": [], "edges": [], "layers": MAX_NODES + 1}


def test_a_hostile_name_is_cut_and_spelled_out() -> None:
    graph = graph_of(model_of(2, "\x00<img src=x>\u202e" + "x" * 1_000_000))
    assert graph["names"][0].startswith("\\x00<img")
    assert len(graph["names"][0]) < 100


def test_a_layer_has_the_colour_of_what_speaks_against_it() -> None:
    named = [("a",), ("a", "b"), ("a", "b")]
    rows = [
        dataclasses.replace(row_of(at, status), layers=names)
        for at, (status, names) in enumerate(zip(("ok", "failing", "ok"), named, strict=True))
    ]
    assert rows_of_layers(rows, 0) == {"a": 1, "b": 1}
    assert rows_of_layers([rows[0], rows[2]], 0) == {"a": 1, "b": 1}
    assert rows_of_layers(rows, 1) == {"layer_0": 0, "layer_1": 1, "layer_2": 2}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row_of(0, error=1e-3), 1.0),
        (row_of(0, error=1e-5), 0.5),
        (row_of(0, error=0.0), 0.0),
        (row_of(0), 0.0),
        (row_of(0, error=1e-3, limit=0.0), 1.0),
        (row_of(0, error=math.nan), 1.0),
    ],
    ids=["at the tolerance", "two decades below", "exact", "not measured", "nothing is allowed", "not a number"],
)
def test_heat_is_the_distance_to_the_tolerance(found: Row, expected: float) -> None:
    assert heat(found) == pytest.approx(expected, abs=0.02)


def test_choosing_a_layer_in_a_graph_chooses_its_row_and_marks_its_counterpart() -> None:
    chosen: list[int] = []
    pair = GraphPair(chosen.append)
    rows = [row_of(0), row_of(1, "failing", 1.0), row_of(2)]
    pair.put(model_of(3), model_of(3), rows)
    assert pair.views[0].tones == [1, 2, 1]
    pair.views[1].selected = 1
    assert chosen == [1]
    pair.mark(rows[1])
    assert [view.marked for view in pair.views] == [[1], [1]]
    assert pair.views[1].selected == 1
    pair.mark(None)
    assert [(view.selected, view.marked) for view in pair.views] == [(-1, []), (-1, [])]
    assert chosen == [1]


def test_the_steps_show_the_graphs_of_their_models(tmp_path: Path) -> None:
    model = wb.load(samples.digits())
    inspect = Inspect()
    inspect.session.open(model)
    inspect.table.selected = 2
    assert inspect.graph.selected == 2
    inspect.graph.selected = 3
    assert inspect.table.selected == 3
    compare = Compare(inspect.session)
    inspect.session.convert("nnef", shapes={"image": (1, 1, 8, 8)})
    compare.compare()
    left, right = compare.graphs.views
    assert set(left.tones) == {1}
    assert left.label != right.label
    left.selected = 4
    assert compare.selected >= 0
    assert right.marked


def test_a_graph_says_how_large_it_is_and_no_address() -> None:
    view = GraphView()
    view.put(model_of(5))  # its output is made by none of them
    assert repr(view) == "GraphView(6 nodes, selected=-1)"
