"""Type and shape inference of a single node, by onnx's own inference functions, after our checks.

onnx infers a whole graph in native code that aborts the process on some malformed nodes. One node at a time, with
its arity and attributes checked against the schema first, keeps those out and gives the lowerings types as they emit.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.hub.opset import IR_VERSION, OPSET, schema_of
from workbench.hub.values import has_subgraph

if TYPE_CHECKING:
    import onnx

_LIKE_THEIR_INPUT = frozenset({"GroupNormalization", "MeanVarianceNormalization"})
"""Operators that onnx defines by a function body and gives no inference of their own."""

SMALL = 4096
"""Elements up to which a constant input is shown to the inference (shapes, axes, pads are never larger)."""


def check_node(node: ir.Node, opset: int = OPSET) -> None:
    """Check arity, attribute names and attribute types against the schema at the opset.

    Raises:
        ModelError: the node contradicts its operator's schema.
    """
    schema = schema_of(node.op_type, node.domain, opset)
    if schema is None:
        return
    where = f"onnx {node.op_type}-{schema.since_version} {node.name!r}"
    given = len(node.inputs)
    if not schema.min_input <= given <= schema.max_input:
        raise ModelError(f"{where}: {given} inputs, the operator takes {schema.min_input} to {schema.max_input}.")
    if not schema.min_output <= len(node.outputs) <= schema.max_output:
        raise ModelError(
            f"{where}: {len(node.outputs)} outputs, the operator makes {schema.min_output} to {schema.max_output}."
        )
    for name, attribute in node.attributes.items():
        declared = schema.attributes.get(name)
        if declared is None:
            raise ModelError(f"{where}: unknown attribute {name!r}; the operator has {sorted(schema.attributes)}.")
        expected = ir.AttributeType(int(declared.type))  # type: ignore[call-overload]  # an IntEnum, typed otherwise
        if not attribute.is_ref() and attribute.type is not expected:
            raise ModelError(f"{where}: attribute {name!r} is a {attribute.type.name}, expected {expected.name}.")
    for name, declared in schema.attributes.items():
        if declared.required and name not in node.attributes:
            raise ModelError(f"{where}: the required attribute {name!r} is missing.")
    if node.op_type == "Split" and not node.domain:
        _check_split(node, where)
    if node.op_type == "Einsum" and not node.domain:
        _check_einsum(node, where)


def _check_split(node: ir.Node, where: str) -> None:
    """More outputs than ``num_outputs`` abort onnx's inference; a huge count exhausts the memory."""
    count = node.attributes.get("num_outputs")
    if count is not None and count.as_int() != len(node.outputs):
        raise ModelError(f"{where}: num_outputs is {count.as_int()} but the node has {len(node.outputs)} outputs.")


_TERM = r"[A-Za-z]*(\.\.\.)?[A-Za-z]*"
_EQUATION = re.compile(rf"{_TERM}(,{_TERM})*(->{_TERM})?")


def _check_einsum(node: ir.Node, where: str) -> None:
    """Of an equation with other characters onnx's inference never comes back."""
    equation = node.attributes["equation"]
    text = "" if equation.is_ref() else equation.value
    if not isinstance(text, str) or not _EQUATION.fullmatch("".join(text.split(" "))):
        raise ModelError(f"{where}: the equation {str(text)[:80]!r} is none: letters, '...', commas and one '->'.")


def _check_window(node: ir.Node) -> None:
    """A filter of another rank than the data, of which onnx's inference says nothing at all."""
    data, filters = node.inputs[0], node.inputs[1]
    if data is None or filters is None or data.shape is None or filters.shape is None:
        return
    if len(data.shape) != len(filters.shape) or len(data.shape) < 3:
        raise ModelError(
            f"onnx {node.op_type} {node.name!r}: its inputs do not fit together: the data is of rank "
            f"{len(data.shape)}, the filter of rank {len(filters.shape)}."
        )


def infer_node(node: ir.Node, known: Mapping[ir.Value, np.ndarray[Any, Any]] | None = None, opset: int = OPSET) -> None:
    """Set type and shape of the node's outputs from those of its inputs, as far as they follow.

    Args:
        node: a node whose inputs carry types; subgraph operators and unknown operators are left as they are.
        known: values of inputs beyond those that are constants already.
        opset: of the default domain.

    Raises:
        ModelError: the node contradicts its schema or its inputs' types.
    """
    import onnx

    check_node(node, opset)
    schema = schema_of(node.op_type, node.domain, opset)
    if schema is None or has_subgraph(node):
        return
    if node.op_type in ("Conv", "ConvTranspose") and not node.domain:
        _check_window(node)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=node.name or "")
    for index, value in enumerate(node.inputs):
        proto.input.append("" if value is None else f"i{index}")
        if value is None:
            continue
        if value.type is None:
            return  # nothing follows from an input of unknown type
        types[f"i{index}"] = _type_proto(value)
        array = (known or {}).get(value)
        if array is None and value.const_value is not None and value.const_value.size <= SMALL:
            array = value.const_value.numpy()
        if array is not None and array.size <= SMALL and array.dtype.kind in "biuf":
            # ascontiguousarray makes a vector of a scalar
            if node.op_type == "Range" and array.size == 1:  # onnx's own bodies have vectors of one; runtimes take them
                array = array.reshape(())
            data[f"i{index}"] = onnx.numpy_helper.from_array(np.asarray(array, order="C"), f"i{index}")
    proto.output.extend("" if value.name == "" else f"o{index}" for index, value in enumerate(node.outputs))
    proto.attribute.extend(ir.serde.serialize_attribute(attribute) for attribute in _plain(node))
    try:
        inferred = onnx.shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=_opset_imports(opset), ir_version=IR_VERSION
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        label = f"onnx {node.op_type}-{schema.since_version} {node.name!r}"
        raise ModelError(f"{label}: its inputs do not fit together: {_first_line(error)}.") from error
    if node.op_type in _LIKE_THEIR_INPUT and not node.domain:
        inferred = {"o0": types["i0"]}
    for index, value in enumerate(node.outputs):
        found = inferred.get(f"o{index}")
        if found is not None and found.WhichOneof("value") is not None:
            _adopt(value, found)


def _plain(node: ir.Node) -> list[ir.Attr]:
    return [attribute for attribute in node.attributes.values() if not attribute.is_ref()]


def _adopt(value: ir.Value, proto: onnx.TypeProto) -> None:
    """Take over the inferred type; a shape that is already more exact is kept."""
    value.type = ir.serde.deserialize_type_proto_for_type(proto)
    shape = ir.serde.deserialize_type_proto_for_shape(proto)
    if shape is None:
        return
    if value.shape is None or len(value.shape) != len(shape):
        value.shape = shape
        return
    value.shape = ir.Shape(
        [
            new if isinstance(new, int) or new.value is not None else old
            for new, old in zip(shape, value.shape, strict=True)
        ]
    )


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    import onnx

    if isinstance(value.type, ir.TensorType):
        shape = None
        if value.shape is not None:
            shape = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
        return onnx.helper.make_tensor_type_proto(value.type.dtype.value, shape)
    proto: onnx.TypeProto = ir.serde.serialize_value(value).type
    return proto


@functools.lru_cache(maxsize=64)
def _opset_imports(opset: int) -> list[onnx.OperatorSetIdProto]:
    import onnx

    return [onnx.helper.make_opsetid("", opset)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".") if str(error).strip() else type(error).__name__
