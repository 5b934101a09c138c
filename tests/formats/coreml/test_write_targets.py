"""A trained network for the oldest system and for the newest, from either of its formats."""

from __future__ import annotations

import numpy as np
import pytest

import workbench as wb
from tests.real_models import COREML, RealModel, onnx_model

pytest.importorskip("coremltools")


@pytest.mark.parametrize("target", ["iOS15", "iOS26"])
@pytest.mark.parametrize("real", [onnx_model("basic-pitch"), COREML["basic-pitch"]], ids=["onnx", "coreml"])
def test_a_trained_network_in_float16(real: RealModel, target: str) -> None:
    source = wb.load(real.source)
    converted = source.convert("coreml", shapes=real.shapes, precision="fp16", target=target)
    feeds = real.feeds(source)
    for found, expected in zip(converted.run(feeds).values(), source.run(feeds).values(), strict=True):
        assert np.abs(found.reshape(expected.shape) - expected).max() < 0.05
