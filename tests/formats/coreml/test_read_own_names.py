"""Outputs with the name of an input but another value: two names in the hub, one to the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.formats.coreml.networks import network_of
from tests.formats.coreml.reading import Case, package
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.package import open_package

X = np.asarray([1, -2, 3], np.float32)


def squared(nn: Any) -> None:
    nn.add_elementwise("square", ["x", "x"], "t", "MULTIPLY")
    nn.add_activation("last", "LINEAR", "t", "x", params=[2.0, 1.0])


@pytest.fixture(params=["network", "rank-5", "program"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> wb.Model:
    """``x = 2 x² + 1`` in both forms."""
    if request.param == "program":
        return wb.load(_program(tmp_path))
    spec = network_of(squared, {"x": X}, ["x"])
    if request.param == "rank-5":
        spec.neuralNetwork.ClearField("arrayInputShapeMapping")
    return wb.load(spec)


def _program(folder: Path) -> Any:
    """A program whose last operation makes a tensor with the name of the input."""
    build = lambda mb, x: mb.linear_activation(x=mb.square(x=x), alpha=2.0, beta=1.0)  # noqa: E731
    spec = toolkit.model_pb2().Model()
    spec.ParseFromString(open_package(package(Case("square", build, {"x": X}), folder)).spec)
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    assert block.operations[-1].outputs[0].name == block.outputs[0]
    block.operations[-1].outputs[0].name = block.outputs[0] = spec.description.output[0].name = "x"
    return spec


def test_the_output_has_the_model_s_own_name(model: wb.Model) -> None:
    assert [spec.name for spec in model.inputs] == [spec.name for spec in model.outputs] == ["x"]
    results = model.run({"x": X})
    assert list(results) == ["x"]
    np.testing.assert_allclose(results["x"].reshape(-1), 2 * X * X + 1)


def test_taps_tell_the_input_from_the_output(model: wb.Model) -> None:
    results = model.run({"x": X}, taps="all")
    tapped = [array.reshape(-1).tolist() for name, array in results.items() if name != "x"]
    assert (X * X).tolist() in tapped
    assert X.tolist() not in tapped


@pytest.mark.parametrize("target", ["onnx", "nnef", "coreml"])
def test_it_is_converted_and_compared(model: wb.Model, target: str) -> None:
    converted = model.convert(target)
    (output,) = converted.outputs
    assert output.name not in ("", "x")
    np.testing.assert_allclose(converted.run({"x": X})[output.name].reshape(-1), 2 * X * X + 1)
    report = wb.compare(model, converted)
    assert report.ok
    assert report.outputs
    assert wb.compare(model, model).ok


def test_an_output_that_is_the_input_keeps_its_name() -> None:
    """Nothing writes it: the value is what is fed."""
    spec = network_of(lambda nn: nn.add_copy("c", "x", "y"), {"x": X}, ["x", "y"])
    found = wb.load(spec).run({"x": X})
    assert list(found) == ["x", "y"]
    np.testing.assert_array_equal(found["x"], X)
