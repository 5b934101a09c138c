"""Models that take pictures, against their source, siblings, themselves in float32, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb

pytest.importorskip("coremltools")
Image = pytest.importorskip("PIL.Image")

OPTIONS: Mapping[str, Any] = {
    "shapes": {"image": (1, 1, 8, 8)},
    "target": "iOS17",
    "images": {"image": wb.ImageInput(colours="GRAYSCALE", scale=1 / 16, bias=0.1)},
    "labels": list("0123456789"),
    "names": {"image": "photo"},
}
PICTURE = Image.fromarray((np.arange(64).reshape(8, 8) * 4).astype(np.uint8))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, wb.Model]:
    folder: Path = tmp_path_factory.mktemp("pictures")
    source = wb.load(wb.samples.digits())
    full = wb.load(source.convert("coreml", **OPTIONS).save(folder / "full.mlpackage"))
    half = source.convert("coreml", precision="fp16", **OPTIONS).save(folder / "half.mlpackage")
    return {
        "source": source,
        "full": full,
        "half": wb.load(half),
        "widened": wb.load(half, precision="fp32"),
        "onnx": wb.load(full.convert("onnx", opset=17).save(folder / "back.onnx")),
        "nnef": full.convert("nnef"),
    }


@pytest.mark.parametrize("drawn", [False, True], ids=["random", "picture"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("source", "full"),
        ("full", "source"),
        ("full", "full"),
        ("full", "half"),
        ("half", "widened"),
        ("widened", "half"),
        ("full", "onnx"),
        ("onnx", "full"),
        ("full", "nnef"),
    ],
)
def test_both_are_fed_what_each_takes(models: Mapping[str, wb.Model], first: str, second: str, drawn: bool) -> None:
    report = wb.compare(models[first], models[second], feeds={"photo": PICTURE} if drawn else None)
    assert report.ok, report
    assert [row.status for row in report.outputs] == ["ok"]
    pixels = max(row.accumulated.peak for row in report.rows if row.accumulated is not None)
    assert pixels > 5  # 255 / 16 through the network; standard normal numbers in the place of pixels leave less


def test_values_of_the_source_are_not_pixels_twice(models: Mapping[str, wb.Model]) -> None:
    """The record of the target is about the target's source, which is not the reference."""
    pixels = np.full((1, 1, 8, 8), 120, np.float32)
    report = wb.compare(models["half"], models["widened"], feeds={"photo": pixels})
    assert report.ok, report
    expected = models["half"].run({"photo": pixels})["classLabel_probs"]
    np.testing.assert_allclose(models["widened"].run({"photo": pixels})["classLabel_probs"], expected, rtol=0.02)
