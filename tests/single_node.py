"""An ONNX model around one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]


def model_around(
    node: onnx.NodeProto, feeds: Mapping[str, Array], constants: Mapping[str, Array] | None = None, *, opset: int
) -> onnx.ModelProto:
    """The node with inputs of the feeds' types, initializers for the constants, and outputs of no stated type."""
    graph = helper.make_graph(
        [node],
        "case",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(node.domain, 1)] if node.domain else [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)
