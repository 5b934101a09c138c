"""Specialisation: shapes fixed, constants folded, branches chosen, and still the same numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from tests.real_models import ONNX, RealModel
from tests.runtime import serialized
from workbench.errors import ModelError, OptionError
from workbench.formats.onnx import FORMAT
from workbench.hub import Emitter, layers_of, specialize


def hub_of(text: str) -> ir.Model:
    return FORMAT.read(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 25]> {text}')).hub()


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialized(ir.to_proto(model)), sess_options=options)
    return session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})


@pytest.mark.parametrize("real", ONNX, ids=str)
def test_specialized_real_model_computes_the_same(real: RealModel) -> None:
    hub = FORMAT.read(real.path).hub()
    specialized = specialize(hub, real.shapes)
    rng = np.random.default_rng(0)
    feeds = {
        value.name: (
            rng.random([int(size) for size in value.shape]).astype(np.float32)
            if value.dtype is ir.DataType.FLOAT
            else rng.integers(0, 255, [int(size) for size in value.shape]).astype(value.dtype.numpy())
        )
        for value in specialized.model.graph.inputs
    }
    for ours, original in zip(run(specialized.model, feeds), run(hub, feeds), strict=True):
        np.testing.assert_allclose(ours, original, rtol=1e-4, atol=1e-4)
    assert all(dim for node in specialized.model.graph for value in node.outputs for dim in value.shape)
    assert len(specialized.model.graph) <= len(hub.graph)


def test_shape_arithmetic_vanishes_and_is_named_as_folded() -> None:
    hub = hub_of(
        "g (float[N, 4] x) => (float[M, 2] y) <int64[1] two = {2}, int64[1] rest = {-1}>"
        "{ s = Shape(x)  t = Concat <axis = 0> (rest, two)  y = Reshape(x, t) }"
    )
    specialized = specialize(hub, {"x": (3, 4)})
    assert [node.op_type for node in specialized.model.graph] == ["Reshape"]
    assert specialized.folded == ("s", "t")
    assert list(specialized.model.graph.outputs[0].shape) == [6, 2]
    assert layers_of(specialized.model.graph[0]) == ("y",)


def test_a_known_condition_chooses_its_branch() -> None:
    hub = hub_of(
        "g (float[N] x) => (float[N] y) <int64[1] one = {1}>"
        "{ s = Shape(x)  c = Equal(s, one)  "
        "  y = If (c) <then_branch = a () => (p) { p = Neg(x) }, else_branch = b () => (q) { q = Exp(x) }> }"
    )
    assert [node.op_type for node in specialize(hub, {"x": (1,)}).model.graph] == ["Neg"]
    assert [node.op_type for node in specialize(hub, {"x": (2,)}).model.graph] == ["Exp"]


def test_random_nodes_are_never_folded() -> None:
    hub = hub_of("g () => (float[2] y) { y = RandomUniform <shape = [2]> () }")
    assert [node.op_type for node in specialize(hub).model.graph] == ["RandomUniform"]


def test_an_output_that_is_a_constant_stays_an_output() -> None:
    hub = hub_of("g (float[2] x) => (int64[1] y) { y = Shape(x) }")
    model = specialize(hub).model
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert run(model, {"x": np.zeros(2, np.float32)})[0].tolist() == [2]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "no input 'z'"),
        ({"x": (1, 2, 3)}, "does not fit"),
        ({"x": (1, 5)}, "does not fit"),
        ({"x": (-1, 4)}, "non-negative integers"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    hub = hub_of("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    with pytest.raises(OptionError, match=message):
        specialize(hub, shapes)


def test_a_contradiction_names_the_node() -> None:
    hub = hub_of("g (float[N, 4] x, float[M, 3] w) => (float[A, B] y) { y = MatMul(x, w) }")
    with pytest.raises(ModelError, match=r"MatMul-13 'y'"):
        specialize(hub, {"x": (2, 4), "w": (5, 3)})


def test_more_outputs_than_declared_are_refused_before_native_inference_sees_them() -> None:
    emitter = Emitter("g")
    x = emitter.input("x", "float32", (4,))
    with pytest.raises(ModelError, match="num_outputs"):
        emitter.ops("Split", x, outputs=5, num_outputs=2)


def test_the_emitter_follows_small_values() -> None:
    emitter = Emitter("g")
    x = emitter.input("x", "float32", (2, 3))
    doubled = emitter.op("Mul", emitter.op("Shape", x), emitter.const([2]))
    known = emitter.known(doubled)
    assert known is not None
    assert known.tolist() == [4, 6]
    assert emitter.op("Expand", x, emitter.const([5, 2, 3])).shape == ir.Shape([5, 2, 3])
