"""Operators that are newer than the hub, said in its own: onnx's reference of the newer opset is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.hub.composing import Array, run
from tests.single_node import model_around
from workbench.errors import ModelError
from workbench.formats.onnx.read import read_proto
from workbench.hub import specialize

RNG = np.random.default_rng(14)
INF, NAN = float("inf"), float("nan")
EDGES = np.asarray([5, -5, 5, -5, 0, -0.0, 1, -1, INF, NAN, 1, 4, -4], np.float32)
BY = np.asarray([3, 3, -3, -3, 3, 3, INF, INF, 2, 2, NAN, -2, 2], np.float32)


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model(operator: str, inputs: dict[str, Array], constants: dict[str, Array], outputs: int, **more: Any) -> Any:
    """The node alone; ``opset`` and ``domain`` besides its attributes."""
    opset, domain = more.pop("opset", 28), more.pop("domain", "")
    names = [f"o{index}" for index in range(outputs)]
    node = helper.make_node(operator, [*inputs, *constants], names, "the node", domain=domain, **more)
    return model_around(node, inputs, constants, opset=opset)


def products(axis: int, **attributes: int) -> tuple[Any, ...]:
    return "CumProd", {"x": f(2, 3, 4)}, {"axis": np.asarray(axis, np.int32)}, 1, {"opset": 26, **attributes}


QKV = {"q": f(2, 2, 3, 4), "k": f(2, 2, 5, 4), "v": f(2, 2, 5, 4)}
PACKED = {"q": f(1, 4, 8), "k": f(1, 4, 8), "v": f(1, 4, 8)}
HEADS = {"q_num_heads": 2, "kv_num_heads": 2}
CASES: dict[str, tuple[Any, ...]] = {
    "floored remainder": ("Mod", {"x": EDGES, "y": BY}, {}, 1, {}),
    "floored remainder, broadcast": ("Mod", {"x": f(3, 4), "y": np.float32([[2], [-3], [0.5]])}, {}, 1, {}),
    "products": products(1),
    "products before": products(-1, exclusive=1),
    "products from the end": products(0, reverse=1),
    "products behind": products(2, exclusive=1, reverse=1),
    "products of integers": ("CumProd", {"x": np.asarray([2, 3, -4])}, {"axis": np.asarray(0)}, 1, {"opset": 26}),
    "a body without types": ("SwiGLU", {"x": f(2, 6), "gate": f(2, 6)}, {}, 1, {}),
    "a body with a scan": ("LinearAttention", PACKED, {}, 2, {**HEADS, "update_rule": "linear"}),
    "a body made for its inputs": ("CausalConvWithState", {"x": f(2, 3, 6), "w": f(3, 1, 4)}, {}, 2, {}),
    "of the preview domain": ("FlexAttention", QKV, {}, 1, {"domain": "ai.onnx.preview"}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("operator", "inputs", "constants", "outputs", "more"), CASES.values(), ids=CASES)
def test_what_is_newer_computes_the_same(
    operator: str, inputs: dict[str, Array], constants: dict[str, Array], outputs: int, more: dict[str, Any]
) -> None:
    proto = model(operator, inputs, constants, outputs, **more)
    want = ReferenceEvaluator(proto).run(None, inputs)
    hub = specialize(read_proto(proto).hub()).model
    assert operator == "Mod" or operator not in {node.op_type for node in hub.graph}
    for found, wanted in zip(_computed(ir.to_proto(hub), inputs), want, strict=True):
        assert found.dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def _computed(proto: onnx.ModelProto, inputs: dict[str, Array]) -> list[Any]:
    """By onnxruntime; by the reference what that has no kernel for, or whose scan it wants more types for."""
    if {node.op_type for node in proto.graph.node} & {"Swish", "Squeeze"}:
        return list(ReferenceEvaluator(proto).run(None, inputs))
    return list(run(proto, inputs).values())


def test_layers_keep_their_names() -> None:
    document = read_proto(model("SwiGLU", {"x": f(2, 6), "gate": f(2, 6)}, {}, 1))
    assert [layer.name for layer in document.layers] == ["the node"]
    assert {node.metadata_props["workbench.layers"] for node in document.hub().graph} == {'["the node"]'}


def test_a_computed_axis_is_refused() -> None:
    proto = model("CumProd", {"x": f(3), "axis": np.asarray(0)}, {}, 1, opset=26)
    with pytest.raises(ModelError, match="its axis or the rank of its data is not known"):
        read_proto(proto).hub()
