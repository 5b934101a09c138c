"""Files that browser tests open: small models and notebooks."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_notebook(path: Path, source: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


def write_relu(path: Path) -> None:
    """The smallest real model: y = relu(x), x of shape (1, 4)."""
    shape = [1, 4]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    # serialised here: onnx.save would refuse or interpret some of the names under test
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    onnx.load_model_from_string(path.read_bytes())


def write_chain(path: Path, count: int) -> None:
    """``count`` layers, each with an own name."""
    nodes = [
        helper.make_node(
            ("Relu", "Sigmoid", "Tanh")[at % 3], [f"t{at}"], [f"t{at + 1}"], name=f"/block.{at // 20}/l{at}"
        )
        for at in range(count)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16]) for name in ("t0", f"t{count}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def write_nonzero(path: Path) -> None:
    """A model that NNEF cannot express: how many elements its output has is known at run time only."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["h"], name="first"),
            helper.make_node("NonZero", ["h"], ["y"], name="second"),
        ],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def write_heavy(path: Path, megabytes: int) -> None:
    """y = x · W with so many megabytes of weights: more than one piece of an upload."""
    columns = megabytes << 8
    weights = np.arange(1024 * columns, dtype=np.float32).reshape(1024, columns)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 1024), ("y", columns))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"], name="product")],
        "heavy",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(weights, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
