"""Specialisation with sizes that are open: known is only what holds for every size in the range."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from workbench.formats.coreml import FORMAT
from workbench.formats.onnx.read import read_proto
from workbench.hub import OPSET, Range, Specialized, constant_of, specialize

SHAPES = {"x": (Range(1, 4), Range(2, 64, 16), 12)}


def specialized(nodes: str, shapes: Any = SHAPES, **constants: Any) -> Specialized:
    graph = onnx.parser.parse_graph(f"case (float[n, s, 12] x) => (float y) {{ {nodes.replace(';', chr(10))} }}")
    graph.output[0].type.Clear()
    for name, array in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    return specialize(read_proto(model).hub(), shapes, FORMAT.control)


def test_a_dimension_that_is_fixed_is_a_constant_and_an_open_one_is_not() -> None:
    made = specialized("s = Shape(x); y = Gather(s, last)", last=np.int64(2))
    assert constant_of(made.model.graph.outputs[0]) == 12
    made = specialized("s = Shape(x); y = Gather(s, middle)", middle=np.int64(1))
    assert constant_of(made.model.graph.outputs[0]) is None
    assert made.open_shapes is not None
    assert str(made.open_shapes.made(made.model.graph.outputs[0])) == "s"


@pytest.mark.parametrize(
    ("condition", "kept"),
    [("Greater(d, one)", False), ("Less(d, many)", False), ("Greater(d, some)", True), ("Equal(d, some)", True)],
)
def test_a_branch_is_chosen_only_where_every_size_chooses_it(condition: str, kept: bool) -> None:
    made = specialized(
        f"s = Shape(x); d = Gather(s, one); c = {condition}; y = If(c) <then_branch = t () => (float[n, s, 12] a) "
        "{ a = Exp(x) }, else_branch = e () => (float[n, s, 12] a) { a = Neg(x) }>",
        one=np.int64(1), some=np.int64(16), many=np.int64(100),
    )  # fmt: skip
    assert ("If" in {node.op_type for node in made.model.graph}) is kept


def test_shapes_are_made_of_the_open_sizes() -> None:
    made = specialized("a = Concat<axis=1>(x, x); b = Reshape(a, shape); y = Relu(b)", shape=np.asarray([-1, 4]))
    (result,) = made.model.graph.outputs
    assert made.open_shapes is not None
    assert [str(size) for size in made.open_shapes.shape(result) or ()] == ["6*n*s", "4"]


def test_sizes_that_are_all_fixed_leave_nothing_open() -> None:
    made = specialized("y = Relu(x)", {"x": (2, Range(3, 3), 12)})
    assert (made.open_shapes, dict(made.flexible)) == (None, {})
    assert list(made.model.graph.inputs[0].shape or ()) == [2, 3, 12]
