"""From what the engine found out to rows: what each tensor may differ by, whether it does, and who makes the error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.compare.engine import Engine, Found
from workbench.compare.match import Matching, is_computed, values_of
from workbench.compare.metrics import Metrics
from workbench.compare.noise import Noise, noise_of
from workbench.compare.rows import Blame, Row, Status
from workbench.compare.side import Walk
from workbench.compare.tolerance import Allowance, Tolerance, judge
from workbench.document import Layer
from workbench.hub import Emitter, dims_of, dtype_name, layers_of
from workbench.hub.evaluate import RANDOM
from workbench.lowering import join_bounds
from workbench.recorded import OPERATORS

if TYPE_CHECKING:
    from workbench.model import Model


def make_rows(
    reference: Model,
    target: Model,
    matching: Matching,
    engine: Engine,
    found: Mapping[str, Found],
    tolerance: Tolerance,
) -> tuple[Row, ...]:
    """Judge what the engine found, and add the tensors that have no counterpart."""
    maker = _RowMaker(reference, target, matching, engine, found, tolerance)
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
        self,
        reference: Model,
        target: Model,
        matching: Matching,
        engine: Engine,
        found: Mapping[str, Found],
        tolerance: Tolerance,
    ) -> None:
        self.reference, self.target = reference, target
        self.matching, self.engine, self.tolerance = matching, engine, tolerance
        self.half = any("float16" in model.document.precision_note() for model in (reference, target))
        self.somewhere_half = self.half or any(map(_has_half, (reference.graph, target.graph)))
        self.metrics = {name: (item.accumulated.finish(), item.isolated.finish()) for name, item in found.items()}
        self.noise = _noise(engine)
        self.paired = {pair.target for pair in matching.pairs}
        self.counterparts = {**dict(matching.inputs), **{pair.reference: pair.target for pair in matching.pairs}}
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
        noise = self.noise.get(pair.reference)
        allowance, above = self._allowance(found, layers, noise)
        metrics = self.metrics[pair.target]
        status, reason, blame = _verdict(found, metrics, allowance)
        if status == "ok" and noise is not None:
            reason = _explained(metrics, self._allowance(found, layers, None)[0])
        inherited, amplification = self._inherited(found, metrics[0], above)
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
            noise=noise,
            inherited=inherited,
            amplification=amplification,
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

    def _allowance(self, found: Found, layers: tuple[str, ...], noise: Noise | None) -> tuple[Allowance, set[str]]:
        """What the tensor may differ by, and the matched tensors and inputs above it in the target."""
        pair = found.pair
        nodes, above = self.engine.target.region(pair.target, self.paired)
        own, read = self.engine.reference.region(pair.reference, self.paired_references)
        if not self.target.document.computes:  # a recording does not know what its tensors were made of
            above = {target for name, target in self.counterparts.items() if name in read}
        operators = [label for node in (*nodes, *own) for label in _labels(node)]
        half = self.half or any(_is_half(value) for node in (*nodes, *own) for value in (*node.inputs, *node.outputs))
        names = (*operators, *layers, pair.reference)
        peak = self._peak(above)
        expected = noise or Noise()
        isolated = self.tolerance.isolated(operators, half, names, peak, expected.isolated)
        accumulated = self.tolerance.accumulated(operators, self.somewhere_half, names, peak, expected.accumulated)
        return Allowance(isolated[0], accumulated[0], isolated[1], accumulated[1]), above

    def _inherited(self, found: Found, metrics: Metrics | None, above: set[str]) -> tuple[float | None, float | None]:
        """What came in through the inputs (relative L2), and how much larger it is than the largest error there."""
        if metrics is None or metrics.mismatches is not None or not found.isolated.samples or not metrics.rms:
            return None, None
        inherited = math.sqrt(found.carried / metrics.size) / metrics.rms
        errors = [self.metrics[name][0] for name in above if name in self.metrics]
        largest = max((item.error for item in errors if item is not None), default=0.0)
        return inherited, inherited / largest if largest and math.isfinite(largest) else None

    def _peak(self, names: set[str]) -> float:
        """The largest value among matched tensors (as the reference has them) and inputs."""
        items = [self.engine.found[name] for name in names if name in self.engine.found]
        peaks = [max(item.accumulated.peak, item.isolated.peak) for item in items]
        return max([*peaks, *(self.engine.input_peaks.get(name, 0.0) for name in names)], default=0.0)


def _noise(engine: Engine) -> dict[str, Noise]:
    """Tensor of the reference → what the target's precision explains of its difference."""
    if engine.noise is None:
        return {}
    found = engine.noise.found.values()
    return {item.pair.reference: noise_of(item.accumulated.finish(), item.isolated.finish()) for item in found}


def _explained(metrics: tuple[Metrics | None, Metrics | None], allowance: Allowance) -> str:
    """Why a row is ok that would not be if nothing were known about the noise of its precision."""
    accumulated, isolated = metrics
    reasons = [
        judge(isolated, allowance.isolated, allowance.isolated_floor) if isolated is not None else "",
        judge(accumulated, allowance.accumulated, allowance.accumulated_floor) if accumulated is not None else "",
    ]
    reason = next(filter(None, reasons), "")
    return f"float16 explains it: {reason}, as the reference has when it is rounded alike" if reason else ""


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


def _labels(node: ir.Node) -> list[str]:
    """The node's operator; of a recorded tensor those that it was made with."""
    recorded = node.metadata_props.get(OPERATORS)
    return [_label(node)] if recorded is None else recorded.split()


def _is_half(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _has_half(model: ir.Model) -> bool:
    return any(_is_half(value) for node in model.graph for value in (*node.inputs, *node.outputs))


def known_names(walk: Walk) -> set[str]:
    """Operators, layers and tensors that a tolerance can be given for."""
    layers = {name for node in walk.nodes for name in layers_of(node)}
    return {_label(node) for node in walk.nodes} | layers | set(walk.values)
