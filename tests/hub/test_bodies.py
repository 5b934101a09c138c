"""Nodes that onnx defines by a function body, replaced by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.single_node import model_around
from workbench.hub import OPSET, layers_of, specialize, stamp
from workbench.hub.bodies import expand_bodies

RNG = np.random.default_rng(3)


def f(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


CASES = {
    "Attention": ({"q": f(1, 2, 3, 4), "k": f(1, 2, 5, 4), "v": f(1, 2, 5, 4)}, {"is_causal": 1}, 1),
    "Attention with mask and cache": (
        {"q": f(1, 2, 3, 4), "k": f(1, 2, 5, 4), "v": f(1, 2, 5, 4), "m": f(3, 7), "pk": f(1, 2, 2, 4),
         "pv": f(1, 2, 2, 4)}, {}, 3),
    "RotaryEmbedding": ({"x": f(1, 2, 3, 4), "c": f(1, 3, 2), "s": f(1, 3, 2)}, {}, 1),
    "MeanVarianceNormalization": ({"x": f(2, 3, 4, 5)}, {}, 1),
    "NegativeLogLikelihoodLoss": ({"x": f(3, 5), "t": np.asarray([1, 0, 4])}, {"reduction": "mean"}, 1),
}  # fmt: skip


def hub_of(operator: str, feeds: dict[str, Any], attributes: dict[str, Any], outputs: int) -> ir.Model:
    names = [f"o{index}" for index in range(outputs)]
    node = helper.make_node(operator, list(feeds), names, name="node", **attributes)
    model = ir.from_proto(model_around(node, feeds, opset=OPSET))
    for made in model.graph:
        stamp(made, ["layer"])
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_body_computes_what_its_operator_does(name: str) -> None:
    feeds, attributes, outputs = CASES[name]
    operator = name.split()[0]
    model = hub_of(operator, feeds, attributes, outputs)
    expanded = expand_bodies(specialize(model), lambda node: node.op_type != operator)
    assert operator not in {node.op_type for node in expanded.model.graph}
    assert {layers_of(node) for node in expanded.model.graph} == {("layer",)}
    want = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    proto = ir.to_proto(expanded.model)
    onnx.checker.check_model(proto)
    got = ReferenceEvaluator(proto).run(None, feeds)
    assert [value.name for value in expanded.model.graph.outputs] == [f"o{index}" for index in range(outputs)]
    for found, array in zip(got, want, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5)


def test_what_the_target_knows_is_left_alone() -> None:
    feeds, attributes, outputs = CASES["Attention"]
    hub = specialize(hub_of("Attention", feeds, attributes, outputs))
    assert expand_bodies(hub, lambda node: True) is hub


def test_an_operator_without_a_body_stays() -> None:
    hub = specialize(hub_of("Erf", {"x": f(2, 2)}, {}, 1))
    assert [node.op_type for node in expand_bodies(hub, lambda node: False).model.graph] == ["Erf"]
