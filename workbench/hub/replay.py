"""Replaying a graph node by node into an emitter, with everything that follows from what is known done on the way.

Sequences and optionals are no values of the emitted graph as long as it is known what they hold: they are followed as
:class:`Items` and :class:`Option`, and the operators that build and read them vanish. Control flow that is decided
beforehand vanishes as well. What cannot be resolved is emitted as it stands.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

# The one part of onnx-ir that clones a single node with values of an outer graph; it has no public name in 1.1.
from onnx_ir._cloner import Cloner

from workbench.errors import ModelError, WorkbenchError
from workbench.hub.emitter import Emitter, needed_nodes
from workbench.hub.infer import check_node
from workbench.hub.stamps import layers_of, stamp_refusal
from workbench.hub.values import subgraphs
from workbench.lowering import CONTRADICTIONS, Refused, contradiction

Array = np.ndarray[Any, Any]

DEEPEST = 24
"""Subgraphs within subgraphs that are followed; what people write is three or four deep."""


@dataclass(frozen=True)
class Control:
    """What becomes of control flow that a target is given.

    Attributes:
        unrolled: nodes that one loop may be written out into; a longer one stays a loop.
        longest: the same for a loop that cannot stay one (the shape of its state changes, say).
        kept: whether the target has branches and loops of its own. If not, both branches are computed and what the
            condition does not mean is dropped.
    """

    unrolled: int
    longest: int
    kept: bool


@dataclass(frozen=True, eq=False)
class Items:
    """What a sequence holds; ``dtype`` is that of its tensors, where it is known."""

    values: tuple[ir.Value, ...]
    dtype: ir.DataType | None = None


@dataclass(frozen=True, eq=False)
class Option:
    """What an optional holds; ``type`` says what it could hold."""

    content: ir.Value | Items | None
    type: ir.TypeProtocol | None = None


Held = ir.Value | Items | Option
"""What a value of the old graph is in the new one."""

Resolver = Callable[[ir.Node, "Replay"], bool]
"""Binds what the node's outputs are; ``False``, with nothing emitted, if that is not known beforehand. It raises
:class:`Refused`, likewise with nothing emitted, where no target of this kind can be given the node."""

RESOLVERS: dict[str, Resolver] = {}
"""By operator of the default domain."""

AnyResolver = TypeVar("AnyResolver", bound=Resolver)


def resolves(*operators: str) -> Callable[[AnyResolver], AnyResolver]:
    """Register the decorated function for the operators."""

    def register(function: AnyResolver) -> AnyResolver:
        for operator in operators:
            if operator in RESOLVERS:
                raise ValueError(f"{operator} is resolved twice")
            RESOLVERS[operator] = function
        return function

    return register


class Replay:
    """Replays nodes into the emitter.

    Attributes:
        values: old value → new value, of tensors.
        held: old value → what is known of it, of sequences and optionals.
        control: what becomes of control flow; ``None`` leaves all of it, but branches that are known, as it is.
        depth: how many subgraphs deep the replay is.
        each: what is done with each node of a graph, those of subgraphs included; replays it, unless told otherwise.
    """

    def __init__(self, emitter: Emitter, control: Control | None = None) -> None:
        self.emitter = emitter
        self.control = control
        self.values: dict[ir.Value, ir.Value] = {}
        self.held: dict[ir.Value, Items | Option] = {}
        self.depth = 0
        self.each: Callable[[ir.Node, Replay], None] = lambda node, replay: replay.node(node)

    # -- replaying ----------------------------------------------------------------------------------------------

    def graph(self, graph: ir.Graph) -> None:
        """Replay a graph whose inputs are bound."""
        for value in graph.initializers.values():
            if value not in self.values and value.const_value is not None:
                self.values[value] = self.emitter.tensor(value.const_value, value.name)
        for node in graph:
            try:
                with self.emitter.layer(layers_of(node) or self.emitter.layers):
                    self.each(node, self)
            except WorkbenchError:  # one of them is a ValueError
                raise
            except CONTRADICTIONS as error:
                raise ModelError(f"onnx {node.op_type} {node.name!r}: {contradiction(error)}.") from error

    def node(self, node: ir.Node) -> None:
        """Replay one node."""
        resolver = None if node.domain else RESOLVERS.get(node.op_type)
        begin, refusal = len(self.emitter.nodes), None
        try:
            if resolver is not None and resolver(node, self):
                return self._name(node, begin)
        except Refused as refused:
            refusal = refused
        for value in Emitter.reads(node):
            if value in self.held:
                self.tensor(value)
        cloner = Cloner(attr_map={}, value_map=dict(self.values), metadata_props={}, allow_outer_scope_values=True)
        clone = cloner.clone_node(node) if next(subgraphs(node), None) is not None else self._copy(node)
        self.values.update(zip(node.outputs, self.emitter.add(clone), strict=True))
        if refusal is not None:
            stamp_refusal(clone, refusal)
        return None

    def inline(self, graph: ir.Graph, inputs: Sequence[Held] = ()) -> list[Held]:
        """Replay a subgraph in place; what its outputs are.

        Raises:
            Refused: it lies deeper in others than control flow is followed.
        """
        if self.depth >= DEEPEST:
            raise Refused(f"control flow is followed {DEEPEST} levels deep, there are more")
        for value, held in zip(graph.inputs, inputs, strict=True):
            self.bind(value, held)
        self.depth += 1
        try:
            self.graph(graph)
        finally:
            self.depth -= 1
        return [self.look_up(value) for value in graph.outputs]

    def child(self, name: str) -> Replay:
        """A replay into a subgraph, which may read everything that is known here."""
        made = copy.copy(self)
        made.emitter = self.emitter.child(name)
        made.values, made.held = dict(self.values), dict(self.held)
        return made

    def attempt(self) -> Callable[[], None]:
        """From here on everything can be undone by calling the result."""
        mark, values, held = self.emitter.mark(), dict(self.values), dict(self.held)

        def undo() -> None:
            self.emitter.reset(mark)
            self.values, self.held = dict(values), dict(held)

        return undo

    def finish(self, original: ir.Model) -> ir.Model:
        """The model of what was replayed and is needed; outputs have the names that they have in the original."""
        outputs = [self.tensor(value) for value in original.graph.outputs]
        self.emitter.nodes = needed_nodes(self.emitter.nodes, outputs)
        named = [
            value if value in self.emitter.inputs else self.emitter.rename(value, output.name or "")
            for value, output in zip(outputs, original.graph.outputs, strict=True)
        ]
        return self.emitter.finish(named, original.metadata_props)

    # -- values -------------------------------------------------------------------------------------------------

    def look_up(self, value: ir.Value | None) -> Held:
        """What an old value is; an omitted one is an empty optional."""
        if value is None or not value.name:
            return Option(None)
        return self.held[value] if value in self.held else self.values.get(value, value)

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of an old value, if it is known."""
        held = self.look_up(value)
        return self.emitter.known(held) if isinstance(held, ir.Value) else None

    def bind(self, value: ir.Value, held: Held) -> None:
        """Say what an old value is."""
        self.values.pop(value, None)
        self.held.pop(value, None)
        if isinstance(held, ir.Value):
            self.values[value] = held
        else:
            self.held[value] = held

    def bind_outputs(self, node: ir.Node, results: Sequence[Held]) -> None:
        """Say what a node's outputs are.

        Raises:
            ModelError: the node has another number of outputs.
        """
        if len(results) != len(node.outputs):
            raise ModelError(
                f"onnx {node.op_type} {node.name!r}: it has {len(node.outputs)} outputs, "
                f"its graph makes {len(results)}."
            )
        for value, held in zip(node.outputs, results, strict=True):
            self.bind(value, held)

    def tensor(self, value: ir.Value) -> ir.Value:
        """The new value; a sequence or optional that a node or the interface needs as such is made one."""
        if value not in self.values and value in self.held:
            self.values[value] = self._made(self.held[value])
        return self.values.get(value, value)

    # -- inside -------------------------------------------------------------------------------------------------

    def _name(self, node: ir.Node, begin: int) -> None:
        """A tensor that was made in the place of a node takes the name of the output that it is."""
        fresh = set(self.emitter.nodes[begin:])
        for value in node.outputs:
            found = self.values.get(value)
            if found is not None and value.name and found.producer() in fresh:
                self.emitter.suggest(found, value.name)

    def _made(self, held: Held) -> ir.Value:
        if isinstance(held, ir.Value):
            return held
        if isinstance(held, Items):
            if held.values:
                return self.emitter.op("SequenceConstruct", *held.values)
            return self.emitter.op("SequenceEmpty", dtype=held.dtype.value if held.dtype is not None else None)
        if held.content is not None:
            return self.emitter.op("Optional", self._made(held.content))
        shape = ir.Shape([]) if held.type is None else None
        kind = held.type if held.type is not None else ir.TensorType(ir.DataType.FLOAT)
        return self.emitter.op("Optional", type=ir.AttrTypeProto("type", ir.TypeAndShape(kind, shape)))

    def _copy(self, node: ir.Node) -> ir.Node:
        """A node without subgraphs; what is declared of its outputs stays, in case nothing better is inferred."""
        outputs = [
            ir.Value(name=old.name, type=old.type, shape=old.shape.copy() if old.shape is not None else None)
            for old in node.outputs
        ]
        inputs = [None if value is None else self.values.get(value, value) for value in node.inputs]
        return ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), overload=node.overload,
            outputs=outputs, name=node.name, metadata_props=dict(node.metadata_props),
        )  # fmt: skip


def every_node(graph: ir.Graph | Sequence[ir.Node]) -> Iterator[ir.Node]:
    """The nodes, and those of their subgraphs at any depth."""
    for node in graph:
        yield node
        for inner in subgraphs(node):
            yield from every_node(inner)


@resolves("Constant")
def constant(node: ir.Node, replay: Replay) -> bool:
    """A Constant node becomes an initializer (https://onnx.ai/onnx/operators/onnx__Constant.html)."""
    check_node(node)
    if len(node.attributes) != 1:
        raise ModelError(f"onnx Constant {node.name!r}: it has {len(node.attributes)} values; it takes exactly one.")
    replay.values[node.outputs[0]] = replay.emitter.tensor(_constant_tensor(node), node.outputs[0].name)
    return True


def _constant_tensor(node: ir.Node) -> ir.TensorProtocol:
    name, attribute = next(iter(node.attributes.items()))
    if name == "value":
        return attribute.as_tensor()
    if name in ("value_string", "value_strings"):
        items = [attribute.as_string()] if name == "value_string" else list(attribute.as_strings())
        encoded = [item.encode() for item in items]
        return ir.StringTensor(encoded, shape=ir.Shape([] if name == "value_string" else [len(items)]))
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return ir.tensor(np.asarray(attribute.value, dtype=kinds[name]))
