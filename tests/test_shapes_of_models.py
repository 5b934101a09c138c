"""Small graphs of the kinds that people have, each taken all the way: load, plan, convert, compare, save, load, run.

What comes back has to take what the source takes (its names, dtypes and shapes) and to make what it makes; the source
itself is held to onnxruntime on the file as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import workbench as wb

Array = np.ndarray[Any, Any]
SUFFIXES = {"coreml": ".mlpackage", "nnef": ".nnef", "onnx": ".onnx"}


def seeded(*shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(sum(shape) + len(shape)).normal(size=shape).astype(dtype)


@dataclass(frozen=True)
class Shape:
    """One graph.

    Attributes:
        body: the graph in onnx's textual form, or what makes the model.
        feeds: what the source takes.
        weights: initializers by name.
        refused: target → what its refusal says; the other targets convert.
        tolerance: of what comes back, relative and absolute.
    """

    name: str
    body: str | Callable[[], onnx.ModelProto]
    feeds: Mapping[str, Array]
    weights: Mapping[str, Array] = field(default_factory=dict)
    opset: int = 18
    refused: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return self.name

    def model(self) -> onnx.ModelProto:
        """The model, checked by onnx."""
        if not isinstance(self.body, str):
            return self.body()
        proto = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {self.opset}]> g {self.body}')
        proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in self.weights.items())
        onnx.checker.check_model(proto)
        return proto


def same_output_twice() -> onnx.ModelProto:
    """onnxruntime gives both; the text form has no way to say it."""
    node = helper.make_node("Relu", ["x"], ["y"])
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])], [value, value]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def initializer_also_input() -> onnx.ModelProto:
    """What exporters wrote up to IR version 3."""
    proto = parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 7]> g (float[2, 4] x, float[4, 3] w) => (float[2, 3] y) '
        "{ y = MatMul(x, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(seeded(4, 3), "w"))
    return proto


def odd_names(*names: str) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        x, middle, y = names
        nodes = [
            helper.make_node("Mul", [x, "w/0:weight"], [middle], name="block.0/mul: 1"),
            helper.make_node("Relu", [middle], [y], name="Ünïcode → ☃"),
        ]
        graph = helper.make_graph(
            nodes,
            "my graph/№1",
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [2, 3])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [2, 3])],
            [numpy_helper.from_array(seeded(2, 3), "w/0:weight")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    return make


def functions() -> onnx.ModelProto:
    return parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
        g (float[2, 3] x) => (float[2, 3] y) { a = mine.twice(x)  y = mine.shifted <by = 2.0> (a) }
        <domain: "mine", opset_import: ["" : 18]> twice (v) => (r) { r = Add(v, v) }
        <domain: "mine", opset_import: ["" : 18, "mine" : 1]> shifted <by> (v) => (r)
            { c = Constant <value_float: float = @by> ()  r = Sub(v, c) }"""
    )


IMAGE = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
MASK = np.array([[True, False, True]])

SHAPES = [
    Shape(
        "dynamic batch",
        "(float[N, 4] x) => (float[N, 3] y) { a = MatMul(x, w)  y = Relu(a) }",
        {"x": seeded(2, 4)},
        {"w": seeded(4, 3)},
    ),
    Shape("int64 inputs", "(int64[2, 3] x) => (int64[2, 3] y) { y = Add(x, x) }", {"x": np.arange(6).reshape(2, 3)}),
    Shape(
        "bool mask",
        "(float[1, 3] x, bool[1, 3] m) => (float[1, 3] y) { y = Where(m, x, low) }",
        {"x": seeded(1, 3), "m": MASK},
        {"low": np.float32(-9)},
    ),
    Shape(
        "bool output",
        "(float[1, 3] x) => (bool[1, 3] y) { y = Greater(x, zero) }",
        {"x": seeded(1, 3)},
        {"zero": np.float32(0)},
    ),
    Shape(
        "uint8 image",
        "(uint8[2, 3, 4, 4] x) => (float[2, 3, 4, 4] y) { a = Cast <to = 1> (x)  y = Div(a, scale) }",
        {"x": IMAGE},
        {"scale": np.float32(255)},
    ),
    Shape(
        "scalar input",
        "(float x, float[2] z) => (float[2] y) { y = Mul(x, z) }",
        {"x": np.asarray(3, np.float32), "z": seeded(2)},
    ),
    Shape("scalar output", "(float[2, 3] x) => (float y) { y = ReduceSum <keepdims = 0> (x) }", {"x": seeded(2, 3)}),
    Shape(
        "output is an input", "(float[2, 3] x) => (float[2, 3] y, float[2, 3] x) { y = Neg(x) }", {"x": seeded(2, 3)}
    ),
    Shape(
        "output is a constant",
        "(float[2, 3] x) => (float[2, 3] y, float[2] c) { y = Neg(x) }",
        {"x": seeded(2, 3)},
        {"c": seeded(2)},
    ),
    Shape("same output twice", same_output_twice, {"x": seeded(2, 3)}),
    Shape(
        "unused input",
        "(float[2, 3] x, float[5] u) => (float[2, 3] y) { y = Neg(x) }",
        {"x": seeded(2, 3), "u": seeded(5)},
    ),
    Shape(
        "two outputs of one node",
        "(float[2, 6] x) => (float[2, 2] y, float[2, 4] z) { y, z = Split <axis = 1> (x, s) }",
        {"x": seeded(2, 6)},
        {"s": np.int64([2, 4])},
    ),
    Shape(
        "float16",
        "(float16[2, 4] x) => (float16[2, 3] y) { a = MatMul(x, w)  y = Relu(a) }",
        {"x": seeded(2, 4, dtype=np.float16)},
        {"w": seeded(4, 3, dtype=np.float16)},
        tolerance=2e-3,
    ),
    Shape(
        "float64",
        "(double[2, 4] x) => (double[2, 3] y) { a = MatMul(x, w)  y = Tanh(a) }",
        {"x": seeded(2, 4, dtype=np.float64)},
        {"w": seeded(4, 3, dtype=np.float64)},
    ),
    Shape("initializer also input", initializer_also_input, {"x": seeded(2, 4)}),
    Shape(
        "empty node names",
        "(float[2, 3] x) => (float[2, 3] y) { a = Relu(x)  b = Neg(a)  y = Add(a, b) }",
        {"x": seeded(2, 3)},
    ),
    Shape(
        "paths as names",
        odd_names("model/input:0", "model/block.0/mul:0", "model/out:0"),
        {"model/input:0": seeded(2, 3)},
    ),
    Shape("words as names", odd_names("the input", "größe in µm", "сумма"), {"the input": seeded(2, 3)}),
    Shape("keywords as names", odd_names("graph", "return", "version"), {"graph": seeded(2, 3)}),
    Shape(
        "opset 7",
        "(float[1, 2, 4, 4] x) "
        "=> (float[1, 2, 8, 8] y) { a = BatchNormalization(x, s, b, m, v)"
        '  y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (a) }',
        {"x": seeded(1, 2, 4, 4)},
        {"s": seeded(2), "b": seeded(2), "m": seeded(2), "v": np.float32([1, 2])},
        opset=7,
    ),
    Shape(
        "opset 22",
        "(float[1, 2, 4, 4] x) "
        "=> (float[1, 2, 2, 2] y) { a = HardSwish(x)"
        "  y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a) }",
        {"x": seeded(1, 2, 4, 4)},
        opset=22,
    ),
    Shape(
        "bidirectional LSTM",
        "(float[5, 1, 3] x) "
        "=> (float[5, 2, 1, 4] y, float[2, 1, 4] h) "
        '{ y, h = LSTM <direction = "bidirectional", hidden_size = 4> (x, w, r, b) }',
        {"x": seeded(5, 1, 3)},
        {"w": seeded(2, 16, 3), "r": seeded(2, 16, 4), "b": seeded(2, 32)},
    ),
    Shape(
        "resize",
        "(float[1, 2, 4, 4] x) "
        "=> (float[1, 2, 8, 8] y) "
        '{ y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , , sizes) }',
        {"x": seeded(1, 2, 4, 4)},
        {"sizes": np.int64([1, 2, 8, 8])},
    ),
    Shape("functions", functions, {"x": seeded(2, 3)}),
    Shape(
        "dropout", "(float[2, 3] x) => (float[2, 3] y) { a = Neg(x)  b = Dropout(a)  y = Exp(b) }", {"x": seeded(2, 3)}
    ),
    Shape(
        "dropout with mask",
        "(float[2, 3] x) => (float[2, 3] y, bool[2, 3] m) { a = Neg(x)  y, m = Dropout(a) }",
        {"x": seeded(2, 3)},
    ),
    Shape(
        "batch normalization",
        "(float[2, 3, 4] x) => (float[2, 3, 4] y) { y = BatchNormalization <epsilon = 0.01> (x, s, b, m, v) }",
        {"x": seeded(2, 3, 4)},
        {"s": seeded(3), "b": seeded(3), "m": seeded(3), "v": np.float32([1, 2, 3])},
    ),
    Shape(
        "embedding",
        "(int64[N, 5] ids) => (float[N, 5, 16] y) { y = Gather(table, ids) }",
        {"ids": np.int64([[0, 3999, 7, -1, 2]])},
        {"table": seeded(4000, 16)},
    ),
    Shape(
        "top k",
        "(float[2, 6] x) => (float[2, 3] v, int64[2, 3] i) { v, i = TopK(x, k) }",
        {"x": seeded(2, 6)},
        {"k": np.int64([3])},
    ),
    Shape(
        "where, broadcast",
        "(bool[3, 1] m, float[1, 4] x, float[2, 1, 1] z) => (float[2, 3, 4] y) { y = Where(m, x, z) }",
        {"m": MASK.T, "x": seeded(1, 4), "z": seeded(2, 1, 1)},
    ),
    Shape(
        "rank 6",
        "(float[1, 4, 4, 4] x) "
        "=> (float[1, 1, 8, 8] y) { a = Reshape(x, s)  b = Transpose <perm = [0, 1, 4, 2, 5, 3]> (a)"
        "  y = Reshape(b, t) }",
        {"x": seeded(1, 4, 4, 4)},
        {"s": np.int64([1, 1, 2, 2, 4, 4]), "t": np.int64([1, 1, 8, 8])},
    ),
    Shape(
        "rank 6 input",
        "(float[1, 1, 2, 2, 4, 4] x) => (float[1, 1, 2, 2, 4, 4] y) { y = Relu(x) }",
        {"x": seeded(1, 1, 2, 2, 4, 4)},
        refused={"coreml": "rank"},
    ),
    Shape(
        "if, constant",
        "(float[2, 3] x) "
        "=> (float[2, 3] y) { y = If (c) <"
        "then_branch = t () => (float[2, 3] p) { p = Neg(x) }, else_branch = e () => (float[2, 3] q) { q = Exp(x) }> }",
        {"x": seeded(2, 3)},
        {"c": np.asarray(True)},
    ),
    Shape(
        "if, run time",
        "(float[2, 3] x, bool c) "
        "=> (float[2, 3] y) { y = If (c) <"
        "then_branch = t () => (float[2, 3] p) { p = Neg(x) }, else_branch = e () => (float[2, 3] q) { q = Exp(x) }> }",
        {"x": seeded(2, 3), "c": np.asarray(True)},
    ),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_source_computes_what_onnxruntime_computes(shape: Shape) -> None:
    proto = shape.model()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(
        zip([value.name for value in session.get_outputs()], session.run(None, dict(shape.feeds)), strict=True)
    )
    found = wb.load(proto).run(shape.feeds)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_converted_saved_and_loaded_it_takes_and_makes_the_same(shape: Shape, target: str, tmp_path: Path) -> None:
    model = wb.load(shape.model())
    options = {"shapes": {name: array.shape for name, array in shape.feeds.items()}}
    plan = model.plan(target, **options)
    if target in shape.refused:
        assert not plan.ok
        assert shape.refused[target] in "\n".join(map(str, plan.refusals))
        assert all(refusal.way_out or refusal.cause for refusal in plan.refusals)
        return
    assert plan.ok, plan.refusals
    converted = model.convert(target, **options)
    report = wb.compare(model, converted)
    assert report.ok, report
    again = wb.load(converted.save(tmp_path / f"model{SUFFIXES[target]}"))
    expected, found = model.run(shape.feeds), again.run(shape.feeds)
    assert len(again.outputs) == len(model.outputs)
    for source, made in zip(model.outputs, again.outputs, strict=True):
        array, value = expected[source.name], found[made.name]
        if target == "coreml":  # its outputs are never bool, and have at least one dimension
            array = np.atleast_1d(array.astype(np.float32) if array.dtype == bool else array)
        assert value.shape == array.shape
        assert (value.dtype.kind in "iub") == (array.dtype.kind in "iub")
        np.testing.assert_allclose(value, array, rtol=shape.tolerance, atol=shape.tolerance)
