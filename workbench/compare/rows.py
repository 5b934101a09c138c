"""The rows of a report: each tensor of the reference, what became of it in the target, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from workbench.compare.engine import Engine, Found
from workbench.compare.match import Matching, is_computed, values_of
from workbench.compare.metrics import Metrics
from workbench.compare.side import Walk
from workbench.compare.tolerance import Allowance, Tolerance, judge
from workbench.document import Layer
from workbench.hub import Emitter, dims_of, dtype_name, layers_of
from workbench.hub.evaluate import RANDOM
from workbench.lowering import join_bounds

if TYPE_CHECKING:
    from workbench.model import Model

Status = Literal["ok", "failing", "unmatched", "skipped"]
Blame = Literal["", "own", "inherited"]


@dataclass(frozen=True)
class Row:
    """One tensor of the reference in the target.

    Attributes:
        index: place of the row in the reference's topological order.
        layers: the reference's layers that make the tensor; empty for an input.
        target_layers: the target's layers that stand for them.
        tensor: its name in the reference; ``target_tensor`` in the target, ``""`` where it has none.
        operator: the reference's operator, as its format calls it.
        shape: of the tensor in the last sample; ``None`` if it was not seen.
        dtype: in the reference.
        status: ``ok``, ``failing``, ``unmatched`` (no counterpart) or ``skipped`` (not comparable).
        reason: why it is not ok.
        blame: of a failing row: ``own`` if its layer makes an error from the right inputs, ``inherited`` if the error
            came in through them.
        output: whether it is an output of the reference.
        evidence: how the counterpart is known (``provenance``, ``name``, ``numbers``, ``place``).
        rivals: other tensors of the reference that hold the same numbers, where those are the evidence.
        accumulated: the difference when both models run from the same inputs.
        isolated: the difference when the target's layer is fed the reference's tensors.
        allowance: what it was measured against.
        approximate: the bound that the conversion has declared for the layers that make it; ``""`` where it is exact.
    """

    index: int
    layers: tuple[str, ...]
    target_layers: tuple[str, ...]
    tensor: str
    target_tensor: str
    operator: str
    shape: tuple[int, ...] | None
    dtype: str
    status: Status
    reason: str = ""
    blame: Blame = ""
    output: bool = False
    evidence: str = ""
    accumulated: Metrics | None = None
    isolated: Metrics | None = None
    allowance: Allowance | None = None
    approximate: str = ""
    rivals: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        """The layers in one text; the tensor where there are none."""
        return ", ".join(self.layers) or self.tensor

    @property
    def remark(self) -> str:
        """Why it is not ok, and what the conversion has declared about it beforehand."""
        declared = f"declared approximate: {self.approximate}" if self.approximate else ""
        joint = ", but " if self.status == "failing" else "; "
        return joint.join(filter(None, (self.reason, declared)))


def make_rows(
    reference: Model,
    target: Model,
    matching: Matching,
    engine: Engine,
    found: Mapping[str, Found],
    tolerance: Tolerance,
) -> tuple[Row, ...]:
    """Judge what the engine found, and add the tensors that have no counterpart."""
    maker = _RowMaker(reference, target, matching, engine, tolerance)
    rows: list[Row] = []
    by_reference: dict[str, list[Found]] = {}
    for item in found.values():
        by_reference.setdefault(item.pair.reference, []).append(item)
    variable = _variable(reference.graph.graph)
    named = {spec.name: layer for layer in reference.layers for spec in layer.outputs}
    for name, value in values_of(reference.graph).items():
        if name in by_reference:
            rows.append(_as_one([maker.measured(len(rows), item, named.get(name)) for item in by_reference[name]]))
        if name not in by_reference and name in named and name in variable and is_computed(value):
            rows.append(maker.unmatched(len(rows), value, named[name]))
    return tuple(rows)


def _as_one(rows: list[Row]) -> Row:
    """The row of a tensor that the target holds several times: the one that speaks against it, else its output's."""
    order = ("ok", "unmatched", "skipped", "failing")
    chosen = max(rows, key=lambda row: (order.index(row.status), row.blame == "own", row.output))
    layers = dict.fromkeys(name for row in rows for name in row.target_layers)
    return replace(chosen, target_layers=tuple(layers), output=any(row.output for row in rows))


def _variable(graph: ir.Graph) -> set[str]:
    """Tensors that depend on the graph's inputs (or on chance); the others are constants, however they are written."""
    found = {value.name or "" for value in graph.inputs}
    for node in graph:
        if node.op_type in RANDOM or any(value.name in found for value in Emitter.reads(node)):
            found.update(value.name for value in node.outputs if value.name)
    return found


class _RowMaker:
    def __init__(
        self, reference: Model, target: Model, matching: Matching, engine: Engine, tolerance: Tolerance
    ) -> None:
        self.reference, self.target = reference, target
        self.matching, self.engine, self.tolerance = matching, engine, tolerance
        self.half = any("float16" in model.document.precision_note() for model in (reference, target))
        self.somewhere_half = self.half or any(map(_has_half, (reference.graph, target.graph)))
        self.paired = {pair.target for pair in matching.pairs}
        self.paired_references = {pair.reference for pair in matching.pairs}
        self.outputs = {spec.name for spec in reference.document.outputs}
        self.operators = {layer.name: layer.operator for layer in reference.layers}
        self.carriers: dict[str, list[str]] = {}
        for own, layers in matching.layers.items():
            for layer in layers:
                self.carriers.setdefault(layer, []).append(own)

    def measured(self, index: int, found: Found, layer: Layer | None) -> Row:
        """The row of a matched pair."""
        pair = found.pair
        value = self.engine.reference.values[pair.reference]
        layers = (layer.name,) if layer is not None else _layers(value)
        allowance = self._allowance(found, layers)
        metrics = found.accumulated.finish(), found.isolated.finish()
        status, reason, blame = _verdict(found, metrics, allowance)
        if blame == "own":
            reason += self._together(pair.reference, layers)
        return Row(
            index=index,
            layers=layers,
            target_layers=_layers(self.engine.target.values[pair.target]),
            tensor=pair.reference,
            target_tensor=pair.target,
            operator=self._operator(layers, value),
            shape=found.shape,
            dtype=found.dtype or dtype_name(value.dtype),
            status=status,
            reason=reason,
            blame=blame,
            output=pair.output,
            evidence=pair.evidence,
            accumulated=metrics[0],
            isolated=metrics[1],
            allowance=allowance,
            approximate=self._declared(pair.reference, layers),
            rivals=pair.rivals,
        )

    def unmatched(self, index: int, value: ir.Value, layer: Layer) -> Row:
        """The row of a tensor without a counterpart."""
        carriers = self.carriers.get(layer.name, [])
        if layer.name in self.matching.folded:
            reason = "folded into a constant by the conversion"
        elif carriers:
            reason = f"computed inside {', '.join(carriers[:3])}" + (" …" if len(carriers) > 3 else "")
        elif self.matching.layers:
            reason = "no layer of the target stands for it"
        else:
            reason = "no tensor of the target is known to hold it"
        shape = dims_of(value)
        static = shape is not None and all(isinstance(dim, int) for dim in shape)
        return Row(
            index=index,
            layers=(layer.name,),
            target_layers=tuple(carriers),
            tensor=value.name or "",
            target_tensor="",
            operator=layer.operator,
            shape=tuple(int(str(dim)) for dim in shape) if static and shape is not None else None,
            dtype=dtype_name(value.dtype),
            status="unmatched",
            reason=reason,
            output=value.name in self.outputs,
            approximate=self.matching.approximate.get(layer.name, ""),
        )

    def _declared(self, tensor: str, layers: tuple[str, ...]) -> str:
        """The declared bounds of the layers that are compared in this row."""
        nodes, _ = self.engine.reference.region(tensor, self.paired_references)
        names = dict.fromkeys((*layers, *(name for node in nodes for name in layers_of(node))))
        return join_bounds(self.matching.approximate.get(name, "") for name in names)

    def _together(self, tensor: str, layers: tuple[str, ...]) -> str:
        """A remark on the layers above that have no counterpart of their own: any of them may be the culprit."""
        nodes, _ = self.engine.reference.region(tensor, self.paired_references)
        others = dict.fromkeys(name for node in nodes for name in layers_of(node) if name not in layers)
        if not others:
            return ""
        return f"; compared together with {', '.join(list(others)[-3:])}" + (" …" if len(others) > 3 else "")

    def _operator(self, layers: tuple[str, ...], value: ir.Value) -> str:
        node = value.producer()
        if node is None:
            return "input" if value.is_graph_input() else "constant"
        return next((self.operators[name] for name in layers if name in self.operators), node.op_type)

    def _allowance(self, found: Found, layers: tuple[str, ...]) -> Allowance:
        pair = found.pair
        nodes, above = self.engine.target.region(pair.target, self.paired)
        own, _ = self.engine.reference.region(pair.reference, self.paired_references)
        operators = [_label(node) for node in (*nodes, *own)]
        half = self.half or any(_is_half(value) for node in (*nodes, *own) for value in (*node.inputs, *node.outputs))
        names = (*operators, *layers, pair.reference)
        peak = self._peak(above)
        isolated = self.tolerance.isolated(operators, half, names, peak)
        accumulated = self.tolerance.accumulated(operators, self.somewhere_half, names, peak)
        return Allowance(isolated[0], accumulated[0], isolated[1], accumulated[1])

    def _peak(self, names: set[str]) -> float:
        """The largest value among matched tensors (as the reference has them) and inputs."""
        items = [self.engine.found[name] for name in names if name in self.engine.found]
        peaks = [max(item.accumulated.peak, item.isolated.peak) for item in items]
        return max([*peaks, *(self.engine.input_peaks.get(name, 0.0) for name in names)], default=0.0)


def _verdict(
    found: Found, metrics: tuple[Metrics | None, Metrics | None], allowance: Allowance
) -> tuple[Status, str, Blame]:
    if found.random:
        return "skipped", f"it depends on random numbers ({found.random})", ""
    if found.misfit or found.isolated_misfit:
        misfit = found.misfit or found.isolated_misfit
        comparable = misfit.startswith(("shape", "dtype", "rank"))
        return ("failing", misfit, "own" if found.isolated_misfit else "") if comparable else ("skipped", misfit, "")
    accumulated, isolated = metrics
    if isolated is not None:
        reason = judge(isolated, allowance.isolated, allowance.isolated_floor)
        if reason:
            return "failing", f"makes an error: {reason}", "own"
    if accumulated is not None:
        reason = judge(accumulated, allowance.accumulated, allowance.accumulated_floor)
        if reason and isolated is not None:
            return "failing", f"inherits an error: {reason}", "inherited"
        if reason:
            return "failing", reason, ""
    if accumulated is None and isolated is None:
        return "skipped", "it was not computed", ""
    return "ok", "", ""


def _layers(value: ir.Value) -> tuple[str, ...]:
    node = value.producer()
    return layers_of(node) if node is not None else ()


def _label(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _is_half(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _has_half(model: ir.Model) -> bool:
    return any(_is_half(value) for node in model.graph for value in (*node.inputs, *node.outputs))


def known_names(walk: Walk) -> set[str]:
    """Operators, layers and tensors that a tolerance can be given for."""
    layers = {name for node in walk.nodes for name in layers_of(node)}
    return {_label(node) for node in walk.nodes} | layers | set(walk.values)
