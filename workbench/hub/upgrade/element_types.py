"""Element types of values that the model does not declare, followed back through onnx's schemas."""

from __future__ import annotations

import onnx_ir as ir

from workbench.hub.opset import schema_of

_BODIES = {"If": ("then_branch", 0), "Loop": ("body", 1), "Scan": ("body", 0)}
"""Operator → the graph that makes its outputs, and how many that graph makes before them."""


def element_type(value: ir.Value) -> ir.DataType | None:
    """The value's element type: declared, or the one that its producer's schema says it shares with an input.

    ``None`` if neither tells, for instance below an untyped subgraph input or a custom operator.
    """
    current: ir.Value | None = value
    seen: set[ir.Value] = set()
    while current is not None and current not in seen:
        seen.add(current)
        if isinstance(current.type, ir.TensorType) and current.type.dtype is not ir.DataType.UNDEFINED:
            return current.type.dtype
        if current.const_value is not None:
            return current.const_value.dtype
        found = _from_producer(current)
        if isinstance(found, ir.DataType):
            return found
        current = found
    return None


def _from_producer(value: ir.Value) -> ir.DataType | ir.Value | None:
    """The element type that the producer fixes, or the input that has the same one."""
    node, index = value.producer(), value.index()
    if node is None or index is None or node.domain:
        return None
    if node.op_type == "Cast":
        target = node.attributes.get("to")
        numbers = {int(dtype): dtype for dtype in ir.DataType}
        return numbers.get(target.as_int()) if target is not None and target.type is ir.AttributeType.INT else None
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.dtype
    if node.op_type in _BODIES:
        name, before = _BODIES[node.op_type]
        body = node.attributes.get(name)
        made = body.as_graph().outputs if body is not None and body.type is ir.AttributeType.GRAPH else ()
        return made[index + before] if index + before < len(made) else None
    schema = schema_of(node.op_type)
    if schema is None or not schema.outputs:
        return None
    formal = schema.outputs[min(index, len(schema.outputs) - 1)]
    if not formal.is_homogeneous:
        return None
    if formal.type_str.startswith("tensor("):
        return _named(formal.type_str[len("tensor(") : -1])
    for position, given in enumerate(node.inputs):
        declared = schema.inputs[min(position, len(schema.inputs) - 1)]
        if given is not None and declared.type_str == formal.type_str and declared.is_homogeneous:
            return given
    return None


def _named(name: str) -> ir.DataType | None:
    """``float`` → FLOAT, ``int64`` → INT64."""
    return ir.DataType[name.upper()] if name.upper() in ir.DataType.__members__ else None
