"""Builds hub graphs: what a ``to_onnx`` lowering emits into, and what a specialisation is replayed into.

Types and shapes are inferred as nodes are emitted, so a lowering can look at the rank of what it has just made. Small
values are followed as well (the arithmetic of shapes), so a lowering can ask for the value of a computed tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import Dim
from workbench.errors import ModelError
from workbench.hub.follow import Follower
from workbench.hub.opset import IR_VERSION, OPSET
from workbench.hub.stamps import stamp
from workbench.hub.stored import Grid, Stored
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import set_type, subgraphs

Array = np.ndarray[Any, Any]
_MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
Mark = tuple[int, int, set[str]]
Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | Array | ir.Attr


class Emitter:
    """Emits nodes in topological order; :meth:`finish` makes the hub model of them.

    Args:
        name: the graph's name.
        fold: replace every node whose inputs are all known by its value (used by the specialisation; a reader keeps
            the layers that its file has).
        open_shapes: what is known of sizes that are open, where some are.
    """

    def __init__(self, name: str, *, fold: bool = False, open_shapes: OpenShapes | None = None) -> None:
        self.name = name
        self.fold = fold
        self.open_shapes = open_shapes
        self.nodes: list[ir.Node] = []
        self.inputs: list[ir.Value] = []
        self._initializers: list[ir.Value] = []
        self._follower = Follower(fold=fold, open_shapes=open_shapes)
        self._names: set[str] = set()
        self._reserved: set[str] = set()
        self._counts: dict[str, int] = {}
        self._renamed: set[ir.Value] = set()
        self._own: set[ir.Node | None] = set()
        self._layers: tuple[str, ...] = ()
        self._hint = ""

    # -- what lowerings use -------------------------------------------------------------------------------------

    def input(self, name: str, dtype: str, shape: Iterable[Dim] | None) -> ir.Value:
        """Declare a graph input; ``dtype`` is numpy's name."""
        value = set_type(ir.Value(name=self._unique(name)), dtype, shape)
        self.inputs.append(value)
        return value

    def const(self, array: Any, dtype: str | None = None, name: str | None = None) -> ir.Value:
        """Make a constant of an array, a number or a list (float32 and int64 unless ``dtype`` says otherwise)."""
        data = np.asarray(array)
        if dtype is not None:
            data = data.astype(dtype)
        elif not isinstance(array, np.ndarray | np.generic):
            data = data.astype({"f": np.float32, "i": np.int64, "b": np.bool_}.get(data.dtype.kind, data.dtype))
        return self.tensor(ir.tensor(np.ascontiguousarray(data).reshape(data.shape)), name)

    def tensor(self, tensor: ir.TensorProtocol, name: str | None = None) -> ir.Value:
        """Make a constant of an onnx-ir tensor (an external tensor stays memory-mapped)."""
        return self._constant(tensor, self._unique(name or f"{self._hint}const"))

    def _constant(self, tensor: ir.TensorProtocol, name: str) -> ir.Value:
        value = ir.Value(name=name)
        value.type = ir.TensorType(tensor.dtype)
        value.shape = ir.Shape(tensor.shape.numpy())
        value.const_value = tensor
        self._initializers.append(value)
        return value

    def op(self, operator: str, *inputs: ir.Value | None, domain: str = "", **attributes: Attribute | None) -> ir.Value:
        """Emit a node with one output and return it. Attributes that are ``None`` are left out.

        Raises:
            ModelError: the node does not fit its operator's schema or its inputs' types.
        """
        return self.ops(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self,
        operator: str,
        *inputs: ir.Value | None,
        outputs: int | Sequence[str],
        domain: str = "",
        **attributes: Attribute | None,
    ) -> list[ir.Value]:
        """Emit a node with several outputs (a count, or names; the name ``""`` omits one)."""
        names = [None] * outputs if isinstance(outputs, int) else list(outputs)
        node = ir.Node(
            domain,
            operator,
            _without_trailing_none(inputs),
            [_attribute(key, value) for key, value in attributes.items() if value is not None],
            outputs=[ir.Value(name=name) for name in names],
        )
        return self.add(node)

    def known(self, value: ir.Value | None) -> Array | None:
        """The value's array, if it is a constant or follows from constants; else ``None``."""
        return self._follower.known(value)

    # -- what engines use ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def layer(self, layers: Iterable[str], hint: str = "") -> Iterator[None]:
        """Stamp everything emitted inside with the source layers; ``hint`` begins the names of inner values."""
        previous = self._layers, self._hint
        self._layers, self._hint = tuple(layers), f"{hint}/" if hint else ""
        try:
            yield
        finally:
            self._layers, self._hint = previous

    def add(self, node: ir.Node) -> list[ir.Value]:
        """Append a node whose inputs belong to this emitter: stamp it, infer its types, follow its value, fold it."""
        limits.check("nodes", len(self.nodes) + 1, self.name)
        for index, value in enumerate(node.outputs):
            if value.name is None:
                value.name = self._unique(f"{self._hint}{node.op_type}" + (f"_{index}" if index else ""))
            elif value.name:
                value.name = self._unique(value.name)
        node.name = node.name or node.outputs[0].name or self._unique(node.op_type)
        stamp(node, self._layers)
        results = self._follower.follow(node)
        if results is not None and self.fold:
            return [
                self._constant(self._folded(found, node), value.name) if value.name else value
                for value, found in zip(node.outputs, results, strict=True)
            ]
        self.nodes.append(node)
        self._own.add(node)
        return list(node.outputs)

    def owns(self, value: ir.Value) -> bool:
        """Whether a node that was emitted here makes the value."""
        return value.producer() in self._own

    @property
    def layers(self) -> tuple[str, ...]:
        """What is emitted now is stamped with these."""
        return self._layers

    def child(self, name: str) -> Emitter:
        """An emitter of a subgraph of a node that this one will emit; its names are taken here too."""
        made = Emitter(name, fold=self.fold, open_shapes=self.open_shapes)
        made._names, made._reserved, made._counts = self._names, self._reserved, self._counts
        made._follower = self._follower
        made._layers, made._hint = self._layers, self._hint
        return made

    def mark(self) -> Mark:
        """Where the emitter stands, for :meth:`reset`."""
        return len(self.nodes), len(self._initializers), set(self._names)

    def reset(self, mark: Mark) -> None:
        """Forget what was emitted since the mark."""
        nodes, initializers, names = mark
        del self.nodes[nodes:], self._initializers[initializers:]
        self._names.intersection_update(names)
        self._counts.clear()

    def suggest(self, value: ir.Value, name: str) -> None:
        """Give a value that has been made here the name, if that is free and the value is not :meth:`rename`'s yet."""
        free = name not in self._names and name not in self._reserved
        if free and self.owns(value) and value not in self._renamed:
            self._names.add(name)
            value.name = name

    def reserve(self, names: Iterable[str]) -> None:
        """Keep these names for :meth:`rename`: none is made up for another value."""
        self._reserved.update(names)

    def rename(self, value: ir.Value, name: str) -> ir.Value:
        """Give a value the name that the outside knows it by; an input or constant is passed through Identity.

        Raises:
            ModelError: another value has the name.
        """
        if value.name == name:
            return value
        if name in self._names:
            raise ModelError(f"{self.name}: two tensors are named {name!r}.")
        if value.producer() is None or value in self._renamed:
            value = self.op("Identity", value)
        self._names.add(name)
        self._renamed.add(value)
        value.name = name
        return value

    @staticmethod
    def reads(node: ir.Node) -> Iterator[ir.Value]:
        """Every value that the node reads, the values that its subgraphs take from outside included."""
        yield from (value for value in node.inputs if value is not None)
        for graph in subgraphs(node):  # with what they make themselves: harmless for the question asked
            yield from graph.outputs
            for inner in graph:
                yield from Emitter.reads(inner)

    def finish(self, outputs: Sequence[ir.Value], metadata: Mapping[str, str] | None = None) -> ir.Model:
        """Make the hub model; initializers that nothing reads are left out."""
        used = {value for node in self.nodes for value in self.reads(node)} | set(outputs)
        graph = ir.Graph(
            self.inputs,
            outputs,
            nodes=self.nodes,
            initializers=[value for value in self._initializers if value in used],
            opset_imports={"": OPSET, **{node.domain: 1 for node in self.nodes if node.domain}},
            name=self.name,
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="workbench", metadata_props=dict(metadata or {}))

    # -- inside -------------------------------------------------------------------------------------------------

    def _folded(self, found: Array | Grid, node: ir.Node) -> ir.TensorProtocol:
        """What a node was folded into; what stays stored as integers goes by the layers that it was made by.

        Weights that were only moved keep the name that they were trained under.
        """
        tensor: ir.TensorProtocol
        if isinstance(found, Grid):
            tensor = Stored(replace(found, layers=tuple(dict.fromkeys((*found.layers, *self._layers)))))
        else:
            tensor = ir.tensor(found)
        source = node.inputs[0] if node.op_type in _MOVES and not node.domain else None
        if source is not None and source.const_value is not None:
            tensor.name = source.const_value.name
        return tensor

    def _unique(self, name: str) -> str:
        candidate, count = name, self._counts.get(name, 0)
        while candidate in self._names or candidate in self._reserved:
            count += 1
            candidate = f"{name}_{count}"
        self._counts[name] = count
        self._names.add(candidate)
        return candidate


def needed_nodes(nodes: Iterable[ir.Node], values: Iterable[ir.Value]) -> list[ir.Node]:
    """Those of the nodes that the values depend on, in the same order."""
    live: set[ir.Node] = set()
    pending = [value.producer() for value in values]
    while pending:
        node = pending.pop()
        if node is None or node in live:
            continue
        live.add(node)
        pending += [value.producer() for value in Emitter.reads(node)]
    return [node for node in nodes if node in live]


def _without_trailing_none(inputs: Sequence[ir.Value | None]) -> list[ir.Value | None]:
    kept = list(inputs)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _attribute(name: str, value: Attribute) -> ir.Attr:
    if isinstance(value, ir.Attr):
        return value
    if isinstance(value, np.ndarray):
        return ir.AttrTensor(name, ir.tensor(value))
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return ir.AttrInt64(name, int(value))
    if isinstance(value, float | np.floating):
        return ir.AttrFloat32(name, float(value))
    if isinstance(value, str):
        return ir.AttrString(name, value)
    items: list[Any] = list(value)
    if all(isinstance(item, int | np.integer) for item in items):
        return ir.AttrInt64s(name, [int(item) for item in items])
    if all(isinstance(item, str) for item in items):
        return ir.AttrStrings(name, items)
    return ir.AttrFloat32s(name, [float(item) for item in items])
