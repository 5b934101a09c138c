"""Upgrading whole graphs: subgraphs, element types, domains."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.hub.upgrade.support import (
    F32,
    I64,
    IMAGE,
    STAMP,
    X34,
    branch,
    case,
    case_model,
    model_of,
    rand,
    run,
    upgraded,
)
from workbench.hub.opset import OPSET
from workbench.hub.upgrade import upgrade


def test_subgraphs_are_upgraded_with_names_that_collide_with_none() -> None:
    branches = {
        f"{which}_branch": branch(
            which,
            [
                helper.make_node("Unsqueeze", ["x"], [f"{which}_a"], f"{which}_same", axes=[0]),
                helper.make_node("Softmax", [f"{which}_a"], [f"{which}_b"], axis=axis),
                helper.make_node("ReduceSum", [f"{which}_b"], [f"{which}_axes"], axes=[-1]),
            ],
            f"{which}_axes",
        )
        for which, axis in (("then", 1), ("else", 2))
    }
    node = helper.make_node("If", ["c"], ["y"], **branches)
    feeds = {"c": np.array(True), "x": X34, "then_same_axes": X34}
    model = model_of([node], feeds, ["y"], 11)
    for c in (True, False):
        given = {**feeds, "c": np.array(c)}
        np.testing.assert_allclose(run(upgraded(model), given)[0], run(model, given)[0], rtol=1e-6)


def test_loop_body_with_unknown_types_is_upgraded() -> None:
    body = branch(
        "body",
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Clip", ["state"], ["next"], min=-0.5, max=0.5),
        ],
        "go_on",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
    )
    body.input.append(onnx.ValueInfoProto(name="state"))
    body.output.append(onnx.ValueInfoProto(name="next"))
    feeds = {"n": np.array(2, I64), "x": X34}
    model = model_of([helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], feeds, ["y"], 10)
    np.testing.assert_array_equal(run(upgraded(model), feeds)[0], np.clip(X34, -0.5, 0.5))


def test_scan_8_with_a_batch_becomes_a_scan_of_scans() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("s", "x", "s2", "out")]
    nodes = [helper.make_node("Add", ["s", "x"], ["s2"], "sum"), helper.make_node("Clip", ["s2"], ["out"], min=-1.0)]
    for node in nodes:
        node.metadata_props.add(key="workbench.layers", value=STAMP["workbench.layers"])
    body = helper.make_graph(nodes, "body", ends[:2], ends[2:])
    for directions in ({}, {"directions": [1]}):
        scan = helper.make_node(
            "Scan", ["", "s0", "xs"], ["last", "all"], "scan", num_scan_inputs=1, body=body, **directions
        )
        feeds = {"s0": rand(2, 3), "xs": rand(2, 4, 3, seed=1)}
        model = model_of([scan], feeds, ["last", "all"], 8)
        for want, got in zip(run(model, feeds), run(upgraded(model), feeds), strict=True):
            np.testing.assert_array_equal(got, want)


def test_element_types_are_followed_back_through_the_graph() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["half"], ["r"]),
        helper.make_node("Pad", ["r"], ["y"], "pad", pads=[0, 1, 0, 1], value=2.5),
    ]
    model = model_of(nodes, {"x": X34}, ["y"], 10)
    hub = ir.from_proto(model)
    upgrade(hub)
    assert [node.op_type for node in hub.graph] == ["Cast", "Relu", "Pad"]
    assert hub.graph.initializers["pad_value"].dtype is ir.DataType.FLOAT16


def test_an_overridable_initializer_is_not_taken_for_a_constant() -> None:
    model, feeds = case_model(case("Resize", IMAGE, np.array([1, 1, 2, 2], F32), opset=10, constants=(1,)), ranked=True)
    model.graph.input.append(helper.make_tensor_value_info("i1", TensorProto.FLOAT, [4]))
    other = {**feeds, "i1": np.array([1, 1, 0.6, 1.7], F32)}
    np.testing.assert_array_equal(run(upgraded(model), other)[0], run(model, other)[0])


def test_other_domains_and_a_model_of_the_hubs_opset_stay_as_they_are() -> None:
    nodes = [
        helper.make_node("Squeeze", ["x"], ["a"], domain="elsewhere", axes=[0]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    model = model_of(nodes, {"x": X34}, ["y"], OPSET)
    model.opset_import.add(domain="elsewhere", version=3)
    assert list(upgraded(model).graph.node) == list(model.graph.node)


def test_the_domain_may_be_spelled_out() -> None:
    model = model_of([helper.make_node("Unsqueeze", ["x"], ["y"], domain="ai.onnx", axes=[0])], {"x": X34}, ["y"], 11)
    model.opset_import[0].domain = "ai.onnx"
    result = upgraded(model)
    assert [(item.domain, item.version) for item in result.opset_import] == [("", OPSET)]
    np.testing.assert_array_equal(run(result, {"x": X34})[0], X34[None])
