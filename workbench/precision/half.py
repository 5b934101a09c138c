"""Emulated float16: the model in float32, every tensor rounded to float16 where a float16 target would round it.

Before: a hub graph. After: each float32 result passes through a cast to float16 and back, each float32 constant holds
float16 values. Rounding and overflow are those of a target that stores every tensor in float16 and computes each
operator in at least float32, which is what Core ML's float16 programs promise at best.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub import constant_of, layers_of, stamp
from workbench.hub.half import to_half

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def round_to_half(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float32 array with float16's values, as :func:`workbench.hub.half.to_half` has them."""
    return to_half(array).astype(np.float32)


def with_half_precision(model: ir.Model, keep: Collection[str] = ()) -> ir.Model:
    """A copy of the hub graph that rounds as a float16 target does.

    Args:
        model: a hub graph; it is not changed.
        keep: names of layers that stay in float32; their results and the constants that only they read are not rounded.

    Returns:
        A hub graph with the same inputs, outputs, tensor names and stamps. The rounded tensor has the original name.
    """
    kept = set(keep)
    copy = model.clone()
    graph = copy.graph
    for value in graph.initializers.values():
        readers = [use.node for use in value.uses()]
        if value.dtype is _FLOAT and not (readers and all(kept & set(layers_of(node)) for node in readers)):
            array = constant_of(value)
            if array is not None:
                value.const_value = ir.tensor(round_to_half(array), name=value.name)
    for node in list(graph):
        if not kept & set(layers_of(node)):
            for value in node.outputs:
                if value.dtype is _FLOAT and value.name:
                    _round(graph, node, value)
    return copy


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let the value's readers see it through float16; the rounded one takes over the name."""
    name = value.name
    value.name = f"{name}/exact"
    half = ir.Node("", "Cast", [value], [ir.AttrInt64("to", _HALF.value)], num_outputs=1, name=f"{name}/half")
    back = ir.Node(
        "", "Cast", [half.outputs[0]], [ir.AttrInt64("to", _FLOAT.value)], num_outputs=1, name=f"{name}/float"
    )
    rounded = back.outputs[0]
    half.outputs[0].name = f"{name}/half"
    half.outputs[0].type, half.outputs[0].shape = ir.TensorType(_HALF), value.shape
    rounded.type, rounded.shape = ir.TensorType(_FLOAT), value.shape
    value.replace_all_uses_with(rounded, replace_graph_outputs=True)
    half.replace_input_with(0, value)  # the cast itself reads the exact value
    rounded.name = name
    graph.insert_after(node, [half, back])
    for inserted in (half, back):
        stamp(inserted, layers_of(node))
