"""What is said of a graph whose sizes are open: refused is only what no sizes can help, the rest is undecided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import workbench as wb
from workbench.hub import OPSET, foresee
from workbench.lowering import Table
from workbench.plan import Verdict
from workbench.widgets.convert_step import rows_of

TABLE: Table[Any] = Table("onnx", "toy")
TABLE.lowers("Relu")(lambda node, target: None)


def model(nodes: Sequence[onnx.NodeProto], output: int = TensorProto.FLOAT, rank: int = 1) -> wb.Model:
    """The nodes from ``x``, float32[n, 3], to ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", output, [None] * rank)],
    )
    return wb.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10))


def node(operator: str, read: Sequence[str], made: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(read), [made], name=f"{operator.lower()}_{made}", **attributes)


def refused(made: wb.Model) -> list[str]:
    outcomes = foresee(made.graph.graph, TABLE)
    assert {outcome.verdict for outcome in outcomes} <= {Verdict.REFUSED, Verdict.UNDECIDED}
    assert len(outcomes) == len(made.graph.graph)
    return [outcome.layers[0] for outcome in outcomes if outcome.verdict is Verdict.REFUSED]


def test_an_operator_that_the_table_lacks_is_refused() -> None:
    assert refused(model([node("Relu", ["x"], "r"), node("Unique", ["r"], "y")])) == ["unique_y"]


def test_the_arithmetic_of_shapes_may_become_constant() -> None:
    shape = [node("Shape", ["x"], "s"), node("ReduceProd", ["s"], "y", keepdims=0)]
    assert refused(model(shape, TensorProto.INT64, 0)) == []


def test_an_operator_with_a_body_may_be_replaced() -> None:
    assert refused(model([node("Celu", ["x"], "y")], rank=2)) == []


def test_what_only_control_flow_reads_may_be_gone_with_its_branches() -> None:
    def branch(name: str, operator: str, read: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(f"{name}_o", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, [read], [f"{name}_o"])], name, [], [output])

    nodes = [
        node("Unique", ["x"], "d"),
        node("Size", ["x"], "s"),
        node("Cast", ["s"], "c", to=TensorProto.BOOL),
        node("If", ["c"], "i", then_branch=branch("t", "Relu", "x"), else_branch=branch("e", "Relu", "d")),
        node("Relu", ["i"], "y"),
    ]
    assert refused(model(nodes)) == []


def test_a_length_that_only_a_run_tells_is_for_targets_that_have_such() -> None:
    made = model([node("Relu", ["x"], "r"), node("Unique", ["r"], "y")])
    assert [str(row.verdict) for row in made.plan("coreml")] == ["undecided", "undecided"]
    assert str(made.plan("coreml", shapes={"x": (4, 3)}).rows[1].verdict) == "approximate"


def test_the_plan_of_open_sizes_lists_every_layer() -> None:
    made, target = model([node("Relu", ["x"], "r"), node("Unique", ["r"], "y")]), "nnef"
    plan = made.plan(target)
    assert [(row.layer, str(row.verdict)) for row in plan] == [("relu_r", "undecided"), ("unique_y", "refused")]
    assert plan.rows[0].note == "it depends on the sizes of the inputs"
    assert "how many values are different" in plan.rows[1].note
    assert plan.summary() == "2 layers: 1 undecided, 1 refused; 1 input or output refused"
    assert [refusal.layer for refusal in plan.refusals] == ["x", "unique_y"]
    assert "relu_r" not in str(plan)
    assert "unique_y" in str(plan)
    assert "and 1 more layers, all undecided" in plan._repr_html_()
    assert [row[2] for row in rows_of(plan)] == ["refused", "undecided"]
    with pytest.raises(wb.ConversionError, match="2 layers refused"):
        made.convert(target)


@pytest.mark.parametrize("target", ["coreml", "nnef"])
def test_undecided_is_not_ok_and_fixing_the_sizes_decides(target: str) -> None:
    made = wb.load(wb.samples.digits())
    plan = made.plan(target)
    assert not plan.ok
    assert plan.count("undecided") == len(plan) == len(made.layers)
    fixed = made.plan(target, shapes={"image": (1, 1, 8, 8)})
    assert fixed.ok
    assert fixed.count("undecided") == 0
