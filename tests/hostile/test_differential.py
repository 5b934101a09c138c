"""Random graphs keep their numbers through every pair of formats, or are refused by name; a sample of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import workbench as wb
from tests.hostile.differential import Mismatch, outcomes, run
from tests.hostile.graphs import Graph


def test_random_graphs_keep_their_numbers() -> None:
    counts = run(40, start=8)
    assert counts["graphs", "tried"] >= 25
    for first in ("onnx", "nnef", "coreml"):
        for second in ("onnx", "nnef", "coreml"):
            assert counts[f"{first} → {second}", "same"] >= 10


def test_a_wrong_number_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(values={"x0": np.float32([1, -2])}, exact={"x0"}, feeds=["x0"])
    graph.add("Relu", ["x0"])
    assert set(outcomes(graph)) == {(f"{a} → {b}", "same") for a in ("onnx", "nnef", "coreml") for b in
                                    ("onnx", "nnef", "coreml")}  # fmt: skip
    wrong = wb.load(parser.parse_model('<ir_version: 10, opset_import: ["" : 18]> g (float[2] x0) => (float[2] t1) '
                                       "{ t1 = Abs(x0) }"))  # fmt: skip
    monkeypatch.setattr(wb.Model, "convert", lambda model, target, **options: wrong)
    with pytest.raises(Mismatch, match="differs by 2"):
        list(outcomes(graph))
