"""Names, dtypes and ranks at the border of a written model, and what is refused there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.formats.coreml.writing import Array, drafted, operators_of, run, run_written, written
from workbench.document import TensorSpec
from workbench.hub import OPSET

Info = tuple[str, int, Sequence[int]]


def model(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Info], outputs: Sequence[Info], **constants: Array) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "border",
        [helper.make_tensor_value_info(*info) for info in inputs],
        [helper.make_tensor_value_info(*info) for info in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def same(proto: onnx.ModelProto, feeds: dict[str, Array], **options: Any) -> None:
    document = written(proto, **options)
    want, got = run(proto, feeds), run_written(document, feeds)
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "array", "own"),
    [
        (TensorProto.FLOAT, np.asarray([1.5, -2.5], np.float32), "float32"),
        (TensorProto.INT64, np.asarray([3, -4]), "int32"),
        (TensorProto.INT32, np.asarray([3, -4], np.int32), "int32"),
        (TensorProto.UINT8, np.asarray([3, 250], np.uint8), "int32"),
        (TensorProto.INT8, np.asarray([3, -100], np.int8), "int32"),
        (TensorProto.INT16, np.asarray([3, -1000], np.int16), "int32"),
        (TensorProto.BOOL, np.asarray([True, False]), "float32"),
        (TensorProto.FLOAT16, np.asarray([1.5, -2.5], np.float16), "float16"),
        (TensorProto.DOUBLE, np.asarray([1.5, -2.5]), "float32"),
    ],
)
def test_dtypes_pass_through_the_interface(dtype: int, array: Array, own: str) -> None:
    proto = model([helper.make_node("Identity", ["x"], ["y"])], [("x", dtype, [2])], [("y", dtype, [2])])
    document = written(proto)
    assert [(spec.name, spec.dtype) for spec in document.inputs] == [("x", own)]
    assert [(spec.name, spec.dtype) for spec in document.outputs] == [("y", own)]
    same(proto, {"x": array})


def test_float16_is_float32_at_the_border_of_ios15() -> None:
    float16 = TensorProto.FLOAT16
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [("x", float16, [2])], [("y", float16, [2])])
    document = written(proto, target="iOS15")
    assert [spec.dtype for spec in (*document.inputs, *document.outputs)] == ["float32", "float32"]
    same(proto, {"x": np.asarray([1.5, -2.5], np.float16)}, target="iOS15")


def test_scalars_are_rows_of_one_at_the_border() -> None:
    proto = model(
        [helper.make_node("Add", ["x", "x"], ["y"])], [("x", TensorProto.FLOAT, [])], [("y", TensorProto.FLOAT, [])]
    )
    document = written(proto)
    assert document.inputs == (TensorSpec("x", "float32", (1,)),)
    assert document.outputs == (TensorSpec("y", "float32", (1,)),)
    assert document.provenance is not None
    assert document.provenance.inputs["x"] == TensorSpec("x", "float32", ())
    same(proto, {"x": np.asarray(1.5, np.float32)})


def test_names_are_kept_where_core_ml_allows_them() -> None:
    nodes = [
        helper.make_node("Relu", ["in:0"], ["a/b"]),
        helper.make_node("Neg", ["a/b"], ["a.b"]),
        helper.make_node("Exp", ["a.b"], ["tensor"]),
        helper.make_node("Abs", ["tensor"], ["0"]),
        helper.make_node("Sqrt", ["0"], ["plain"]),
    ]
    proto = model(
        nodes,
        [("in:0", TensorProto.FLOAT, [3])],
        [(name, TensorProto.FLOAT, [3]) for name in ("a/b", "a.b", "tensor", "0", "plain")],
    )
    document = written(proto)
    names = [spec.name for spec in document.outputs]
    assert names == ["a_b", "a_b_1", "tensor_", "var_0", "plain"]
    assert [spec.name for spec in document.inputs] == ["in_0"]
    provenance = document.provenance
    assert provenance is not None
    assert [provenance.outputs[name].name for name in names] == ["a/b", "a.b", "tensor", "0", "plain"]
    assert {name: link.source for name, link in provenance.tensors.items()} == {
        "in_0": "in:0", "a_b": "a/b", "a_b_1": "a.b", "tensor_": "tensor", "var_0": "0", "plain": "plain",
    }  # fmt: skip
    same(proto, {"in:0": np.asarray([0.5, -1.0, 2.0], np.float32)})


def test_an_output_that_is_an_input_or_a_constant_gets_an_operation() -> None:
    proto = model(
        [helper.make_node("Identity", ["x"], ["copy"]), helper.make_node("Identity", ["k"], ["fixed"])],
        [("x", TensorProto.FLOAT, [2])],
        [(name, TensorProto.FLOAT, [2]) for name in ("x", "copy", "fixed")],
        k=np.asarray([3.0, 4.0], np.float32),
    )
    document = written(proto)
    assert len({spec.name for spec in (*document.inputs, *document.outputs)}) == 4
    same(proto, {"x": np.asarray([0.5, -1.0], np.float32)})


def test_one_value_under_two_output_names() -> None:
    proto = model(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])],
        [("x", TensorProto.FLOAT, [2])],
        [("y", TensorProto.FLOAT, [2]), ("z", TensorProto.FLOAT, [2])],
    )
    same(proto, {"x": np.asarray([0.5, -1.0], np.float32)})


def test_an_unused_input_stays() -> None:
    proto = model(
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [2]), ("unused", TensorProto.INT64, [3])],
        [("y", TensorProto.FLOAT, [2])],
    )
    document = written(proto)
    assert [spec.name for spec in document.inputs] == ["x", "unused"]
    same(proto, {"x": np.asarray([0.5, -1.0], np.float32), "unused": np.zeros(3, np.int64)})


@pytest.mark.parametrize(
    ("inputs", "cause"),
    [
        ([("x", TensorProto.FLOAT, [1, 1, 1, 1, 1, 2])], "rank 6"),
        ([("x", TensorProto.FLOAT, [0, 2])], "no empty tensors"),
        ([("x", TensorProto.BFLOAT16, [2])], "no tensors of bfloat16"),
        ([("x", TensorProto.FLOAT, ["n", 2])], "not fixed"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_for_the_interface(inputs: Sequence[Info], cause: str) -> None:
    _, dtype, shape = inputs[0]
    proto = model([helper.make_node("Identity", ["x"], ["y"])], inputs, [("y", dtype, shape)])
    made = drafted(proto)
    assert any(cause in refusal.cause and refusal.operator == "input" for refusal in made.general), made.general


def test_tensors_of_any_rank_inside_where_elements_only_move() -> None:
    """The pixel shuffle as frameworks export it: a Reshape to rank 6, a Transpose, a Reshape back."""
    nodes = [
        helper.make_node("Reshape", ["x", "six"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 4, 1, 5, 2]),
        helper.make_node("Reshape", ["b", "four"], ["y"]),
    ]
    proto = model(
        nodes,
        [("x", TensorProto.FLOAT, [2, 12, 2, 3])],
        [("y", TensorProto.FLOAT, [2, 3, 4, 6])],
        six=np.asarray([2, 2, 2, 3, 2, 3]),
        four=np.asarray([2, 3, 4, 6]),
    )
    same(proto, {"x": np.arange(144, dtype=np.float32).reshape(2, 12, 2, 3)})


def test_what_computes_at_rank_6_is_refused() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "six"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "one"], ["y"]),
    ]
    proto = model(
        nodes, [("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, [4])],
        six=np.asarray([1, 1, 1, 1, 2, 2]), one=np.asarray([4]),
    )  # fmt: skip
    verdicts = [(outcome.operator, str(outcome.verdict)) for outcome in drafted(proto).outcomes]
    assert verdicts == [("Reshape-25", "exact"), ("Relu-14", "refused"), ("Reshape-25", "exact")]


def test_a_model_without_layers() -> None:
    proto = model([], [("x", TensorProto.FLOAT, [2])], [("x", TensorProto.FLOAT, [2])])
    document = written(proto)
    assert operators_of(document) == ["identity"]
    assert isinstance(document.hub(), ir.Model)
