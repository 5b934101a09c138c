"""Models in the form that the installed onnxruntime loads."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from workbench.errors import ExecutionError
from workbench.hub import OPSET, check_runtime, constant_of, runs_hub_opset, runtime_opset
from workbench.hub.runtime import WAY_OUT


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes; for an onnxruntime that does not load the hub's opset, declared at one that it does.

    Raises:
        ExecutionError: that onnxruntime does not know a node of the model, or computes it wrongly.
    """
    if runs_hub_opset():
        return model.SerializeToString()
    loadable = onnx.ModelProto()
    loadable.CopyFrom(model)
    hub = ir.from_proto(model)
    newest = runtime_opset(node.op_type for node in hub.graph.all_nodes() if not node.domain)
    for node in hub.graph.all_nodes():
        check_runtime(node, [constant_of(value) for value in node.inputs])
    for entry in loadable.opset_import:
        if entry.domain in ("", "ai.onnx"):
            if entry.version > OPSET:
                raise ExecutionError(f"opset {entry.version} is not loaded; {WAY_OUT}")
            entry.version = min(entry.version, newest)
    return loadable.SerializeToString()


def is_fault_of_runtime(error: BaseException) -> bool:
    """Whether what failed is the last onnxruntime for Python 3.10, not the workbench."""
    return isinstance(error, ExecutionError) and WAY_OUT in str(error)
