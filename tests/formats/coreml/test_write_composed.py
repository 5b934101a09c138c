"""What is composed of other operators, written as an ML program and read back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import workbench
from tests.formats.coreml.writing import run_written, written
from tests.hub import test_compositions, test_contrib
from tests.hub.composing import Composed, run
from workbench.hub.compositions.table import CONTRIB

CHOSEN = (
    "MatMulInteger long", "QLinearConv", "DynamicQuantizeLinear", "SoftmaxCrossEntropyLoss",
    "GridSample linear zeros 0", "GridSample cubic reflection 1", "Col2Im", "MaxUnpool", "STFT",
    "DFT inverse", "Det (2, 3, 3)", "FusedConv clipped", "FusedMatMul", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "EmbedLayerNormalization", "MatMulNBits", "DynamicQuantizeMatMul",
    "QLinearMul", "QLinearAveragePool", "RotaryEmbedding", "MultiHeadAttention cached", "Attention causal",
    "GroupQueryAttention step",
)  # fmt: skip
ALL = {composed.name: composed for composed in (*test_compositions.CASES, *test_contrib.CASES)}


def typed(composed: Composed) -> onnx.ModelProto:
    """The model with the types of its outputs, which onnx does not infer of operators that it does not know."""
    model = composed.model()
    found = run(model, composed.feeds)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in found.items()
    )
    return model


@pytest.mark.parametrize("name", CHOSEN)
def test_written_and_read_back_it_computes_the_same(name: str) -> None:
    composed = ALL[name]
    want = run(composed.model(), composed.feeds)
    got = run_written(written(typed(composed)), composed.feeds)
    assert list(got) == list(want)
    for output, array in got.items():
        assert array.shape == want[output].shape
        np.testing.assert_allclose(
            array.astype(np.float64), want[output].astype(np.float64), rtol=1e-4, atol=max(composed.atol, 2e-5)
        )


def test_the_plan_counts_the_parts_as_the_layer_that_they_are_of() -> None:
    model = workbench.load(typed(ALL["SkipLayerNormalization"]))
    assert [(row.layer, str(row.verdict)) for row in model.plan("coreml")] == [("node", "exact")]
    converted = model.convert("coreml")
    assert workbench.compare(model, converted).ok


def test_a_refusal_of_the_composition_is_that_of_the_layer() -> None:
    refused = Composed("det", "Det", (np.eye(7, dtype=np.float32),))
    with pytest.raises(workbench.ConversionError, match="onnx Det-22 'node' → coreml: a determinant of 7 rows"):
        workbench.load(refused.model()).convert("coreml")


def test_an_operator_of_onnxruntime_stays_what_it_is_in_onnx() -> None:
    model = workbench.load(typed(ALL["QuickGelu"]))
    converted = model.convert("onnx")
    assert [layer.operator for layer in converted.layers] == [f"{CONTRIB}.QuickGelu"]


def test_regions_are_pooled_as_onnxruntime_pools_them() -> None:
    image = np.random.default_rng(8).standard_normal((2, 3, 7, 8)).astype(np.float32)
    composed = Composed("roi", "MaxRoiPool", (image, test_compositions.REGIONS), {"pooled_shape": [3, 2]})
    older = composed.model()
    older.opset_import[0].version = 21
    want = run(older, composed.feeds)
    got = run_written(written(composed.model()), composed.feeds)
    np.testing.assert_array_equal(got["o0"], want["o0"])
