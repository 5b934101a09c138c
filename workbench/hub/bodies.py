"""Operators said in others: by a composition of ours, or by the function body that onnx defines them with.

Before: a specialised graph. After: a node that the target does not know but that has a composition (the losses, the
products of integers, onnxruntime's own operators) or a body (Attention, RotaryEmbedding) is replaced by it, specialised
in its turn; every node of it carries the stamps of the node it came from, and its outputs have their names. Everything
else is as it was, but that a node whose composition refuses is stamped with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.errors import ExecutionError, ModelError
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.hub.opset import OPSET, schema_of, since_version
from workbench.hub.replay import Control, Replay, every_node
from workbench.hub.specialize import Specialized
from workbench.hub.stamps import layers_of, refusal_of, stamp_approximation, stamp_refusal
from workbench.hub.values import dims_of, dtype_name, has_subgraph
from workbench.lowering import Refused

if TYPE_CHECKING:
    import onnx

    from workbench.hub.compositions.table import Composition


Known = Callable[[ir.Node], bool]
"""Whether the target has the node's operator itself."""

_DEPTH = 8
"""How deep replacements may be nested; the deepest there is are three."""


def expand_bodies(hub: Specialized, known: Known) -> Specialized:
    """Replace the nodes that are not ``known`` by a composition or their body, where there is one that fits.

    Those in the bodies of control flow are replaced as well.
    """
    for _ in range(_DEPTH):
        if all(known(node) or not _replaceable(node) for node in every_node(hub.model.graph)):
            break
        hub = _expanded(hub, known)
    return hub


def _replaceable(node: ir.Node) -> bool:
    """Whether there is something to replace the node by, and it has not been tried in vain."""
    if refusal_of(node) is not None:
        return False
    return _composition(node) is not None or _body(node, node.inputs) is not None


def _expanded(hub: Specialized, known: Known) -> Specialized:
    return replayed(hub, lambda emitter: _Expansion(emitter, hub.control, known))


def replayed(hub: Specialized, replay_into: Callable[[Emitter], Replay]) -> Specialized:
    """The specialised graph, replayed node by node; what becomes constant on the way is folded."""
    graph = hub.model.graph
    emitter = Emitter(graph.name or "model", fold=True, open_shapes=hub.open_shapes)
    replay = replay_into(emitter)
    for value in graph.inputs:
        replay.values[value] = emitter.input(value.name or "", dtype_name(value.dtype), dims_of(value))
    replay.graph(graph)
    expanded = replay.finish(hub.model)
    before, after = (
        {layer for node in every_node(nodes) for layer in layers_of(node)} for nodes in (graph, emitter.nodes)
    )
    folded = (*hub.folded, *sorted(before - after))
    return replace(hub, model=expanded, folded=folded)


class _Expansion(Replay):
    """Replays nodes, or what replaces them; a body may hold nodes that are replaced in their turn.

    A body that does not fit (onnx's own are not all free of mistakes) leaves the node as it is, with the reason.
    """

    def __init__(self, emitter: Emitter, control: Control | None, known: Known) -> None:
        super().__init__(emitter, control)
        self._known = known

    def node(self, node: ir.Node) -> None:
        if self._known(node) or has_subgraph(node) or refusal_of(node) is not None or not has_body(node):
            return super().node(node)
        undo = self.attempt()
        refusal = None
        try:
            if self._replace(node):
                return None
        except Refused as refused:
            refusal = refused
        except (ModelError, ExecutionError) as error:
            refusal = Refused(f"its definition by other operators does not fit: {error}")
        undo()
        super().node(node)
        kept = next((self.values[value].producer() for value in node.outputs if value in self.values), None)
        if refusal is not None and kept is not None:
            stamp_refusal(kept, refusal)
        return None

    def _replace(self, node: ir.Node) -> bool:
        """Emit what the node is replaced by, if there is anything."""
        composition = _composition(node)
        if composition is not None:
            self._compose(node, composition)
            return True
        inputs = [None if value is None else self.values.get(value, value) for value in node.inputs]
        body = _body(node, inputs)
        if body is not None:
            self._inline_body(node, body)
        return body is not None

    def _compose(self, node: ir.Node, composition: Composition) -> None:
        found = HubNode(self._copy(node), self.emitter.open_shapes)
        with self.emitter.layer(layers_of(node) or self.emitter.layers, found.name):
            results = composition(found, self.emitter)
        if found.leftover():
            raise Refused(f"the attributes {', '.join(map(repr, found.leftover()))} are not understood")
        values = list(results) if isinstance(results, list | tuple) else [results]
        for value in values:
            producer = None if value is None else value.producer()
            if found.approximations and producer is not None:
                stamp_approximation(producer, found.approximations)
        values += [None] * (len(node.outputs) - len(values))
        for outer, inner in zip(node.outputs, values, strict=False):
            if outer.name and inner is None:
                raise Refused(f"its output {outer.name!r} is not computed in this version of the workbench")
            if outer.name:
                self.values[outer] = self.emitter.rename(inner, outer.name)

    def _inline_body(self, node: ir.Node, body: ir.Graph) -> None:
        for inner, outer in zip(body.inputs, (value for value in node.inputs if value is not None), strict=True):
            self.values[inner] = self.values[outer]
        for step in body:
            step.metadata_props.update(node.metadata_props)
            if step.op_type != "CastLike" or not self._cast(step):
                self.node(step)
        for outer, inner in zip((value for value in node.outputs if value.name), body.outputs, strict=True):
            self.values[outer] = self.emitter.rename(self.values[inner], outer.name or "")

    def _cast(self, step: ir.Node) -> bool:
        """A CastLike becomes a Cast where the dtype is known, so that what it makes of a constant is one."""
        x, like = (self.values.get(value, value) if value is not None else None for value in step.inputs)
        if x is None or like is None or like.dtype is None:
            return False
        self.values[step.outputs[0]] = self.emitter.op("Cast", x, to=like.dtype.value)
        return True


def _composition(node: ir.Node) -> Composition | None:
    from workbench.hub.compositions import compositions  # many modules, which only a conversion needs

    version = since_version(node.op_type, node.domain)
    return compositions().find(node.op_type, version, node.domain)


def has_body(node: ir.Node) -> bool:
    """Whether the operator is defined by others (which need not fit this node)."""
    return _composition(node) is not None or _has_function(node)


def _has_function(node: ir.Node) -> bool:
    schema: Any = schema_of(node.op_type, node.domain)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def _body(node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Graph | None:
    """The node's body as a graph: its inputs and outputs are those that the node has, its attributes are the node's.

    ``None`` if onnx has none, or one whose operators have changed since it was written.

    Args:
        inputs: the node's inputs as far as their types are known.
    """
    schema: Any = schema_of(node.op_type, node.domain)
    if not _has_function(node):
        return None
    function = _function(node, schema, inputs)
    if function is None or not _current(function):
        return None
    given = {
        name: attribute for name, attribute in node.attributes.items() if attribute.type is not ir.AttributeType.GRAPH
    }
    attributes = {name: ir.serde.serialize_attribute(attribute) for name, attribute in given.items()}
    for name, declared in schema.attributes.items():
        if name not in attributes and declared.default_value.type:
            attributes[name] = declared.default_value
    missing = {
        name for index, name in enumerate(function.input) if index >= len(node.inputs) or node.inputs[index] is None
    }
    _resolve(function.node, attributes, missing)
    outputs = [name for name, value in zip(function.output, node.outputs, strict=False) if value.name]
    made = {name for inner in function.node for name in inner.output}
    return _graph(function, missing, outputs) if made.issuperset(outputs) else None


def _function(node: ir.Node, schema: Any, inputs: Sequence[ir.Value | None]) -> onnx.FunctionProto | None:
    """The body from onnx's schema (whose methods its type information does not have)."""
    import onnx

    if schema.has_function:
        body: onnx.FunctionProto = schema.function_body
        return body
    types = [
        b"" if value is None else ir.serde.serialize_value(value).type.SerializeToString() for value in node.inputs
    ]
    version = max(schema.context_dependent_function_opset_versions)
    try:
        data = schema.get_context_dependent_function_with_opset_version(
            version, ir.serde.serialize_node(node).SerializeToString(), types
        )
    except ValueError:  # what it asks of the inputs' types is not known, or not so
        return None
    return onnx.FunctionProto.FromString(data) if data else None


def _current(function: onnx.FunctionProto) -> bool:
    """Whether every operator of the body is at the hub's opset what it was at the body's."""
    versions = {entry.domain: entry.version for entry in function.opset_import}
    for node in function.node:
        own = schema_of(node.op_type, node.domain, versions.get(node.domain, OPSET))
        now = schema_of(node.op_type, node.domain)
        if own is None or now is None or not _compatible(own, now, node):
            return False
    return True


def _compatible(own: onnx.defs.OpSchema, now: onnx.defs.OpSchema, node: onnx.NodeProto) -> bool:
    """The same version, or a later one that has the same inputs and the attributes that the node uses."""
    if own.since_version == now.since_version:
        return True
    if node.op_type == "Split" and len(node.input) < 2:  # needs 'num_outputs' from version 18 on
        return False
    names = [parameter.name for parameter in own.inputs]
    return (
        names == [parameter.name for parameter in now.inputs][: len(names)]
        and all(attribute.name in now.attributes for attribute in node.attribute)
        and {name: str(item.default_value) for name, item in own.attributes.items()}.items()
        <= {name: str(item.default_value) for name, item in now.attributes.items()}.items()
    )


def _resolve(nodes: Iterable[onnx.NodeProto], attributes: Mapping[str, onnx.AttributeProto], missing: set[str]) -> None:
    """Put the node's attributes in the place of references to them, and leave out inputs that it does not have."""
    for node in nodes:
        node.input[:] = ["" if name in missing else name for name in node.input]
        for attribute in list(node.attribute):
            if attribute.ref_attr_name:
                name, reference = attribute.name, attribute.ref_attr_name
                node.attribute.remove(attribute)
                if reference in attributes:
                    entry = node.attribute.add()
                    entry.CopyFrom(attributes[reference])
                    entry.name = name
            elif attribute.HasField("g"):
                _resolve(attribute.g.node, attributes, missing)


def _graph(function: onnx.FunctionProto, missing: set[str], outputs: Iterable[str]) -> ir.Graph:
    import onnx

    proto = onnx.GraphProto(name=function.name, node=function.node)
    proto.input.extend(onnx.ValueInfoProto(name=name) for name in function.input if name not in missing)
    proto.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return ir.serde.deserialize_graph(proto)
