"""Files for Model Explorer (https://github.com/google-ai-edge/model-explorer): graphs, errors and the mapping.

``reference.json`` and ``target.json`` are graphs of its own JSON form, opened side by side in two panes. The node data
(``…_accumulated.json``, ``…_isolated.json``) colours their nodes by error; ``mapping.json`` lets the selection in one
pane follow that in the other. Without the models, as a report from a file is, only what the rows know is written: nodes
without edges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.compare.metrics import Metrics
from workbench.compare.rows import Row
from workbench.files import check_replaceable, replacing

if TYPE_CHECKING:
    from workbench.compare.report import Report
    from workbench.model import Model

COLOURS = {"ok": "#dcefe0", "failing": "#f6b5b5", "inherited": "#fbe2b6", "unmatched": "#e4e4e4", "skipped": "#e4e4e4"}
"""Status, or the blame of a failing row → the colour of its node (its text is black)."""
_INPUTS, _OUTPUTS = "inputs", "outputs"
_FLOOR = -9.0
"""Errors are shown as their decimal logarithm, none as this."""


MARK = "mapping.json"


def write_folder(report: Report, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the files into a folder of their own (see :meth:`workbench.compare.Report.to_model_explorer`)."""
    check_replaceable(folder, MARK, overwrite=overwrite)
    sides = [_layers_of_rows(report.rows, place) for place in (0, 1)]
    graphs = sides
    if report.source is not None:
        graphs = [_nodes(model) for model in (report.source.reference, report.source.target)]
    known = [{node["id"] for node in nodes} for nodes in graphs]
    with replacing(folder, overwrite=overwrite) as partial:
        partial.mkdir()
        for name, side, nodes, ids, place in zip(
            ("reference", "target"), (report.reference, report.target), graphs, known, (0, 1), strict=True
        ):
            graph = f"{side.name} ({side.format})"
            _write(partial / f"{name}.json", [{"id": graph, "nodes": nodes}])
            for figure in ("accumulated", "isolated"):
                results = _results(report.rows, figure, place, ids)
                if results:
                    data = {"results": results}
                    _write(partial / f"{name}_{figure}.json", {graph: data})
        mapping = _mapping(report.rows, known)
        task = {"type": "sync_navigation", "mapping": mapping, "disableMappingFallback": True}
        _write(partial / MARK, task)
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def _nodes(model: Model) -> list[dict[str, Any]]:
    """The model's layers, its inputs and its outputs."""
    made: dict[str, tuple[str, str]] = {}  # tensor → node and place among its outputs
    nodes = []
    for spec in model.document.inputs:
        made[spec.name] = _id(_INPUTS, spec.name), "0"
        nodes.append(_node(_id(_INPUTS, spec.name), spec.name, _INPUTS, {"tensor": spec.describe()}))
    for layer in model.layers:
        for place, spec in enumerate(layer.outputs):
            made.setdefault(spec.name, (layer.name, str(place)))
    for layer in model.layers:
        attributes = {key: _shown(value) for key, value in layer.attributes.items()}
        node = _node(layer.name, layer.operator, "", attributes)
        node["incomingEdges"] = _edges(layer.inputs, made)
        node["outputsMetadata"] = [
            {"id": str(place), "attrs": _pairs({"tensor_name": spec.name, "tensor": spec.describe()})}
            for place, spec in enumerate(layer.outputs)
        ]
        nodes.append(node)
    for spec in model.document.outputs:
        node = _node(_id(_OUTPUTS, spec.name), spec.name, _OUTPUTS, {"tensor": spec.describe()})
        node["incomingEdges"] = _edges([spec.name], made)
        nodes.append(node)
    return nodes


def _id(group: str, name: str) -> str:
    """An id that no layer has by chance."""
    return f"{group}//{name}"


def _node(name: str, label: str, namespace: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    return {"id": name, "label": label, "namespace": namespace, "attrs": _pairs(attributes)}


def _pairs(attributes: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in attributes.items()]


def _edges(inputs: Iterable[str], made: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"sourceNodeId": made[name][0], "sourceNodeOutputId": made[name][1], "targetNodeInputId": str(place)}
        for place, name in enumerate(inputs)
        if name in made
    ]


def _shown(value: object, length: int = 200) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[:length]} …"


def _layers_of_rows(rows: Sequence[Row], place: int) -> list[dict[str, Any]]:
    names = {name: row.operator for row in rows for name in _names(row, place)}
    return [_node(name, operator if place == 0 else name, "", {}) for name, operator in names.items()]


def _names(row: Row, place: int) -> tuple[str, ...]:
    return row.target_layers if place else row.layers


def _results(rows: Sequence[Row], figure: str, place: int, known: set[str]) -> dict[str, dict[str, Any]]:
    """Node → its error; of several rows of one node the worst."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        metrics: Metrics | None = getattr(row, figure)
        if metrics is None:
            continue
        value = logarithm(metrics)
        colour = COLOURS["inherited" if row.blame == "inherited" else row.status]
        for name in _names(row, place):
            if name in known and (name not in found or found[name]["value"] < value):
                found[name] = {"value": value, "bgColor": colour, "textColor": "#000000"}
    return found


def logarithm(metrics: Metrics) -> float:
    """The decimal logarithm of the relative L2 error (or of the share that differs), between -9 and 9."""
    error = metrics.error
    if metrics.pattern or math.isinf(error) or math.isnan(error):
        return -_FLOOR
    return round(min(max(math.log10(error), _FLOOR), -_FLOOR), 2) if error > 0 else _FLOOR


def _mapping(rows: Sequence[Row], known: Sequence[set[str]]) -> dict[str, str]:
    """A reference layer → the last of the target's layers that stand for it; the form says one to one only."""
    found: dict[str, str] = {}
    for row in rows:
        targets = [name for name in row.target_layers if name in known[1]]
        for name in row.layers:
            if targets and name in known[0]:
                found.setdefault(name, targets[-1])
    return found
