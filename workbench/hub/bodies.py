"""Operators that onnx defines by a function body, said in the operators of the body.

Before: a specialised graph. After: a node that the target does not know but onnx gives a body for (Attention,
RotaryEmbedding, the losses) is replaced by its body, specialised in its turn; every node of it carries the stamps of
the node it came from, and its outputs have their names. Everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.errors import ExecutionError, ModelError
from workbench.hub.emitter import Emitter
from workbench.hub.opset import OPSET, schema_of
from workbench.hub.specialize import Replay, Specialized
from workbench.hub.stamps import layers_of
from workbench.hub.values import dims_of, dtype_name

if TYPE_CHECKING:
    import onnx


def expand_bodies(hub: Specialized, known: Callable[[ir.Node], bool]) -> Specialized:
    """Replace the nodes that are not ``known`` by their bodies, where onnx has one that fits."""
    graph = hub.model.graph
    if all(known(node) or _body(node, node.inputs) is None for node in graph):
        return hub
    emitter = Emitter(graph.name or "model", fold=True)
    replay = Replay(emitter)
    for value in graph.inputs:
        replay.values[value] = emitter.input(value.name or "", dtype_name(value.dtype), dims_of(value))
    for value in graph.initializers.values():
        if value.const_value is not None:
            replay.values[value] = emitter.tensor(value.const_value, value.name)
    for node in graph:
        _replay(node, replay, known)
    expanded = replay.finish(hub.model)
    before, after = ({layer for node in nodes for layer in layers_of(node)} for nodes in (graph, emitter.nodes))
    folded = (*hub.folded, *sorted(before - after))
    return Specialized(expanded, folded)


def _replay(node: ir.Node, replay: Replay, known: Callable[[ir.Node], bool]) -> None:
    """The node itself, or its body; a body may hold nodes that have a body.

    A body that does not fit (onnx's own are not all free of mistakes) leaves the node as it is.
    """
    inputs = [None if value is None else replay.values.get(value, value) for value in node.inputs]
    body = None if known(node) else _body(node, inputs)
    with replay.emitter.layer(layers_of(node)):
        if body is not None:
            try:
                return _inline(node, body, replay, known)
            except (ModelError, ExecutionError):
                pass  # what it has emitted is dead
        replay.node(node)
    return None


def _inline(node: ir.Node, body: ir.Graph, replay: Replay, known: Callable[[ir.Node], bool]) -> None:
    for inner, outer in zip(body.inputs, (value for value in node.inputs if value is not None), strict=True):
        replay.values[inner] = replay.values[outer]
    for step in body:
        step.metadata_props.update(node.metadata_props)
        _replay(step, replay, known)
    for outer, inner in zip((value for value in node.outputs if value.name), body.outputs, strict=True):
        replay.values[outer] = replay.emitter.rename(replay.values[inner], outer.name or "")


def has_body(node: ir.Node) -> bool:
    """Whether onnx defines the operator by others (which need not fit this node)."""
    schema: Any = schema_of(node.op_type, node.domain)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def _body(node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Graph | None:
    """The node's body as a graph: its inputs and outputs are those that the node has, its attributes are the node's.

    ``None`` if onnx has none, or one whose operators have changed since it was written.

    Args:
        inputs: the node's inputs as far as their types are known.
    """
    schema: Any = schema_of(node.op_type, node.domain)
    if not has_body(node):
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
    data = schema.get_context_dependent_function_with_opset_version(
        version, ir.serde.serialize_node(node).SerializeToString(), types
    )
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
