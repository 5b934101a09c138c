"""Emulated float16: the model in float32, every tensor rounded to float16 where a float16 target would round it.

Before: a hub graph. After: each float32 result passes through a cast to float16 and back, each float32 constant holds
float16 values. Rounding and overflow are those of a target that stores every tensor in float16 and computes each
operator in at least float32, which is what Core ML's float16 programs promise at best.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub import layers_of, stamp
from workbench.hub.half import from_half, to_half

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def round_to_half(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float32 array with float16's values, as :func:`workbench.hub.half.to_half` has them."""
    return from_half(to_half(array))


def half_name(tensor: str) -> str:
    """The name of the float16 tensor that a rounded tensor of a copy passes through."""
    return f"{tensor}/half"


def with_half_precision(model: ir.Model, keep: Collection[str] = ()) -> ir.Model:
    """A copy of the hub graph that rounds as a float16 target does.

    Args:
        model: a hub graph; it is not changed.
        keep: names of layers that stay in float32; their results and the constants that only they read are not rounded.

    Returns:
        A hub graph with the same inputs, outputs, tensor names and stamps. The rounded tensor has the original name.
    """
    kept = set(keep)
    halved = [node for node in model.graph if not kept & set(layers_of(node))]
    return with_rounded(model, {value.name for node in halved for value in node.outputs if value.name})


def with_rounded(model: ir.Model, tensors: Collection[str]) -> ir.Model:
    """A copy of the hub graph in which the named tensors are rounded to float16, and the constants of their nodes.

    Args:
        model: a hub graph; it is not changed.
        tensors: names of inputs and of what nodes make; those that are not float32 stay as they are.

    Returns:
        As of :func:`with_half_precision`; a rounded tensor's float16 form is called :func:`half_name`. The exact
        form of an input keeps its name (its readers see it rounded). Weights are rounded when they are looked at.
    """
    copy = model.clone()
    graph = copy.graph
    makers = [node for node in graph if any(value.name in tensors for value in node.outputs)]
    read = {value for node in makers for value in node.inputs if value is not None and value.dtype is _FLOAT}
    for value in read:
        if value.is_initializer() and not value.is_graph_input() and value.const_value is not None:
            value.const_value = _rounded_constant(value.const_value)
    for value in [value for value in graph.inputs if value.dtype is _FLOAT and value.name in tensors]:
        _round_input(graph, value)
    constants = [node for node in graph if node.op_type == "Constant" and not read.isdisjoint(node.outputs)]
    for node in dict.fromkeys((*makers, *constants)):
        for value in node.outputs:
            if value.dtype is _FLOAT and (value.name in tensors or node.op_type == "Constant"):
                _round(graph, node, value)
    return copy


def _rounded_constant(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The constant in float16's values; a large one is rounded when it is read, so that it is held once."""
    if tensor.size <= 1024:
        return ir.tensor(round_to_half(tensor.numpy()), name=tensor.name)
    return _Rounded(tensor)


class _Rounded(ir.LazyTensor):
    """A constant in float16's values, which are shared for as long as somebody has them."""

    __slots__ = ("_array", "exact")

    def __init__(self, exact: ir.TensorProtocol) -> None:
        super().__init__(self._round, dtype=_FLOAT, shape=ir.Shape(exact.shape.numpy()), name=exact.name)
        self.exact = exact
        self._array: weakref.ref[np.ndarray[Any, Any]] | None = None

    def _round(self) -> ir.TensorProtocol:
        array = None if self._array is None else self._array()
        if array is None:
            array = round_to_half(self.exact.numpy())
            self._array = weakref.ref(array)
        return ir.Tensor(array, dtype=_FLOAT, name=self.name)


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let the value's readers see it through float16; the rounded one takes over the name."""
    name = value.name or ""
    value.name = f"{name}/exact"
    casts = _casts(value, name)
    rounded = casts[1].outputs[0]
    value.replace_all_uses_with(rounded, replace_graph_outputs=True)
    casts[0].replace_input_with(0, value)  # the cast itself reads the exact value
    rounded.name = name
    graph.insert_after(node, casts)
    for inserted in casts:
        stamp(inserted, layers_of(node))


def _round_input(graph: ir.Graph, value: ir.Value) -> None:
    """Let the readers of an input see it through float16; the input itself stays what it is."""
    casts = _casts(value, value.name or "")
    rounded = casts[1].outputs[0]
    rounded.name = f"{value.name}/rounded"
    value.replace_all_uses_with(rounded)
    casts[0].replace_input_with(0, value)
    first = next(iter(graph), None)
    if first is not None:
        graph.insert_before(first, casts)


def _casts(value: ir.Value, name: str) -> tuple[ir.Node, ir.Node]:
    """To float16 and back."""
    half = ir.Node("", "Cast", [value], [ir.AttrInt64("to", _HALF.value)], num_outputs=1, name=half_name(name))
    back = ir.Node(
        "", "Cast", [half.outputs[0]], [ir.AttrInt64("to", _FLOAT.value)], num_outputs=1, name=f"{name}/float"
    )
    half.outputs[0].name = half_name(name)
    half.outputs[0].type, half.outputs[0].shape = ir.TensorType(_HALF), value.shape
    back.outputs[0].type, back.outputs[0].shape = ir.TensorType(_FLOAT), value.shape
    return half, back
