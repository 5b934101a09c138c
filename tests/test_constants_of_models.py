"""Inputs that are given a value for good: the control flow that they decide is gone, and comparing still feeds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import workbench as wb
from tests.real_models import onnx_model

SHAPES = {"input": (1, 576), "state": (2, 1, 128)}


def switched() -> onnx.ModelProto:
    """``y = x · 2`` or ``x + 1``, as a flag says; and the flag's own number."""

    def branch(operator: str, number: float) -> onnx.GraphProto:
        constant = onnx.numpy_helper.from_array(np.float32(number), "number")
        node = helper.make_node(operator, ["x", "number"], ["made"], name=operator)
        result = helper.make_tensor_value_info("made", onnx.TensorProto.FLOAT, [3])
        return helper.make_graph([node], operator, [], [result], [constant])

    nodes = [
        helper.make_node("Cast", ["mode"], ["flag"], name="cast", to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], name="if", then_branch=branch("Mul", 2), else_branch=branch("Add", 1)),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("mode", onnx.TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


@pytest.mark.parametrize(("target", "suffix"), [("onnx", ".onnx"), ("nnef", ".nnef"), ("coreml", ".mlpackage")])
@pytest.mark.parametrize("mode", [0, 1])
def test_a_constant_chooses_the_branch(target: str, suffix: str, mode: int, tmp_path: Path) -> None:
    source = wb.load(switched())
    converted = source.convert(target, constants={"mode": mode})
    saved = wb.load(converted.save(tmp_path / f"m{suffix}"))
    assert [spec.name for spec in saved.inputs] == ["x"]
    x = np.float32([1, 2, 5])
    expected = source.run({"x": x, "mode": np.int64(mode)})["y"]
    np.testing.assert_array_equal(saved.run({"x": x})["y"], expected)
    np.testing.assert_array_equal(saved.run({"x": x, "mode": mode})["y"], expected)
    with pytest.raises(wb.ExecutionError, match="was fixed to"):
        saved.run({"x": x, "mode": 1 - mode})
    for report in (wb.compare(source, saved), wb.compare(saved, source), wb.compare(source, saved, feeds={"x": x})):
        assert report.ok, str(report)
        assert [row.status for row in report.rows if row.output] == ["ok"]


@pytest.mark.parametrize("target", ["coreml", "nnef"])
def test_silero_with_its_sampling_rate(target: str) -> None:
    """Its main graph holds two networks; the rate decides which, and the other does not even take these shapes."""
    source = wb.load(onnx_model("silero-vad").path.with_name("silero_vad.onnx"))
    converted = source.convert(target, shapes=SHAPES, constants={"sr": 16000})
    report = wb.compare(source, converted)
    assert report.ok, str(report)
    assert {row.status for row in report.rows if row.output} == {"ok"}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"model": 1}, "constants: the model has no input 'model'"),
        ({"mode": 0.5}, "does not fit it"),
        ({"mode": [1, 2]}, "does not fit it"),
        ({"mode": "on"}, "'mode' is int64"),
    ],
)
def test_what_does_not_fit_is_refused(constants: dict[str, Any], message: str) -> None:
    with pytest.raises(wb.OptionError, match=message):
        wb.load(switched()).plan("onnx", constants=constants)
