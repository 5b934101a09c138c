"""What all formats share."""

from __future__ import annotations

import pytest

from workbench.formats import Source


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nmp.onnx", "nmp.mlpackage"),
        ("nmp.nnef.tgz", "nmp.mlpackage"),
        ("Sequential", "Sequential.mlpackage"),
        ("resnet v1.5", "resnet v1.5.mlpackage"),
        ("", "model.mlpackage"),
    ],
)
def test_a_converted_model_is_named_after_its_source_and_its_format(name: str, expected: str) -> None:
    assert Source("onnx", name, (), ()).name_with(".mlpackage") == expected
