"""Constants that the hub holds as integers, in ONNX's words: the integers, and a DequantizeLinear that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub import OPSET, Grid, dtype_named, schema_of, stamp, stored_of

Array = np.ndarray[Any, Any]


def spell_out(model: ir.Model) -> None:
    """Replace the constants of the graph that are held as integers; those of subgraphs become floats when written.

    The tensor keeps its name, the integers are called after it; where one axis at most has several scales, or one axis
    has blocks, and where the model's opset has such integers.
    (https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html)
    """
    graph = model.graph
    opset = graph.opset_imports.get("", OPSET)
    for name, value in list(graph.initializers.items()):
        grid = stored_of(value)
        read = None if grid is None or value.is_graph_output() else _read(grid, opset)
        if grid is None or read is None:
            continue
        scale, offset, attributes = read
        parts = [("levels", grid.data.astype(_dtype(grid.kind), copy=False)), ("scale", scale)]
        if offset is not None:
            parts.append(("zero_point", offset.astype(_dtype(grid.kind), copy=False)))
        inputs = [_initializer(graph, f"{name}_{part}", array) for part, array in parts]
        made = ir.Value(name=name, type=ir.TensorType(dtype_named(grid.dtype)), shape=ir.Shape(grid.data.shape))
        node = ir.Node("", "DequantizeLinear", inputs, attributes, outputs=[made], name=name)
        stamp(node, grid.layers)
        del graph.initializers[name]
        for user, index in list(value.uses()):
            user.replace_input_with(index, made)
        graph.insert_before(graph[0], node)


def _dtype(kind: str) -> np.dtype[Any]:
    return np.dtype(dtype_named(kind).numpy())


def _read(grid: Grid, opset: int) -> tuple[Array, Array | None, list[ir.Attr]] | None:
    """Scale and zero point in the form that DequantizeLinear takes, and its attributes; ``None`` if it takes none."""
    schema = schema_of("DequantizeLinear", opset=opset)
    levels, scales = (schema.inputs[place].types if schema is not None else () for place in (0, 1))
    kinds = (f"tensor({dtype_named(name).name.lower()})" for name in (grid.kind, grid.dtype))
    if next(kinds) not in levels or next(kinds) not in scales:
        return None
    several = [axis for axis, count in enumerate(grid.scale.shape) if count > 1]
    whole = [axis for axis in several if grid.scale.shape[axis] == grid.data.shape[axis]]
    if not several:
        return _flat(grid.scale, ()), _flat(grid.offset, ()), []
    if len(several) == 1 and whole:
        shape = (grid.scale.size,)
        return _flat(grid.scale, shape), _flat(grid.offset, shape), [ir.AttrInt64("axis", several[0])]
    blocked = [axis for axis in range(grid.data.ndim) if grid.scale.shape[axis] < grid.data.shape[axis]]
    if len(blocked) != 1 or schema is None or "block_size" not in schema.attributes:
        return None
    size = grid.data.shape[blocked[0]] // grid.scale.shape[blocked[0]]
    attributes = [ir.AttrInt64("axis", blocked[0]), ir.AttrInt64("block_size", size)]
    return grid.scale, grid.offset, attributes


def _flat(array: Any, shape: tuple[int, ...]) -> Any:
    return None if array is None else array.reshape(shape)


def _initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    taken = {value.name for node in graph for value in node.outputs} | {value.name for value in graph.inputs}
    while name in graph.initializers or name in taken:
        name += "_"
    value = ir.Value(name=name, const_value=ir.Tensor(array, name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    graph.register_initializer(value)
    return value
