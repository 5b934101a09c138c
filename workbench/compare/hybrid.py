"""The target with some of its layers computed as the reference computes them, as one graph.

Before: two matched hub graphs. After: the target's graph, in which the chosen tensors are made by the reference's nodes
out of the target's own tensors, brought into the reference's layout and dtype and back. What came in wrong stays wrong;
only the error that these layers make is gone. Between two layers that are both chosen nothing is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.match import Pair, values_of
from workbench.compare.recompute import Source
from workbench.compare.side import Walk
from workbench.executors import constant_tensor
from workbench.hub import dims_of, subgraphs
from workbench.hub.half import BEYOND, LARGEST

PREFIX = "reference//"
"""Begins the names of what comes from the reference."""

Kind = tuple[ir.DataType, tuple[int, ...]]
"""A tensor's dtype and shape."""


@dataclass(frozen=True)
class Hybrid:
    """The graph, and the reference's inputs that it takes beside the target's."""

    graph: ir.Model
    inputs: Mapping[str, str]
    """Own input → the reference's."""


class Splicer:
    """Makes hybrids of the two models of a report; what it learns of their tensors' types is kept.

    Args:
        source: the models.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.walk = Walk(source.reference.graph, [pair.reference for pair in source.pairs.values()], "")
        self.references = {pair.reference for pair in source.pairs.values()}
        self.counterparts: dict[str, str] = {}
        for pair in source.pairs.values():
            self.counterparts.setdefault(pair.reference, pair.target)
        self._kinds: tuple[dict[str, Kind], dict[str, Kind]] = {}, {}

    def splice(self, chosen: Sequence[str]) -> Hybrid:
        """The target with these of its tensors made by the reference's nodes.

        Raises:
            ExecutionError: a model cannot be run up to a tensor whose type has to be known.
        """
        pairs = [self.source.pairs[name] for name in chosen]
        wanted, border = self._cut(pairs)
        self._learn(pairs, border)
        target, reference = self.source.target.graph.clone(), self.source.reference.graph.clone()
        spliced = [node for index, node in enumerate(reference.graph) if index in wanted]
        made = {value.name or "": value for node in spliced for value in node.outputs}
        given, own = values_of(reference), values_of(target)
        reference.graph.outputs.clear()
        add, inputs = _Adder(), {}
        for name in sorted(border - set(made)):
            if name in self.counterparts:
                pair = self.source.pairs[self.counterparts[name]]
                held = self._from_target(add, pair, own[pair.target])
            else:
                held = ir.Value(name=f"{PREFIX}{name}", type=given[name].type, shape=given[name].shape)
                target.graph.inputs.append(held)
                inputs[f"{PREFIX}{name}"] = name
            given[name].replace_all_uses_with(held)
            made[name] = held
        _move(reference.graph, spliced)
        for pair in pairs:
            result = made.get(pair.reference, given[pair.reference])
            _replace(add, own[pair.target], self._to_target(add, pair, result))
        target.graph.extend([*spliced, *add.nodes])
        target.graph.sort()
        return Hybrid(target, inputs)

    def _cut(self, pairs: Iterable[Pair]) -> tuple[set[int], set[str]]:
        """Places of the reference's nodes that make the tensors of these pairs, and the tensors that they read."""
        wanted: set[int] = set()
        border: set[str] = set()
        for pair in pairs:
            nodes, above = self.walk.region(pair.reference, self.references)
            wanted.update(self.walk.index[node] for node in nodes)
            border.update(above)
            if pair.reference in self.walk.inputs:
                border.add(pair.reference)
        return wanted, border

    # -- types ----------------------------------------------------------------------------------------------------

    def _learn(self, pairs: Iterable[Pair], border: Iterable[str]) -> None:
        """Find out the types of everything that is converted: from the graphs, else by running the models."""
        references = {pair.reference for pair in pairs} | (set(border) & self.references)
        names = references, {self.counterparts[name] for name in references} | {pair.target for pair in pairs}
        graphs = self.source.reference.graph, self.source.target.graph
        runs: tuple[Callable[[list[str]], dict[str, Any]], ...] = self.source.run_reference, self.source.run_target
        for kinds, graph, wanted, run in zip(self._kinds, graphs, names, runs, strict=True):
            values = values_of(graph)
            for name in wanted - set(kinds):
                kind = _stated(values[name])
                if kind is not None:
                    kinds[name] = kind
            for name, array in run(sorted(wanted - set(kinds))).items():
                kinds[name] = ir.DataType.from_numpy(array.dtype), array.shape

    # -- layouts --------------------------------------------------------------------------------------------------

    def _from_target(self, add: _Adder, pair: Pair, value: ir.Value) -> ir.Value:
        """The target's tensor as the reference holds it."""
        dtype, shape = self._kinds[0][pair.reference]
        held = add.transposed(value, pair.target_perm)
        held = add.reshaped(held, self._kinds[1][pair.target][1], pair.target_perm, shape, pair.reference_perm)
        return add.cast(add.transposed(held, _inverse(pair.reference_perm)), self._kinds[1][pair.target][0], dtype)

    def _to_target(self, add: _Adder, pair: Pair, value: ir.Value) -> ir.Value:
        """The reference's tensor as the target holds it."""
        dtype, shape = self._kinds[1][pair.target]
        held = add.transposed(value, pair.reference_perm)
        held = add.reshaped(held, self._kinds[0][pair.reference][1], pair.reference_perm, shape, pair.target_perm)
        return add.cast(add.transposed(held, _inverse(pair.target_perm)), self._kinds[0][pair.reference][0], dtype)


class _Adder:
    """Makes the nodes that convert between the two models."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def op(self, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """A node with one output."""
        node = ir.node(operator, list(inputs), attributes)
        node.name = node.outputs[0].name = f"{PREFIX}{operator}_{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def const(self, array: Any) -> ir.Value:
        """A constant."""
        node = ir.node("Constant", [], {"value": ir.tensor(np.asarray(array))})
        node.name = node.outputs[0].name = f"{PREFIX}Constant_{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def transposed(self, value: ir.Value, perm: Sequence[int] | None) -> ir.Value:
        """The value with its axes permuted, if they are to be."""
        return value if perm is None else self.op("Transpose", value, perm=list(perm))

    def reshaped(
        self,
        value: ir.Value,
        shape: Sequence[int],
        perm: Sequence[int] | None,
        other: Sequence[int],
        other_perm: Sequence[int] | None,
    ) -> ir.Value:
        """A permuted value in the shape that the other one has after its permutation."""
        given, wanted = (
            [size[axis] for axis in axes] if axes is not None else list(size)
            for size, axes in ((shape, perm), (other, other_perm))
        )
        return value if given == wanted else self.op("Reshape", value, self.const(np.asarray(wanted, np.int64)))

    def cast(self, value: ir.Value, given: ir.DataType, wanted: ir.DataType) -> ir.Value:
        """The value in another dtype; on the way to float16 bounds become its largest number, as when converting."""
        if given is wanted:
            return value
        if wanted is ir.DataType.FLOAT16 and given in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            number = given.numpy()
            size = self.op("Abs", value)
            bound = self.op("GreaterOrEqual", size, self.const(np.asarray(BEYOND, number)))
            finite = self.op("Less", size, self.const(np.asarray(math.inf, number)))
            limits = [self.const(np.asarray(limit, number)) for limit in (-LARGEST, LARGEST)]
            value = self.op("Where", self.op("And", bound, finite), self.op("Clip", value, *limits), value)
        return self.op("Cast", value, to=wanted.value)


def _move(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Take nodes out of the reference's graph, their names marked as from there, with the constants that they read."""
    constants: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        inner = list(_inside(node))
        own = {item for item in inner if isinstance(item, ir.Value)}
        for owner in (node, *(item for item in inner if isinstance(item, ir.Node))):
            for index, value in enumerate(owner.inputs):
                tensor = None if value is None else constant_tensor(value)
                if value is not None and value not in own and tensor is not None:
                    if value not in constants:
                        constants[value] = _constant(f"{PREFIX}{value.name}", tensor)
                    owner.replace_input_with(index, constants[value])
        for named in (node, *node.outputs, *inner):
            if named.name and not named.name.startswith(PREFIX):
                named.name = f"{PREFIX}{named.name}"
    graph.remove(nodes)


def _inside(node: ir.Node) -> Iterator[ir.Node | ir.Value]:
    """What is declared in the subgraphs of a node, at any depth."""
    for graph in subgraphs(node):
        yield from (*graph.inputs, *graph.initializers.values())
        for inner in graph:
            yield inner
            yield from inner.outputs
            yield from _inside(inner)


def _constant(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    return ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.shape.numpy()),
        const_value=tensor,
    )


def _replace(add: _Adder, value: ir.Value, fresh: ir.Value) -> None:
    """Let everything that reads a value read another one, which takes over its name."""
    fresh = add.op("Identity", fresh)  # one of its own, also where the reference's is an input or has a name already
    name = value.name
    value.replace_all_uses_with(fresh, replace_graph_outputs=True)
    value.name = f"{name}//own"
    fresh.name = name


def _stated(value: ir.Value) -> Kind | None:
    """What the hub knows of a tensor, if it is everything."""
    dims = dims_of(value)
    if value.dtype is None or dims is None or not all(isinstance(dim, int) for dim in dims):
        return None
    return value.dtype, tuple(dim for dim in dims if isinstance(dim, int))


def _inverse(perm: Sequence[int] | None) -> list[int] | None:
    return None if perm is None else [int(axis) for axis in np.argsort(perm)]
