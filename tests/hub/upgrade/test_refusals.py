"""What cannot be said exactly at the hub's opset is refused, whatever the file holds."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from tests.hub.upgrade.support import I64, IMAGE, X34, X234, X2345, Case, branch, case, case_model, model_of, rand
from workbench.errors import ModelError
from workbench.hub.upgrade import upgrade
from workbench.hub.upgrade.registry import versions

SEQUENCE = rand(4, 2, 3), rand(1, 5, 3), rand(1, 5, 5)
CHANNELS = tuple(np.abs(rand(3, seed=seed)) for seed in range(4))
REFUSALS = [
    (case("Dropout", X34, opset=6), r"onnx Dropout-6 'the node': is_test is 0.*; export the model for inference"),
    (case("Dropout", X34, opset=7, outputs=2), r"onnx Dropout-7 'the node': the mask 'o1' is read"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6), r"is_test is 0"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6, is_test=1, outputs=2), r"\['o1'\] are read"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6, is_test=1, spatial=0), r"not defined for spatial=0"),
    (case("BatchNormalization", X234, *CHANNELS, opset=9, outputs=5), r"put it into training mode"),
    (case("Cast", X34, opset=1, to="FLOATY"), r"Cast-1 .*'FLOATY'"),
    (case("Erf", np.ones(3, np.int32), opset=9), r"Erf-9 .*int32"),
    (case("LpPool", X2345, opset=1, p=2.5, kernel_shape=[2, 2]), r"p is 2.5"),
    (case("LpPool", X2345, opset=1), r"without 'kernel_shape'"),
    (case("Split", X34, opset=1, outputs=2), r"no defined axis"),
    (case("Split", X34, X34, opset=1, outputs=2, axis=1), r"computed at run time"),
    (case("Softmax", X34, opset=11, axis=2), r"axis 2 is outside the input's rank 2"),
    (case("Softmax", X34, opset=11, axis=1.5), r"'axis' is FLOAT, expected INT"),
    (case("Unsqueeze", X34, opset=11), r"required attribute 'axes' is missing"),
    (case("Pad", opset=2, pads=[0, 0], value=1.0), r"it has 0 inputs, the operator 1 to 1"),
    (case("Add", X34, X234, opset=6, broadcast=1, axis=0), r"reaches beyond A"),
    (case("RNN", *SEQUENCE, opset=1, outputs=0, hidden_size=5, output_sequence=1), r"Y has no name"),
    (case("Scan", X34, X234, opset=8, num_scan_inputs=1), r"'sequence_lens'"),
    (case("GroupNormalization", X234, *CHANNELS[:2], opset=18), r"'num_groups' is missing"),
    (case("Resize", X34, X34, opset=10, mode="cubic"), r"mode 'cubic'"),
    (case("GridSample", X2345, X2345, opset=16, mode="linear"), r"mode 'linear'"),
    (case("Upsample", X34, X34, opset=12), r"removed from ONNX"),
    (case("Scatter", X34, X34, X34, opset=12), r"removed from ONNX"),
    (case("ParametricSoftplus", X34, opset=7, alpha=1.0), r"required attribute 'beta'"),
    (case("Crop", IMAGE, opset=7, border=[1, 1]), r"four non-negative numbers"),
    (case("Affine", X34, opset=12), r"onnx Affine-12 'the node': ONNX has no such operator"),
    (case("ATen", X34, opset=7), r"ONNX has no such operator; if it is a custom operator, give it its domain"),
    (case("Gelu", X34, opset=12), r"exists only from opset 20 on; correct the model's opset_import"),
    (case("BitCast", X34, opset=26, to=6), r"exists only from opset 26 on; export the model with opset 25 or older"),
    (case("Celu", X34.astype(np.float16), opset=28), r"version 12 does not take float16"),
    (case("SpaceToDepth", rand(1, 1, 4, 4), opset=28, blocksize=2, mode="CRD"), r"\['mode'\] are unknown"),
]


@pytest.mark.parametrize(("case", "message"), REFUSALS, ids=lambda item: getattr(item, "name", ""))
def test_what_cannot_be_said_exactly_is_refused(case: Case, message: str) -> None:
    model, _ = case_model(case, ranked=True)
    with pytest.raises(ModelError, match=message):
        upgrade(ir.from_proto(model))


def test_all_refusals_are_raised_at_once() -> None:
    inner = branch("t", [helper.make_node("Dropout", ["x"], ["a"], "in_branch")], "a")
    other = branch("e", [helper.make_node("Identity", ["x"], ["b"])], "b")
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
        helper.make_node("Nonsense", ["x"], ["z"]),
    ]
    model = model_of(nodes, {"c": np.array(True), "x": X34}, ["y", "z"], 6)
    with pytest.raises(ModelError) as caught:
        upgrade(ir.from_proto(model))
    head, *lines = str(caught.value).splitlines()
    assert head == "The model cannot be brought from opset 6 to 25: 2 nodes refused"
    assert sorted(line.strip().split(":")[0] for line in lines) == ["onnx Dropout-6 'in_branch'", "onnx Nonsense-6 'z'"]


@pytest.mark.parametrize(
    ("opset", "message"), [(99, "opset 99; the installed onnx knows"), (0, "opset 0"), (None, "imports no opset")]
)
def test_a_model_without_a_usable_opset_is_refused(opset: int | None, message: str) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": X34}, ["y"], opset or 0)
    if opset is None:
        model.ClearField("opset_import")
    with pytest.raises(ModelError, match=message):
        upgrade(ir.from_proto(model))


def test_functions_have_to_be_inlined_before() -> None:
    model = model_of([helper.make_node("F", ["x"], ["y"], domain="own")], {"x": X34}, ["y"], 20)
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)
    )
    with pytest.raises(ModelError, match="inline them"):
        upgrade(ir.from_proto(model))


@pytest.mark.parametrize("seed", range(100))
def test_a_malformed_node_is_refused_or_upgraded_but_nothing_else(seed: int) -> None:
    """Any operator at any opset with random inputs, outputs and attributes, as a hostile file may have them."""
    rng = random.Random(seed)
    for operator in [*rng.sample(sorted(versions()), 12), "Affine", "Crop", "ImageScaler"]:
        names = {
            name
            for version in versions().get(operator, ())
            for name in onnx.defs.get_schema(operator, version, "").attributes
        }
        names |= {"alpha", "border", "bias"} if operator not in versions() else set()
        values = [0, 1, -1, 2**62, 1.5, float("nan"), float("inf"), "x", [], [1], [-9, 2**40], [0.5], ["a"], X34]
        inputs = [rng.choice(["x", "y", "k", ""]) for _ in range(rng.randrange(4))]
        outputs = [rng.choice([f"o{index}", ""]) for index in range(rng.randrange(4))]
        node = helper.make_node(operator, inputs, outputs)
        for name in rng.sample(sorted(names), rng.randint(0, len(names))):
            value = rng.choice(values)
            value = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            node.attribute.append(
                helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS if value == [] else None)
            )
        feeds = {"x": X34, "y": rand(2, 3, 4)}
        model = model_of([node], feeds, [], rng.randrange(1, 29), constants={"k": np.array([1, 2], I64)})
        with contextlib.suppress(ModelError):
            upgrade(ir.from_proto(model))
