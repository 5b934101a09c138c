"""Well-known architectures, exported by PyTorch, converted, saved, read again and compared layer by layer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import workbench as wb

torch = pytest.importorskip("torch")

from tests.architectures import ARCHITECTURES, LOWEST, small  # noqa: E402  # needs torch
from tests.formats.coreml.test_write_provenance import assert_accounted  # noqa: E402

TARGETS = {
    "coreml": ("coreml", {"target": "iOS17"}, ".mlpackage"),
    "coreml-fp16": ("coreml", {"target": "iOS17", "precision": "fp16"}, ".mlpackage"),
    "nnef": ("nnef", {}, ".nnef"),
}


def export(name: str, path: Path, dynamo: bool, make: Callable[[str], Any] = small) -> dict[str, Any]:
    """Write the architecture's ONNX file; returns feeds for it."""
    torch.manual_seed(0)
    module, inputs = make(name)
    names = [f"x{index}" for index in range(len(inputs))]
    torch.onnx.export(module.eval(), inputs, path, input_names=names, dynamo=dynamo)
    return {key: value.numpy() for key, value in zip(names, inputs, strict=True)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_computes_the_same_in_every_format(name: str, dynamo: bool, tmp_path: Path) -> None:
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("the dynamo exporter needs onnxscript")
    source = tmp_path / "source.onnx"
    feeds = export(name, source, dynamo)
    (expected,) = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, feeds)
    model = wb.load(source)
    for label, (target, options, suffix) in TARGETS.items():
        plan = model.plan(target, **options)
        assert plan.ok, (label, plan.refusals)
        converted = wb.load(model.convert(target, **options).save(tmp_path / f"{label}{suffix}"))
        if target == "coreml":
            assert_accounted(model, converted)
        report = wb.compare(model, converted, feeds=feeds)
        assert report.ok, (label, report.worst(3))
        assert all(row.status == "ok" for row in report.outputs)
        (found,) = converted.run(feeds).values()
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < (1e-2 if "fp16" in label else 1e-5), label


def test_a_mask_of_the_lowest_number_leaves_equal_shares_in_float16() -> None:
    """Where everything is masked, float32 shares equally; an infinite mask would make NaN of it."""

    class Masked(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, scores: Any, seen: Any) -> Any:
            return (scores + torch.where(seen > 0, 0.0, LOWEST)).softmax(-1)

    scores, seen = torch.randn(2, 4), torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0]])
    converted = wb.load(Masked(), example_inputs=(scores, seen)).convert("coreml", precision="fp16")
    (shares,) = converted.run({"scores": scores.numpy(), "seen": seen.numpy()}).values()
    np.testing.assert_array_equal(shares[1], np.full(4, 0.25))
    assert shares[0, 2] == 0
    np.testing.assert_allclose(shares[0].sum(), 1, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lowest", [-1e9, -1e6, LOWEST])
def test_a_mask_that_is_multiplied_leaves_equal_shares_in_float16(lowest: float) -> None:
    """BERT's ``(1 − seen) · −1e9``: a product with a number beyond float16 is computed in float32, and bounded."""

    class Masked(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, scores: Any, seen: Any) -> Any:
            return (scores + (1.0 - seen.float()) * lowest).softmax(-1)

    scores, seen = torch.randn(2, 4), torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0]])
    source = wb.load(Masked(), example_inputs=(scores, seen))
    converted = source.convert("coreml", precision="fp16")
    feeds = {"scores": scores.numpy(), "seen": seen.numpy()}
    (shares,) = converted.run(feeds).values()
    assert np.isfinite(shares).all()
    assert shares[0, 2] == 0
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-3)
    bounded = [row.note for row in source.plan("coreml", precision="fp16") if "held at ±65504" in row.note]
    assert bounded
    # A calculated −1e6 may be a quantity: that it was bounded is told as a difference.
    assert wb.compare(source, converted, feeds=feeds).ok == (lowest <= -1e9)


@pytest.mark.filterwarnings("ignore")
def test_a_large_factor_between_operations_in_float32_is_no_bound() -> None:
    """Multiplied by a million and divided again, in float32 throughout: nothing is bounded on the way."""

    class Rounded(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.div(x * 1e6, 1e6) + x

    x = torch.rand(3, 5) + 0.5
    converted = wb.load(Rounded(), example_inputs=(x,)).convert("coreml", precision="fp16")
    (found,) = converted.run({"x": x.numpy()}).values()
    np.testing.assert_allclose(found, 2 * x.numpy(), rtol=4e-3)


@pytest.mark.filterwarnings("ignore")
def test_attention_that_trains_no_more_is_exported() -> None:
    """PyTorch's shortcut for inference has no counterpart in ONNX; it is taken where no gradient is wanted."""

    class Attention(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x, need_weights=False)[0]

    module = Attention().eval().requires_grad_(False)
    x = torch.randn(1, 6, 16)
    (found,) = wb.load(module, example_inputs=(x,)).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()
