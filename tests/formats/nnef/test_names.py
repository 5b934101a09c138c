"""Names that the reader makes up keep clear of those that the graph uses further down."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import workbench as wb


def test_a_reshaped_bias_leaves_the_name_of_a_later_tensor_alone() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(2, 1, 3, 3)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv"),
            helper.make_node("Relu", ["y"], ["b_1"], "first"),
            helper.make_node("Relu", ["b_1"], ["b_2"], "second"),
        ],
        "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 5, 5])],
        [helper.make_tensor_value_info("b_2", TensorProto.FLOAT, [1, 2, 3, 3])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = wb.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    feeds = {"x": rng.normal(size=(1, 1, 5, 5)).astype(np.float32)}
    expected = model.run(feeds)["b_2"]
    (found,) = model.convert("nnef").run(feeds).values()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
