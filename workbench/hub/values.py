"""Small readings of onnx-ir values: specs, dtypes, constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Dim, TensorSpec
from workbench.errors import ModelError

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_PLAIN = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
    ir.DataType.UNDEFINED: "undefined",
}
_BY_NAME = {
    "float32": ir.DataType.FLOAT,
    "float64": ir.DataType.DOUBLE,
    "undefined": ir.DataType.UNDEFINED,
}


def dtype_name(dtype: ir.DataType | None) -> str:
    """numpy's name of the dtype, or onnx's in lower case where numpy has none."""
    return _PLAIN.get(dtype, dtype.name.lower()) if dtype is not None else "undefined"


def dtype_named(name: str) -> ir.DataType:
    """The inverse of :func:`dtype_name`.

    Raises:
        ModelError: there is no such dtype.
    """
    found = _BY_NAME.get(name) or ir.DataType.__members__.get(name.upper())
    if found is None:
        raise ModelError(f"a tensor of dtype {name!r} is not known in the hub.")
    return found


def dtype_of(array: np.ndarray[Any, Any]) -> str:
    """The array's dtype as specs name it (numpy writes float8_e5m2 where they have float8e5m2)."""
    try:
        return dtype_name(ir.DataType.from_numpy(array.dtype))
    except TypeError:
        return str(array.dtype.name)


def dims_of(value: ir.Value) -> tuple[Dim, ...] | None:
    """The value's shape: ints, names of dynamic dimensions, ``None`` for unknown ones; ``None`` without a rank."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def spec_of(value: ir.Value) -> TensorSpec:
    """Name, dtype and shape of the value as far as they are known."""
    return TensorSpec(value.name or "", dtype_name(value.dtype), dims_of(value))


def set_type(value: ir.Value, dtype: str, shape: Iterable[Dim] | None) -> ir.Value:
    """Give the value a tensor type; returns the value."""
    value.type = ir.TensorType(dtype_named(dtype))
    value.shape = None if shape is None else ir.Shape(tuple(shape))
    return value


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs in a node's attributes (the branches of an If, the body of a Loop)."""
    attributes = node.attributes.data  # the dictionary inside: its wrapper's values() are ten times slower
    for attribute in attributes.values():
        if attribute.type not in _GRAPHS or attribute.is_ref():  # a function's parameter: the graph is the caller's
            continue
        if attribute.type is ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        else:
            yield from attribute.as_graphs()


def has_subgraph(node: ir.Node) -> bool:
    """Whether the node is control flow."""
    return next(subgraphs(node), None) is not None


def is_constant(value: ir.Value | None) -> bool:
    """Whether :func:`constant_of` has an array for the value, which is not read for it."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def constant_of(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The array of an initializer or constant; ``None`` if the value is computed, fed or omitted."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()
