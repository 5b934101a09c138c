"""Files for Model Explorer: graphs, node data and mapping fit one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.digits import compared
from workbench.compare.metrics import measure
from workbench.compare.model_explorer import logarithm
from workbench.errors import SaveError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = compared("coreml").to_model_explorer(tmp_path_factory.mktemp("explorer") / "out")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}


def test_what_is_written(files: dict[str, Any]) -> None:
    sides = [f"{side}{figure}" for side in ("reference", "target") for figure in ("", "_accumulated", "_isolated")]
    assert sorted(files) == sorted([*sides, "mapping"])


@pytest.mark.parametrize("side", ["reference", "target"])
def test_graphs_are_whole(files: dict[str, Any], side: str) -> None:
    (graph,) = files[side]
    ids = [node["id"] for node in graph["nodes"]]
    assert len(ids) == len(set(ids))
    edges = [edge for node in graph["nodes"] for edge in node.get("incomingEdges", [])]
    assert edges
    assert {edge["sourceNodeId"] for edge in edges} <= set(ids)
    outputs = [node for node in graph["nodes"] if node["namespace"] == "outputs"]
    assert [len(node["incomingEdges"]) for node in outputs] == [1]
    assert all(set(pair) == {"key", "value"} for node in graph["nodes"] for pair in node["attrs"])
    assert all(isinstance(pair["value"], str) for node in graph["nodes"] for pair in node["attrs"])


@pytest.mark.parametrize("side", ["reference", "target"])
def test_errors_belong_to_nodes_of_the_graph(files: dict[str, Any], side: str) -> None:
    (graph,) = files[side]
    ids = {node["id"] for node in graph["nodes"]}
    for figure in ("accumulated", "isolated"):
        data = files[f"{side}_{figure}"]
        assert list(data) == [graph["id"]]
        results = data[graph["id"]]["results"]
        assert results
        assert set(results) <= ids
        assert all(isinstance(item["value"], float) for item in results.values())
    isolated = files[f"{side}_isolated"][graph["id"]]["results"]
    assert max(isolated, key=lambda name: isolated[name]["value"]) == "dense1"


def test_the_mapping_leads_from_one_graph_into_the_other(files: dict[str, Any]) -> None:
    mapping = files["mapping"]
    assert mapping["type"] == "sync_navigation"
    ids = [{node["id"] for node in files[side][0]["nodes"]} for side in ("reference", "target")]
    assert set(mapping["mapping"]) <= ids[0]
    assert set(mapping["mapping"].values()) <= ids[1]
    assert mapping["mapping"]["conv1"] == "norm", "the batch norm is folded into the convolution"


def test_a_report_from_a_file_writes_what_its_rows_know(tmp_path: Path) -> None:
    report = wb.load_report(compared("nnef").save(tmp_path / "r.json"))
    folder = report.to_model_explorer(tmp_path / "out")
    (graph,) = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    assert {node["id"] for node in graph["nodes"]} == {name for row in report.rows for name in row.layers}
    with pytest.raises(SaveError, match="exists"):
        report.to_model_explorer(tmp_path / "out")


@pytest.mark.parametrize(
    ("reference", "target", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], -9.0),
        ([100.0], [101.0], -2.0),
        ([1.0], [float("nan")], 9.0),
        ([0.0], [1.0], 9.0),
        ([1, 2], [1, 3], -0.3),
    ],
)
def test_errors_are_shown_as_logarithms_that_json_can_say(reference: Any, target: Any, expected: float) -> None:
    assert logarithm(measure(np.asarray(reference), np.asarray(target))) == expected
