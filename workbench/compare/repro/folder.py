"""Cuts the layer of one row out of both models and writes what shows the difference."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.diagnose import with_signature
from workbench.compare.metrics import Metrics, measure
from workbench.compare.recompute import Part, Source
from workbench.compare.repro import texts
from workbench.compare.rows import Row
from workbench.document import Document, TensorSpec
from workbench.errors import ConversionError, ExecutionError, ModelError, SaveError, WorkbenchError
from workbench.executors import executor_for
from workbench.files import check_replaceable, replacing
from workbench.formats import format_named
from workbench.formats.onnx.document import OnnxDocument
from workbench.formats.onnx.excerpt import excerpt
from workbench.hub import dtype_of, runtime_opset, subgraphs
from workbench.hub.half import as_half_bounds
from workbench.lowering import Refused
from workbench.npz import write_npz
from workbench.words import one_line

if TYPE_CHECKING:
    from workbench.compare.report import Report
    from workbench.model import Model

Array = np.ndarray[Any, Any]

SCRIPT, MARK = "show_difference.py", "repro.json"
_SUFFIXES = {"onnx": ".onnx", "nnef": ".nnef", "coreml": ".mlpackage"}
_AGREES = 1e-3
"""An excerpt gives what the layer gave in the whole model, but for the optimiser's rounding."""


@dataclass(frozen=True)
class Cut:
    """One side's layer as models.

    Attributes:
        part: its nodes and tensors.
        own: in the model's own format; ``None`` where it has no part that stands alone there, for ``reason``.
        translated: as ONNX; ``None`` where ``own`` is.
    """

    part: Part
    own: Document | None
    translated: Document | None
    reason: str = ""


def write_repro(report: Report, source: Source, row: Row, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the folder (see :meth:`workbench.compare.Report.repro`).

    Args:
        report: the comparison.
        source: its models.
        row: the row to show.
        folder: where to.
        overwrite: replace a repro that is there.

    Raises:
        SaveError: there is something, or it cannot be written.
        WorkbenchError: there is no layer on both sides that can be fed the same numbers.
    """
    check_replaceable(folder, MARK, overwrite=overwrite)
    if not row.target_tensor:
        raise WorkbenchError(f"{row.layer!r} has no counterpart to show a difference from: {row.reason}.")
    source.require_layers("a repro")
    parts = source.reference_part(row.tensor), source.target_part(row.target_tensor)
    for side, part in zip(("reference", "target"), parts, strict=True):
        if not part.nodes:
            raise WorkbenchError(
                f"{row.layer!r} is an input or a constant of the {side}: no layer computes it, there is none to show."
            )
    reference = Cut(parts[0], None, _as_onnx(source.reference, parts[0], row.tensor))
    target = _cut(source.target, parts[1], row.target_tensor)
    pair = source.pairs[row.target_tensor]
    x, y = source.side_by_side(row.target_tensor, parts[0].result, parts[1].result)
    found = measure(as_half_bounds(x, y), y)
    form = source.target.format if target.own is not None else ""
    facts = {
        "layer": one_line(row.layer),
        "operator": one_line(row.operator),
        "reference": {
            "format": report.reference.format,
            "model": "reference.onnx",
            "output": row.tensor,
            "perm": _listed(pair.reference_perm),
        },
        "target": {
            "format": report.target.format,
            "form": form,
            "model": f"target{_SUFFIXES[form]}" if form else "",
            "translated": "target_translated.onnx" if target.translated is not None else "",
            "output": row.target_tensor,
            "perm": _listed(pair.target_perm),
        },
        "expected": _expected(row, found),
    }
    if row.status == "failing" and row.signature is None:
        row = with_signature(row, source)
    with replacing(folder, overwrite=overwrite) as partial:
        partial.mkdir()
        _write(partial, facts, reference, target)
        text = texts.bug_report(report, row, facts, found, target.reason)
        (partial / "REPORT.md").write_text(text, encoding="utf-8", newline="\n")
    return folder


def _write(folder: Path, facts: Mapping[str, Any], reference: Cut, target: Cut) -> None:
    assert reference.translated is not None
    reference.translated.write(folder / facts["reference"]["model"])
    if target.own is not None:
        target.own.write(folder / facts["target"]["model"])
    if target.translated is not None:
        target.translated.write(folder / facts["target"]["translated"])
    try:
        write_npz(folder / "reference_inputs.npz", reference.part.feeds)
        write_npz(folder / "target_inputs.npz", target.part.feeds)
        write_npz(folder / "expected.npz", {"reference": reference.part.result, "target": target.part.result})
    except ValueError as error:  # strings
        raise SaveError(f"{folder.name}: the layer's tensors cannot be written as arrays: {error}") from error
    shutil.copyfile(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
    data = json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / MARK).write_text(data + "\n", encoding="utf-8", newline="\n")


def _listed(perm: Sequence[int] | None) -> list[int] | None:
    return None if perm is None else [int(axis) for axis in perm]


def _expected(row: Row, found: Metrics) -> dict[str, Any]:
    """What was found, and what a correct layer stays below."""
    bound = row.allowance.isolated if row.allowance is not None else 0.0
    error = found.error
    if found.mismatches is not None:
        text = f"{found.mismatches} of {found.size} elements differ"
    elif found.pattern:
        text = f"NaN or infinity in other places, {found.pattern} of {found.size} elements"
    else:
        text = f"relative L2 error {error:.3e}, largest difference {found.max_abs:.3e}"
    floor = row.allowance.isolated_floor if row.allowance is not None else 0.0
    if found.mismatches is None and not found.pattern and found.max_abs <= floor and math.isfinite(error):
        bound = max(bound, 2 * error)  # the difference passes for its absolute size
    return {"text": text, "bound": bound, "differs": bool(found.pattern) or not error <= bound}


# -- cutting ------------------------------------------------------------------------------------------------------


def _specs(part: Part) -> list[TensorSpec]:
    return [TensorSpec(name, dtype_of(array), tuple(array.shape)) for name, array in part.feeds.items()]


def _cut(model: Model, part: Part, tensor: str) -> Cut:
    """The target's layer in its own format, where that can be cut and computes the same; and as ONNX elsewhere."""
    reason = ""
    try:
        own: Document | None = model.document.excerpt(_specs(part), [tensor])
        assert own is not None
        _check(own, part, tensor)
    except Refused as refused:
        own, reason = None, refused.cause
    except (ModelError, ConversionError, ExecutionError, SaveError) as error:
        own, reason = None, str(error)
    if own is not None and model.format == "onnx":
        return Cut(part, own, None)
    return Cut(part, own, _as_onnx(model, part, tensor), reason)


def _check(document: Document, part: Part, tensor: str) -> None:
    """Whether the excerpt computes what the layer did in its model.

    Raises:
        Refused: it does not.
    """
    format_named(document.format)
    with executor_for(document) as executor:
        found = executor.run(dict(part.feeds), [tensor])[tensor]
    if found.shape != part.result.shape or found.dtype != part.result.dtype:
        raise Refused("cut out, it gives another type than in the whole model")
    metrics = measure(part.result, found)
    if metrics.pattern or not metrics.error <= _AGREES:
        raise Refused("cut out, it gives other numbers than in the whole model")


def _as_onnx(model: Model, part: Part, tensor: str) -> Document:
    """The layer as ONNX: its own nodes where the model is ONNX, else as the hub has them.

    Raises:
        WorkbenchError: the hub's nodes cannot be cut.
    """
    if isinstance(model.document, OnnxDocument):
        try:
            own = model.document.excerpt(_specs(part), [tensor])
            _check(own, part, tensor)
            return own
        except (Refused, ModelError, ConversionError, ExecutionError):
            pass  # a name that only the hub has, or an old operator that this onnxruntime has not: as the hub says it
    try:
        made = excerpt(model.graph, _specs(part), [tensor])
    except Refused as refused:
        raise WorkbenchError(f"the layer of {tensor!r} cannot stand alone: {refused.cause}.") from refused
    operators = {node.op_type for node in _all_nodes(made.graph) if not node.domain}
    made.graph.opset_imports[""] = runtime_opset(operators)
    return OnnxDocument(made, f"part of {model.name}")


def _all_nodes(graph: ir.Graph) -> list[ir.Node]:
    found = []
    for node in graph:
        found.append(node)
        for inner in subgraphs(node):
            found += _all_nodes(inner)
    return found
