"""The record of a conversion: it comes back as it was written, and a lying one does no harm."""

from __future__ import annotations

import json

import pytest

from workbench.document import Provenance, TensorLink, TensorSpec

RECORD = Provenance(
    source_format="onnx",
    source_name="net.onnx",
    layers={"conv_1": ("conv", "relu")},
    tensors={"y": TensorLink("out"), "z": TensorLink("mid", (0, 3, 1, 2))},
    inputs={"x": TensorSpec("in:0", "int64", (1, "n", None))},
    outputs={"y": TensorSpec("out", "float32", None)},
    folded=("shape",),
)


def test_it_comes_back_as_it_was_written() -> None:
    assert Provenance.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"source_format": 1}', "[" * 100_000])
def test_what_is_no_record_is_none(text: str) -> None:
    assert Provenance.from_json(text) is None


@pytest.mark.parametrize("perm", [[9, -3], [0, 0], [1]])
def test_an_impossible_permutation_links_nothing(perm: list[int]) -> None:
    data = json.loads(RECORD.to_json())
    data["tensors"]["z"] = ["mid", perm]
    found = Provenance.from_json(json.dumps(data))
    assert found is not None
    assert found.tensors == {"y": TensorLink("out")}
