"""The run over architectures: one of them is right, and a layer that computes something else is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

import workbench as wb

pytest.importorskip("torch")
pytest.importorskip("coremltools")

from tests.conformance.architectures import check, line, page  # needs torch
from tests.test_architectures import export


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_computes_something_else_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.onnx"
    feeds = export("unet", source, dynamo=False)
    for precision in ("fp32", "fp16"):
        found = check("unet", "legacy", precision, source, feeds)
        assert not found.cause
        assert found.layers > 5
    spoiled = onnx.load(source)
    weight = spoiled.graph.initializer[0]
    array = numpy_helper.to_array(weight) * 1.01
    weight.CopyFrom(numpy_helper.from_array(array.astype("float32"), weight.name))
    onnx.save(spoiled, tmp_path / "spoiled.onnx")
    convert = wb.Model.convert

    def other(_: wb.Model, *arguments: Any, **options: Any) -> wb.Model:
        return convert(wb.load(tmp_path / "spoiled.onnx"), *arguments, **options)

    for folder, precision in (("a", "fp32"), ("b", "fp16")):
        (tmp_path / folder).mkdir()
        copy = Path(source).rename(tmp_path / folder / "source.onnx")
        monkeypatch.setattr(wb.Model, "convert", other)
        found = check("unet", "legacy", precision, copy, feeds)
        source = copy
        assert "layers differ" in found.cause, line(found)
        assert "**0 of 1 are right.**" in page([found])
