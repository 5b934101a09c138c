"""The option that says which optimisations run: programs as they are lowered, and the same numbers in any case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import helper, numpy_helper

import workbench as wb
from tests.formats.coreml.test_write_program import FEEDS, NETWORK
from tests.formats.coreml.writing import operators_of, run, run_written, written
from workbench.errors import OptionError
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.pass_list import OPTIMISATIONS

FUSED = ["conv", "relu", "conv", "gelu", "matmul"]
GELU = ["real_div", "erf", "add", "mul", "mul"]
LOWERED = ["conv", "batch_norm", "relu", "conv", "batch_norm", "identity", *GELU, "matmul"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("passes", "operators"),
    [
        ("all", FUSED),
        ("none", LOWERED),
        ("", LOWERED),
        ((), LOWERED),
        (["fuse_conv_bias"], LOWERED),
        (["noop_elimination"], [name for name in LOWERED if name != "identity"]),
        (["-fuse_gelu_exact"], ["conv", "relu", "conv", *GELU, "matmul"]),
        ("-fuse_gelu_exact, -fuse_conv_batchnorm", [name for name in LOWERED if name != "identity"]),
    ],
    ids=str,
)
def test_the_named_passes_run(passes: str | Sequence[str], operators: list[str], precision: str) -> None:
    document = written(NETWORK, passes=passes, precision=precision)
    assert [name for name in operators_of(document) if name != "cast"] == operators
    assert document.provenance is not None
    named = {layer for layers in document.provenance.layers.values() for layer in layers}
    assert named == {node.name for node in NETWORK.graph.node}
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    got, want = run_written(document, FEEDS)["y"], run(NETWORK, FEEDS)["y"]
    assert np.abs(got - want).max() / np.abs(want).max() < tolerance


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("fuse_gelu_exat", "Did you mean 'fuse_gelu_exact'"),
        (["-xyz"], f"There are {OPTIMISATIONS[0]}"),
        (["fuse_conv_bias", "-fuse_gelu_exact"], "those to run, or those to leave out"),
        (["-dead_code_elimination"], "'dead_code_elimination' always runs"),
        ([3], "takes names of passes"),
    ],
    ids=str,
)
def test_a_name_that_is_none_is_refused_with_the_nearest(passes: str | Sequence[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CoreMLOptions(passes=passes)


@pytest.mark.parametrize("left_out", OPTIMISATIONS)
def test_each_can_be_left_out(left_out: str) -> None:
    document = written(NETWORK, passes=[f"-{left_out}"])
    np.testing.assert_allclose(run_written(document, FEEDS)["y"], run(NETWORK, FEEDS)["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1, 1)], ids=str)
def test_what_is_subtracted_behind_a_convolution_stays_what_it_is(shape: tuple[int, ...], precision: str) -> None:
    """coremltools negates it where it lies when it makes a bias of it; another layer reads it too."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "c": rng.normal(size=shape) + 3}
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
                helper.make_node("Sub", ["a", "c"], ["y"], name="sub"),
                helper.make_node("Add", ["z", "c"], ["v"], name="add"),
            ],
            "shared",
            [helper.make_tensor_value_info(name, 1, dims) for name, dims in (("x", [1, 3, 8, 8]), ("z", [1, 4, 6, 6]))],
            [helper.make_tensor_value_info(name, 1, [1, 4, 6, 6]) for name in ("y", "v")],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    source = wb.load(model)
    converted = source.convert("coreml", precision=precision)
    assert [layer.operator for layer in converted.layers if layer.operator != "cast"] == ["conv", "add"]
    assert wb.compare(source, converted), "the constant that the other layer reads is what it was"
