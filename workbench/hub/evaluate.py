"""The value of a node whose inputs are all known: numpy for the arithmetic of shapes, onnxruntime for the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ExecutionError, LimitError
from workbench.hub.native import make_session, run_session
from workbench.hub.opset import IR_VERSION
from workbench.hub.runtime import check_runtime, runtime_opset

Array = np.ndarray[Any, Any]

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
"""Operators whose result does not follow from their inputs: never folded."""

_BINARY: dict[str, Callable[[Array, Array], Array]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


def evaluate(node: ir.Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Compute the node's outputs.

    Args:
        node: a node of the hub's opset without subgraphs.
        inputs: its inputs, ``None`` for omitted ones.

    Raises:
        ExecutionError: onnxruntime cannot compute the node, or not rightly.
        LimitError: it takes too long, or too much memory.
    """
    try:
        quick = _with_numpy(node, inputs)
    except (ValueError, IndexError, TypeError, KeyError):  # the node contradicts its inputs: onnxruntime says how
        quick = None
    return [quick] if quick is not None else _with_onnxruntime(node, inputs)


def _with_numpy(node: ir.Node, inputs: Sequence[Array | None]) -> Array | None:
    """The few operators that shape arithmetic is made of; a session each would cost milliseconds."""
    if node.domain or not inputs or any(array is None for array in inputs):
        return None
    arrays = [array for array in inputs if array is not None]
    first = arrays[0]
    if node.op_type in _BINARY and first.dtype.kind == "i":
        return np.asarray(_BINARY[node.op_type](first, arrays[1]), dtype=first.dtype)
    if node.op_type == "Identity":
        return first
    if node.op_type == "Concat":
        return np.concatenate(arrays, axis=node.attributes["axis"].as_int())
    if node.op_type == "Gather" and arrays[1].size and _in_range(arrays[1], first, _axis(node)):
        return np.asarray(np.take(first, arrays[1], axis=_axis(node)))
    if node.op_type == "Reshape" and "allowzero" not in node.attributes and 0 not in arrays[1]:
        return first.reshape([int(size) for size in arrays[1]])
    if node.op_type == "Unsqueeze":
        return np.expand_dims(first, tuple(int(axis) for axis in arrays[1].reshape(-1)))
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm")
        return np.ascontiguousarray(first.transpose(None if perm is None else perm.as_ints()))
    return None


def _axis(node: ir.Node) -> int:
    axis = node.attributes.get("axis")
    return 0 if axis is None else axis.as_int()


def _in_range(indices: Array, data: Array, axis: int) -> bool:
    size = data.shape[axis]
    return bool((indices >= -size).all() and (indices < size).all())


def _with_onnxruntime(node: ir.Node, inputs: Sequence[Array | None]) -> list[Array]:
    import onnxruntime

    check_runtime(node, inputs)
    names = [None if array is None else f"i{index}" for index, array in enumerate(inputs)]
    values = [
        None
        if name is None or array is None
        else ir.Value(name=name, type=ir.TensorType(_dtype(array)), shape=ir.Shape(array.shape))
        for name, array in zip(names, inputs, strict=True)
    ]
    outputs = [
        ir.Value(name=f"o{index}" if value.name != "" else "", type=value.type)
        for index, value in enumerate(node.outputs)
    ]
    copy = ir.Node(node.domain, node.op_type, values, node.attributes, outputs=outputs, name=node.name)
    graph = ir.Graph(
        [value for value in values if value is not None],
        [value for value in outputs if value.name],
        nodes=[copy],
        opset_imports={
            "": runtime_opset(() if node.domain else (node.op_type,)),
            **({node.domain: 1} if node.domain else {}),
        },
        name="node",
    )
    proto = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    feeds = {f"i{index}": array for index, array in enumerate(inputs) if array is not None}
    try:
        results = run_session(make_session(proto.SerializeToString(), options), None, feeds)
    except LimitError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExecutionError(f"onnx {node.op_type} {node.name!r} cannot be computed: {line}") from error
    found = iter(results)
    return [np.asarray(next(found)) if value.name else np.empty(0) for value in outputs]


def _dtype(array: Array) -> ir.DataType:
    with contextlib.suppress(TypeError, ValueError):
        return ir.DataType.from_numpy(array.dtype)
    return ir.DataType.STRING
