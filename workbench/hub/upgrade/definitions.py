"""Operators that are newer than the hub: said by the function body that onnx defines them with.

Before: a model as read. After: a node of an operator that the hub's opset does not have, or of a version whose meaning
it does not have, calls a function of the model, ready to be inlined; where onnx has no body for it, it is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.hub.infer import check_node
from workbench.hub.opset import OPSET, schema_of
from workbench.hub.upgrade.newer import accept_newer
from workbench.hub.upgrade.registry import find_newer
from workbench.lowering import Refused

if TYPE_CHECKING:
    import onnx

PREVIEW = "ai.onnx.preview"
"""Domain of operators that onnx tries out; no runtime has them."""

_DOMAIN = "workbench.definitions"


def define_newer(model: ir.Model, to: int = OPSET) -> bool:
    """Give the model a function for each node that the hub cannot hold and onnx has a body for, in place.

    Args:
        model: with types of values as far as they are known: a body may depend on them.
        to: the hub's opset.

    Returns:
        Whether there are such functions.
    """
    opset = model.graph.opset_imports.get("", OPSET)
    for node in list(model.graph.all_nodes()):
        if node.domain == PREVIEW or (not node.domain and (node.version or opset) > to):
            schema = schema_of(node.op_type, node.domain, node.version or opset)
            if find_newer(node.op_type) is None and schema is not None and not _accepted(node, schema, to):
                _define(model, node, schema, opset)
    return bool(model.functions)


def type_bodies(graph: ir.Graph) -> None:
    """Give the inputs of loops' and scans' bodies the element types of what they are fed with, where they have none."""
    for node in graph.all_nodes():
        body = node.attributes.get("body")
        if node.op_type not in ("Loop", "Scan") or body is None or body.type is not ir.AttributeType.GRAPH:
            continue
        inner = body.as_graph()
        for value, outer in zip(inner.inputs, node.inputs, strict=False):
            if value.type is None and outer is not None and isinstance(outer.type, ir.TensorType):
                value.type = ir.TensorType(outer.type.dtype)


def _accepted(node: ir.Node, schema: onnx.defs.OpSchema, to: int) -> bool:
    if node.domain:
        return False
    try:
        accept_newer(node, schema, to)
    except Refused:
        return False
    return True


def _define(model: ir.Model, node: ir.Node, schema: onnx.defs.OpSchema, opset: int) -> None:
    """Turn the node into a call of its own function; operators of the body are judged by the upgrade as any others."""
    try:
        check_node(node, opset)  # onnx's own code takes a malformed node on trust
        body = _body(node, schema)
    except (ModelError, RuntimeError, ValueError):
        return
    if body is None:
        return
    function: ir.Function = ir.serde.deserialize_function(body)
    for inner in function:
        known = schema_of(inner.op_type, inner.domain, function.opset_imports.get(inner.domain, opset))
        now = schema_of(inner.op_type, inner.domain, opset)
        if known is None or now is None:
            return
    function.domain, function.name = _DOMAIN, f"{node.op_type}_{len(model.functions)}"
    function.opset_imports.clear()
    function.opset_imports[""] = opset
    model.functions[function.identifier()] = function
    model.graph.opset_imports[_DOMAIN] = 1
    referred = {
        attribute.ref_attr_name or ""
        for inner in ir.traversal.RecursiveGraphIterator(function.graph)
        for attribute in inner.attributes.values()
        if attribute.is_ref()
    }
    for name in set(node.attributes) - referred:  # the body was made for their values
        node.attributes.pop(name)
    for name in referred - set(node.attributes):
        if name in schema.attributes and schema.attributes[name].default_value.type:
            node.attributes.add(ir.serde.deserialize_attribute(schema.attributes[name].default_value))
    node.domain, node.op_type, node.version = function.domain, function.name, None


def _body(node: ir.Node, schema: Any) -> onnx.FunctionProto | None:
    """The body from onnx's schema (whose methods its type information does not have)."""
    import onnx

    body = onnx.FunctionProto()
    if schema.has_function:
        body.CopyFrom(schema.function_body)
        return body
    if not schema.has_context_dependent_function or not _typed(node.inputs):
        return None
    types = [
        b"" if value is None else ir.serde.serialize_value(value).type.SerializeToString() for value in node.inputs
    ]
    version = max(schema.context_dependent_function_opset_versions)
    serialized = ir.serde.serialize_node(node).SerializeToString()
    data = schema.get_context_dependent_function_with_opset_version(version, serialized, types)
    body.ParseFromString(data)
    return body if data else None


def _typed(values: Sequence[ir.Value | None]) -> bool:
    return all(value is None or value.type is not None for value in values)
