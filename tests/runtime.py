"""Models in the form that the installed onnxruntime loads."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from workbench.hub import OPSET, runtime_opset


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes; for an onnxruntime that does not load the hub's opset, declared at one that it does."""
    if runtime_opset(()) == OPSET:
        return model.SerializeToString()
    loadable = onnx.ModelProto()
    loadable.CopyFrom(model)
    hub = ir.from_proto(model)
    newest = runtime_opset(node.op_type for node in hub.graph.all_nodes() if not node.domain)
    for entry in loadable.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, newest)
    return loadable.SerializeToString()
