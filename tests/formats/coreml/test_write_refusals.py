"""What the Core ML writer refuses, all of it at once, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import workbench as wb
from tests.formats.coreml.writing import Case, Const, drafted, run_written
from workbench.document import silent
from workbench.errors import OptionError
from workbench.formats.coreml.options import CoreMLOptions
from workbench.hub import OPSET

X = np.ones((1, 4, 5, 5), np.float32)
SMALL = np.ones((2, 3), np.float32)


def ints(*values: int) -> Const:
    return Const(np.asarray(values, dtype=np.int64))


REFUSED = [
    (Case("no counterpart", "MelWeightMatrix", (np.asarray(8), *(Const(np.asarray(size)) for size in (16, 8000)),
          Const(np.float32(0)), Const(np.float32(4000)))), "no counterpart for MelWeightMatrix-17"),
    (Case("beyond int32", "Add", (np.ones(2, np.int64), ints(1 << 40, 1))), "beyond the 32 bits"),
    (Case("narrow shrink", "Shrink", (np.ones(2, np.int8),)), "wraps around"),
    (Case("narrow product", "Mul", (np.ones(2, np.uint16), np.ones(2, np.uint16))), "wraps around"),
    (Case("pool indices", "MaxPool", (np.ones((1, 1, 20, 20), np.float32),), {"kernel_shape": [12, 12]}, outputs=2),
     "composed of slices"),
    (Case("power of integers", "Pow", (np.ones(2, np.int32), Const(np.asarray(65)))), "powers of 0 to 64"),
    (Case("root of integers", "Pow", (np.ones(2, np.int32), Const(np.asarray(0.5, np.float32)))), "or a fraction"),
    (Case("computed shape", "Reshape", (SMALL, np.asarray([3, 2]))), "run time"),
    (Case("computed weight, dilated", "Conv", (X, np.ones((2, 4, 2, 2), np.float32)), {"dilations": [2, 2]}),
     "cannot be dilated"),
    (Case("lstm clip", "LSTM", (np.ones((2, 1, 3), np.float32), Const(np.ones((1, 8, 3), np.float32)),
          Const(np.ones((1, 8, 2), np.float32))), {"hidden_size": 2, "clip": 1.0}), "clips"),
    (Case("lstm lengths", "LSTM", (np.ones((2, 2, 3), np.float32), Const(np.ones((1, 8, 3), np.float32)),
          Const(np.ones((1, 8, 2), np.float32)), None, Const(np.asarray([1, 2], np.int32))), {"hidden_size": 2}),
     "several lengths"),
    (Case("lstm activation", "LSTM", (np.ones((2, 1, 3), np.float32), Const(np.ones((1, 8, 3), np.float32)),
          Const(np.ones((1, 8, 2), np.float32))), {"hidden_size": 2, "activations": ["Softsign", "Tanh", "Tanh"]}),
     "'Softsign' is none of"),
    (Case("lrn even", "LRN", (X,), {"size": 2}), "even one"),
    (Case("resize to the same", "Resize", (X, None, Const(np.asarray([1, 1, 1.1, 1], np.float32))), {"mode": "linear"}),
     "keep every size"),
    (Case("integer mean", "ReduceMean", (np.ones((2, 3), np.int32), ints(1))), "rounds by rules"),
    (Case("empty slice", "Slice", (SMALL, ints(1), ints(1))), "no empty tensors"),
    (Case("dropout training", "Dropout", (SMALL, None, Const(np.asarray(True)))), "as in training"),
    (Case("gather outside", "Gather", (SMALL, ints(5))), "outside"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "cause"), REFUSED, ids=lambda item: str(item))
def test_refused(case: Case, cause: str) -> None:
    made = drafted(case.model())
    notes = [outcome.note for outcome in made.outcomes if str(outcome.verdict) == "refused"]
    assert notes, made.outcomes
    assert cause in notes[0]
    assert "defect" not in notes[0]


def test_all_refusals_come_at_once_and_nothing_refuses_for_its_neighbour() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="first"),
        helper.make_node("Relu", ["d"], ["r"], name="fine"),
        helper.make_node("Det", ["x"], ["e"], name="second"),
        helper.make_node("Add", ["r", "e"], ["y"], name="sum"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 7, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    made = drafted(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10))
    assert [(outcome.layers, str(outcome.verdict)) for outcome in made.outcomes] == [
        (("first",), "refused"), (("fine",), "exact"), (("second",), "refused"), (("sum",), "exact"),
    ]  # fmt: skip


def test_float64_is_declared_approximate() -> None:
    made = drafted(Case("double", "Exp", (np.ones(3),)).model())
    assert [str(outcome.verdict) for outcome in made.outcomes] == ["approximate"]
    assert "float32" in made.outcomes[0].note


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("power", "verdicts"), [(29, {"approximate"}), (45, {"approximate", "refused"})])
def test_rounding_by_a_sum_of_float64_is_not_done_in_float32(power: int, verdicts: set[str], turned: bool) -> None:
    """NNEF rounds float64 to float32 so; 2^29 + x is 2^29 in float32, whatever the x."""
    x, large = np.linspace(1, 2, 7), helper.make_tensor("c", TensorProto.DOUBLE, [], [2.0**power])
    nodes = [
        helper.make_node("Add", ["c", "x"] if turned else ["x", "c"], ["sum"], name="add"),
        helper.make_node("Sub", ["sum", "c"], ["y"], name="sub"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [7]) for name in "xy"]
    graph = helper.make_graph(nodes, "rounding", ends[:1], ends[1:], [large])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    made = drafted(proto)
    assert {str(outcome.verdict) for outcome in made.outcomes} == verdicts
    if "refused" not in verdicts:
        np.testing.assert_allclose(run_written(made.finish(silent), {"x": x})["y"], x, rtol=2e-7)


def test_float16_is_declared_approximate() -> None:
    proto = Case("e", "Exp", (SMALL,)).model()
    options: list[tuple[dict[str, Any], str]] = [
        ({}, "exact"),
        ({"precision": "fp16"}, "approximate"),
        ({"precision": "mixed", "keep_fp32": ["node"]}, "exact"),
    ]
    for given, verdict in options:
        assert [str(outcome.verdict) for outcome in drafted(proto, **given).outcomes] == [verdict]


def test_what_an_old_target_lacks_names_the_target() -> None:
    data = np.ones((2, 3, 4), np.float32)
    case = Case("batch", "GatherND", (data, Const(np.asarray([[1], [0]]))), {"batch_dims": 1})
    made = drafted(case.model(), target="iOS15")
    assert "iOS16" in made.outcomes[0].way_out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "fp8"}, "fp32, fp16, mixed"),
        ({"target": "iOS14"}, "iOS15, iOS16"),
        ({"target": "ios17"}, "Did you mean 'iOS17'"),
        ({"precision": "mixed"}, "keep_fp32"),
        ({"keep_fp32": ["a"]}, "belongs to precision='mixed'"),
        ({"precision": "mixed", "keep_fp32": "a"}, "list of layer names"),
    ],
)
def test_bad_options_say_what_there_is(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CoreMLOptions(**given)


def test_a_function_that_keeps_no_layer_is_an_error() -> None:
    model = wb.load(Case("one", "Relu", (SMALL,)).model())
    with pytest.raises(OptionError, match=r"chooses none of the 1 layers; precision='fp16' is"):
        model.plan("coreml", precision="mixed", keep_fp32=lambda layer: layer.operator == "Exp")


def test_an_unknown_layer_to_keep_is_an_error() -> None:
    proto: onnx.ModelProto = Case("one", "Relu", (SMALL,)).model()
    with pytest.raises(OptionError, match=r"no layer 'nod'\. Did you mean 'node'"):
        drafted(proto, precision="mixed", keep_fp32=["nod"])
