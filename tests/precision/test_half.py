"""Emulated float16 rounds and overflows where float16 does, and nowhere else."""

from __future__ import annotations

import weakref

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx import parser

from tests.runtime import serialized
from workbench.formats.onnx import FORMAT
from workbench.hub import layers_of
from workbench.precision import half_name, round_to_half, with_half_precision, with_rounded


def hub_of(text: str) -> ir.Model:
    return FORMAT.read(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 25]> {text}')).hub()


def run(model: ir.Model, **feeds: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialized(ir.to_proto(model)), sess_options=options)
    return session.run(None, feeds)[0]


def test_every_tensor_is_rounded_where_it_is_made() -> None:
    hub = hub_of("g (float[3] x) => (float[3] y) <float third = {0.3333333}> { a = Mul(x, third)  y = Exp(a) }")
    x = np.array([0.1, 1.7, 5.0], np.float32)
    third = round_to_half(np.array(0.3333333, np.float32))
    expected = round_to_half(np.exp(round_to_half(x * third)))
    np.testing.assert_array_equal(run(with_half_precision(hub), x=x), expected)
    assert not np.array_equal(run(hub, x=x), expected)


def test_overflow_is_infinite_as_in_float16() -> None:
    hub = hub_of("g (float[2] x) => (float[2] y) { a = Exp(x)  y = Log(a) }")
    x = np.array([11.0, 12.0], np.float32)
    rounded = run(with_half_precision(hub), x=x)
    assert np.isfinite(rounded[0])
    assert np.isinf(rounded[1])
    np.testing.assert_allclose(run(hub, x=x), x, rtol=1e-6)


def test_kept_layers_stay_exact_and_names_stay() -> None:
    hub = hub_of("g (float[2] x) => (float[2] y) { a = Exp(x)  y = Log(a) }")
    mixed = with_half_precision(hub, keep=["a"])
    x = np.array([11.0, 12.0], np.float32)
    np.testing.assert_allclose(run(mixed, x=x), x, rtol=1e-3)
    assert [value.name for value in mixed.graph.outputs] == ["y"]
    assert {name for node in mixed.graph for name in layers_of(node)} == {"a", "y"}
    assert len(hub.graph) == 2  # the original is as it was


def test_only_the_named_tensors_and_what_their_nodes_read_is_rounded() -> None:
    hub = hub_of("g (float[2] x) => (float[2] y) <float third = {0.3333333}> { a = Mul(x, third)  y = Mul(a, third) }")
    x = np.array([0.1, 1.7], np.float32)
    third, half = np.float32(0.3333333), round_to_half(np.array(0.3333333, np.float32))
    partly = with_rounded(hub, {"x", "a"})
    np.testing.assert_array_equal(run(partly, x=x), round_to_half(round_to_half(x) * half) * half)
    assert half_name("a") in {value.name for node in partly.graph for value in node.outputs}
    np.testing.assert_allclose(run(with_rounded(hub, set()), x=x), x * third * third, rtol=1e-6)


def test_large_weights_are_rounded_when_they_are_read_and_not_held_twice() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    text = "g (float[1, 64] x, float[64, 64] w) => (float[1, 64] y) { y = MatMul(x, w) }"
    hub = hub_of(text)
    value = hub.graph.inputs.pop()
    value.const_value = ir.tensor(weight, name="w")
    hub.graph.register_initializer(value)
    tensor = with_rounded(hub, {"y"}).graph.initializers["w"].const_value
    assert isinstance(tensor, ir.LazyTensor)
    held = tensor.numpy()
    np.testing.assert_array_equal(held, round_to_half(weight))
    assert tensor.numpy() is held  # whoever else wants it meanwhile gets the same
    gone = weakref.ref(held)
    del held
    assert gone() is None
    np.testing.assert_array_equal(hub.graph.initializers["w"].const_value.numpy(), weight)
