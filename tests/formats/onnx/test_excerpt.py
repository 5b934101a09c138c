"""Parts of ONNX graphs as models of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench as wb
from workbench.document import Document, TensorSpec
from workbench.lowering import Refused

FLOAT = TensorProto.FLOAT


def info(name: str, shape: list[Any], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any], **options: Any
) -> Document:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    return wb.load(helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)).document


def three() -> Document:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Add", ["a", "b"], ["c"], name="second"),
        helper.make_node("Relu", ["c"], ["d"], name="third"),
    ]
    constants = {"w": np.float32(2), "b": np.asarray([1, 2], np.float32)}
    return model(nodes, [info("x", ["n", 2])], [info("d", ["n", 2])], constants)


def run(document: Document, feeds: dict[str, Any], tmp_path: Any) -> Any:
    path = tmp_path / "part.onnx"
    document.write(path)
    onnx.checker.check_model(onnx.load(path))
    return onnxruntime.InferenceSession(str(path)).run(None, feeds)[0]


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def test_a_part_has_its_nodes_and_constants_only(tmp_path: Any) -> None:
    part = three().excerpt([spec("a", 1, 2)], ["c"])
    path = tmp_path / "part.onnx"
    part.write(path)
    proto = onnx.load(path)
    assert [node.name for node in proto.graph.node] == ["second"]
    assert [tensor.name for tensor in proto.graph.initializer] == ["b"]
    assert proto.opset_import[0].version == 13, "at the model's own opset"
    assert [value.name for value in proto.graph.input] == ["a"]
    found = run(part, {"a": np.zeros((1, 2), np.float32)}, tmp_path)
    assert found.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("inputs", "output", "feed", "expected"),
    [
        ([spec("x", 1, 2)], "d", {"x": [[1, -1]]}, [[3, 0]]),
        ([spec("c", 1, 2)], "d", {"c": [[-1, 1]]}, [[0, 1]]),
        ([spec("x", 1, 2)], "a", {"x": [[1, 2]]}, [[2, 4]]),
    ],
)
def test_parts_compute_what_they_did(inputs: Any, output: str, feed: Any, expected: Any, tmp_path: Any) -> None:
    feeds = {name: np.asarray(value, np.float32) for name, value in feed.items()}
    assert run(three().excerpt(inputs, [output]), feeds, tmp_path).tolist() == expected


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(Refused, match="no tensor 'z'"):
        three().excerpt([spec("z", 1)], ["d"])
    with pytest.raises(Refused, match="the nodes read 'x', which is not fed"):
        three().excerpt([spec("c", 1, 2)], ["a"])


def test_the_model_is_as_it_was(tmp_path: Any) -> None:
    document = three()
    document.write(tmp_path / "before.onnx")
    document.excerpt([spec("a", 1, 2)], ["c"])
    document.write(tmp_path / "after.onnx")
    assert (tmp_path / "before.onnx").read_bytes() == (tmp_path / "after.onnx").read_bytes()


def test_branches_that_read_from_outside_come_along(tmp_path: Any) -> None:
    def branch(name: str, operator: str) -> Any:
        node = helper.make_node(operator, ["h", "k"], [name])
        return helper.make_graph([node], name, [], [info(name, [2])])

    nodes = [
        helper.make_node("Neg", ["x"], ["h"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("t", "Add"), else_branch=branch("e", "Mul")),
    ]
    inputs = [info("x", [2]), info("flag", [], TensorProto.BOOL)]
    document = model(nodes, inputs, [info("y", [2])], {"k": np.asarray([3, 4], np.float32)})
    part = document.excerpt([spec("h", 2), TensorSpec("flag", "bool", ())], ["y"])
    feeds = {"h": np.asarray([1, 2], np.float32), "flag": np.asarray(False)}
    assert run(part, feeds, tmp_path).tolist() == [3, 8]


def test_functions_come_along(tmp_path: Any) -> None:
    twice = helper.make_function(
        "own", "Twice", ["i"], ["o"], [helper.make_node("Add", ["i", "i"], ["o"])], [helper.make_opsetid("", 13)]
    )
    nodes = [
        helper.make_node("Twice", ["x"], ["a"], domain="own"),
        helper.make_node("Twice", ["a"], ["b"], domain="own"),
    ]
    document = model(nodes, [info("x", [2])], [info("b", [2])], {}, functions=[twice])
    part = document.excerpt([spec("a", 2)], ["b"])
    assert run(part, {"a": np.asarray([1, 2], np.float32)}, tmp_path).tolist() == [2, 4]


def test_defaults_of_inputs_and_unfed_ones(tmp_path: Any) -> None:
    nodes = [helper.make_node("Add", ["x", "k"], ["y"])]
    document = model(nodes, [info("x", [1]), info("k", [1])], [info("y", [1])], {"k": np.asarray([5], np.float32)})
    assert run(document.excerpt([spec("x", 1)], ["y"]), {"x": np.ones(1, np.float32)}, tmp_path).tolist() == [6]
