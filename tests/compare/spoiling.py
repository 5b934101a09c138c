"""Converted models with a fault in them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.executors import OnnxRuntimeExecutor, constant_tensor
from workbench.model import Model

Array = np.ndarray[Any, Any]
LEAST = 3e-3
"""Relative L2 that a fault has to cause at its node in float32; in float16 three times that: less is no fault there."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: what is done.
        signatures: kinds of signature that name it rightly.
        inject: yields, for each place where it can be done in a graph, a function that does it and returns the node.
        setting: what the reference needs first, by name.
        half: whether it is one of float16 models only.
    """

    name: str
    signatures: tuple[str, ...]
    inject: Callable[[Graph], Iterator[Callable[[], ir.Node]]]
    setting: str = ""
    half: bool = False


def registry(faults: list[Fault]) -> Callable[..., Callable[[Any], Any]]:
    """A decorator that puts what injects a fault into a list, with the other parts of a :class:`Fault`."""

    def fault(name: str, *signatures: str, setting: str = "", half: bool = False) -> Callable[[Any], Any]:
        def register(inject: Any) -> Any:
            faults.append(Fault(name, signatures, inject, setting, half))
            return inject

        return register

    return fault


class Graph:
    """A copy of a converted model's hub graph that is being spoilt.

    Args:
        model: the healthy converted model.
        peaks: tensor → (largest magnitude, shape) on the sample, of its float tensors.
    """

    def __init__(self, model: Model, peaks: Mapping[str, tuple[float, tuple[int, ...]]]) -> None:
        self.model = model
        self.copy = model.graph.clone()
        self.graph = self.copy.graph
        self.peaks = peaks

    def nodes(self, *operators: str) -> list[ir.Node]:
        return [node for node in self.graph if node.op_type in operators and not node.domain]

    def computed(self, rank: int = 1) -> Iterator[ir.Node]:
        """Nodes that make one float tensor of the inputs, with elements enough to tell faults apart."""
        fed: set[ir.Value | None] = set(self.graph.inputs)
        for node in self.graph:
            if fed.isdisjoint(node.inputs):
                continue
            fed.update(node.outputs)
            value = node.outputs[0]
            known = self.peaks.get(value.name or "")
            if node.op_type in ("Cast", "Constant") or known is None or len(node.outputs) != 1:
                continue
            if len(known[1]) >= rank and int(np.prod(known[1])) >= 32 and known[0] > 0:
                yield node

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        known = self.peaks.get(value.name or "") if value is not None else None
        return known[1] if known is not None else ()

    def array(self, node: ir.Node, index: int) -> Array | None:
        value = node.inputs[index] if index < len(node.inputs) else None
        tensor = constant_tensor(value) if value is not None else None
        return tensor.numpy() if tensor is not None else None

    def constant(self, array: Array, hint: str) -> ir.Value:
        value = ir.Value(name=f"{hint}/spoilt")
        value.const_value = ir.tensor(np.ascontiguousarray(array))
        value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(array.shape)
        self.graph.register_initializer(value)
        return value

    def give(self, node: ir.Node, index: int, array: Array) -> ir.Node:
        """Replace a constant of one node."""
        old = node.inputs[index]
        assert old is not None
        node.replace_input_with(index, self.constant(array.astype(old.dtype.numpy()), f"{node.name}_{index}"))
        return node

    def scalar(self, like: ir.Value, number: float, hint: str) -> ir.Value:
        return self.constant(np.asarray(number, like.dtype.numpy()), hint)

    def before(self, node: ir.Node, index: int, *steps: tuple[str, Sequence[Any], Mapping[str, Any]]) -> ir.Node:
        """Put nodes between a node and one of its inputs: (operator, further inputs, attributes) each."""
        source = node.inputs[index]
        assert source is not None
        made = source
        for place, (operator, more, attributes) in enumerate(steps):
            attrs = [ir.convenience.convert_attribute(key, item) for key, item in attributes.items()]
            step = ir.Node("", operator, [made, *more], attrs, num_outputs=1, name=f"{node.name}/before_{place}")
            step.outputs[0].name = f"{node.name}/before_{place}"
            step.outputs[0].type = ir.TensorType(source.dtype)
            step.metadata_props.update(node.metadata_props)
            self.graph.insert_before(node, (step,))
            made = step.outputs[0]
        node.replace_input_with(index, made)
        return node

    def after(self, node: ir.Node, *steps: tuple[str, Sequence[Any], Mapping[str, Any]]) -> ir.Node:
        """Put nodes behind a node: (operator, further inputs, attributes) each; the last takes over the name."""
        value = node.outputs[0]
        name = value.name or ""
        made: list[ir.Node] = []
        for index, (operator, more, attributes) in enumerate(steps):
            source = made[-1].outputs[0] if made else value
            attrs = [ir.convenience.convert_attribute(key, item) for key, item in attributes.items()]
            step = ir.Node("", operator, [source, *more], attrs, num_outputs=1, name=f"{name}/spoilt_{index}")
            step.outputs[0].name = f"{name}/spoilt_{index}"
            step.outputs[0].type = ir.TensorType(value.dtype)
            step.metadata_props.update(node.metadata_props)
            made.append(step)
        value.name = f"{name}/healthy"
        value.replace_all_uses_with(made[-1].outputs[0], replace_graph_outputs=True)
        made[0].replace_input_with(0, value)
        made[-1].outputs[0].name, made[-1].outputs[0].shape = name, value.shape
        self.graph.insert_after(node, made)
        return made[-1]


def weights(g: Graph) -> Iterator[tuple[ir.Node, Array]]:
    for node in g.nodes("Conv", "MatMul", "Gemm"):
        weight = g.array(node, 1)
        if weight is not None and weight.ndim >= 2 and weight.size >= 16:
            yield node, weight


def set_attribute(node: ir.Node, name: str, value: Any) -> ir.Node:
    node.attributes[name] = ir.convenience.convert_attribute(name, value)
    return node


def replace_by(node: ir.Node, operator: str, attributes: Mapping[str, Any]) -> ir.Node:
    """Make the node another operator of its first input."""
    node.op_type = operator
    node.attributes.clear()
    node.resize_inputs(1)
    for name, value in attributes.items():
        set_attribute(node, name, value)
    return node


def ints(node: ir.Node, name: str) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else []


def spoil(model: Model, feeds: Mapping[str, Array], fault: Fault, seed: int) -> tuple[Model, str] | None:
    """The converted model with the fault, and the name of the faulty node; ``None`` where it has no place for it.

    Args:
        feeds: a sample; the fault is put where it shows on it.
        seed: which of the places is taken.
    """
    healthy = tapped(model, feeds)
    peaks = {
        name: (float(np.abs(array.astype(np.float64)).max()), array.shape)
        for name, array in healthy.items()
        if array.dtype.kind == "f" and array.size and np.isfinite(array).all()
    }
    count = sum(1 for _ in fault.inject(Graph(model, peaks)))
    half = "float16" in model.document.precision_note()
    for place in np.random.default_rng(seed).permutation(count)[:8]:
        graph = Graph(model, peaks)
        node = next(itertools.islice(fault.inject(graph), int(place), None))()
        spoilt = _with_graph(model, graph.copy)
        if fault.half or _shows(spoilt, feeds, node, healthy, 3 * LEAST if half else LEAST):
            return spoilt, node.name or ""
    return None


def tapped(model: Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All tensors of the hub graph on the sample."""
    names = [value.name for node in model.graph.graph for value in node.outputs if value.name]
    with OnnxRuntimeExecutor(model.graph, model.name) as executor:
        found = executor.run(model.adapt_feeds(feeds), names)
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _with_graph(model: Model, graph: ir.Model) -> Model:
    document = copy.copy(model.document)
    document.hub = lambda: graph  # type: ignore[method-assign]
    return Model(document)


def _shows(model: Model, feeds: Mapping[str, Array], node: ir.Node, healthy: Mapping[str, Array], least: float) -> bool:
    name = node.outputs[0].name or ""
    with OnnxRuntimeExecutor(model.graph, model.name) as executor:
        found = executor.run(model.adapt_feeds(feeds), [name])[name].astype(np.float64)
    expected = healthy[name].astype(np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return True
    return float(np.linalg.norm(found - expected)) > least * float(np.linalg.norm(expected))
