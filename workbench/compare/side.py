"""One of the two models while it is being walked: its nodes, and the tensors that are still needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.match import values_of
from workbench.errors import ExecutionError
from workbench.executors import Fragment, constant_tensor
from workbench.executors.fragment import type_of
from workbench.hub import Emitter


class Walk:
    """The nodes of a hub graph that a comparison needs, in topological order.

    Args:
        model: the hub graph.
        wanted: names of the tensors that shall be computed.
        subject: for messages.
    """

    def __init__(self, model: ir.Model, wanted: Iterable[str], subject: str) -> None:
        self.values = values_of(model)
        self.subject = subject
        self.inputs = [value.name or "" for value in model.graph.inputs]
        order = {node: index for index, node in enumerate(model.graph)}
        self.index = order
        self.reads: dict[ir.Node, tuple[str, ...]] = {}
        live: set[ir.Node] = set()
        pending = [maker_of(self.values[name]) for name in wanted]
        while pending:
            node = pending.pop()
            if node is None or node in live or node not in order:
                continue
            live.add(node)
            sources = {value for value in Emitter.reads(node) if value.name and self.values.get(value.name) is value}
            self.reads[node] = tuple(sorted(value.name or "" for value in sources))
            pending += [maker_of(value) for value in sources]
        self.nodes = sorted(live, key=order.__getitem__)

    def uses(self) -> Counter[str]:
        """How many nodes read each tensor."""
        return Counter(name for node in self.nodes for name in self.reads[node])

    def downstream(self, operators: frozenset[str]) -> dict[str, str]:
        """Tensors that depend on a node of one of these operators → that node, for people."""
        found: dict[str, str] = {}
        for node in self.nodes:
            cause = next((found[name] for name in self.reads[node] if name in found), None)
            if node.op_type in operators and not node.domain:
                cause = f"{node.op_type} {node.name!r}"
            if cause is not None:
                found.update((value.name, cause) for value in node.outputs if value.name)
        return found

    def demand(self, names: Iterable[str], done: set[ir.Node]) -> list[ir.Node]:
        """The nodes that are still to be run for the tensors, in order."""
        found: set[ir.Node] = set()
        pending = [maker_of(self.values[name]) for name in names]
        while pending:
            node = pending.pop()
            if node is None or node in done or node in found or node not in self.reads:
                continue
            found.add(node)
            pending += [maker_of(self.values[name]) for name in self.reads[node]]
        return sorted(found, key=self.index.__getitem__)

    def region(self, name: str, stops: set[str]) -> tuple[list[ir.Node], set[str]]:
        """The nodes between a tensor and the nearest ``stops`` above it, and those stops (inputs among them)."""
        found: set[ir.Node] = set()
        met: set[str] = set()
        pending = [maker_of(self.values[name])]
        while pending:
            node = pending.pop()
            if node is None or node in found:
                continue
            found.add(node)
            for source in self.reads.get(node, ()):
                if source in stops or source in self.inputs:
                    met.add(source)
                else:
                    pending.append(maker_of(self.values[source]))
        return sorted(found, key=self.index.__getitem__), met


def maker_of(value: ir.Value) -> ir.Node | None:
    """The node that computes the value; ``None`` for inputs and constants, however those are written."""
    return None if constant_tensor(value) is not None else value.producer()


class Store:
    """Tensors of one run, for a few samples at once, each freed after its last use.

    Args:
        uses: how often each tensor will be used.
        samples: how many samples it holds.
        walk: whose constants it hands out.
    """

    def __init__(self, walk: Walk, uses: Mapping[str, int], samples: int) -> None:
        self.walk = walk
        self.samples = samples
        self.bytes = 0
        self._left = Counter(uses)
        self._held: dict[str, list[Any]] = {}
        self._kept: set[str] = set()

    def keep(self, feeds: Sequence[Mapping[str, Any]]) -> None:
        """Hold the model's inputs until the end."""
        for name in feeds[0]:
            self._held[name] = [sample[name] for sample in feeds]
            self._kept.add(name)

    def outlives(self, name: str, nodes: Sequence[ir.Node]) -> bool:
        """Whether anybody but these nodes will still use the tensor."""
        return self._left[name] > sum(name in self.walk.reads[node] for node in nodes)

    def put(self, sample: int, tensors: Mapping[str, Any]) -> int:
        """Hold tensors of one sample; returns their size in bytes."""
        size = sum(_nbytes(value) for value in tensors.values())
        for name, value in tensors.items():
            self._held.setdefault(name, [None] * self.samples)[sample] = value
        self.bytes += size
        return size

    def get(self, name: str, sample: int) -> Any:
        """The tensor (or constant) of one sample; ``None`` if it is not there."""
        held = self._held.get(name)
        return constant_array(self.walk.values[name]) if held is None else held[sample]

    def types(self, nodes: Sequence[ir.Node]) -> dict[str, Any]:
        """Types of what the nodes read that the hub does not know, from the tensors themselves."""
        names = {name for node in nodes for name in self.walk.reads[node] if self.walk.values[name].type is None}
        held = {name: self.get(name, 0) for name in names}
        return {name: type_of(array) for name, array in held.items() if isinstance(array, np.ndarray)}

    def spend(self, names: Iterable[str]) -> None:
        """Note one use of each; what has no use left is freed."""
        for name in names:
            self._left[name] -= 1
            if self._left[name] <= 0 and name not in self._kept:
                self.bytes -= sum(map(_nbytes, self._held.pop(name, ())))


def constant_array(value: ir.Value) -> Any:
    """The array of a constant; ``None`` if the value is computed."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def _nbytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return sum(map(_nbytes, value)) if isinstance(value, list) else 0


def fragment(walk: Walk, nodes: Sequence[ir.Node], outputs: Sequence[str], threads: int, **options: Any) -> Fragment:
    """The nodes as a session.

    Raises:
        ExecutionError: naming the model and the nodes.
    """
    try:
        return Fragment(nodes, outputs, threads=threads, **options)
    except ExecutionError as error:
        raise ExecutionError(f"{walk.subject}, {_names(nodes)}: {error}") from error.__cause__


def run_fragment(walk: Walk, nodes: Sequence[ir.Node], runner: Fragment, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """One run of it.

    Raises:
        ExecutionError: naming the model and the nodes.
    """
    try:
        return runner.run(feeds)
    except ExecutionError as error:
        raise ExecutionError(f"{walk.subject}, {_names(nodes)}: {error}") from error.__cause__


def _names(nodes: Sequence[ir.Node]) -> str:
    names = [f"{node.op_type} {node.name!r}" for node in nodes]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
