"""Packages whose weights are compressed: smaller, declared approximate, each layer still known, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import workbench as wb
from workbench.errors import OptionError
from workbench.formats.coreml import options as chosen

RNG = np.random.default_rng(3)
SCHEMES = ("palettize8", "palettize4", "int8", "int4")


def network() -> onnx.ModelProto:
    """A convolution with 4,608 weights, and a product with 1,024 that is too small to be compressed."""
    kernel = RNG.normal(size=(16, 32, 3, 3)).astype(np.float32)
    matrix = RNG.normal(size=(16, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["maps"], name="conv"),
            helper.make_node("GlobalAveragePool", ["maps"], ["mean"], name="mean"),
            helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
            helper.make_node("MatMul", ["flat", "matrix"], ["y"], name="product"),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 32, 6, 6])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.numpy_helper.from_array(kernel, "kernel"), onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("weight.bin"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_compressed_and_every_layer_is_still_known(scheme: str, tmp_path: Path) -> None:
    source = wb.load(network())
    options: dict[str, Any] = {"compress": scheme, "target": "iOS18"}
    plan = source.plan("coreml", **options)
    assert {row.layer: str(row.verdict) for row in plan} == {
        "conv": "approximate", "mean": "exact", "flatten": "exact", "product": "exact"
    }  # fmt: skip
    converted = source.convert("coreml", **options)
    saved = converted.save(tmp_path / "small.mlpackage")
    plain = source.convert("coreml", target="iOS18").save(tmp_path / "plain.mlpackage")
    assert size_of(saved) < 0.6 * size_of(plain)
    report = wb.compare(source, wb.load(saved), mode="isolated")
    rows = {row.tensor: row for row in report.rows}
    error = rows["maps"].isolated
    assert error is not None
    bound = {"palettize8": 2e-2, "palettize4": 2e-1, "int8": 2e-2, "int4": 2e-1}[scheme]
    assert 1e-5 < error.relative_l2 < bound
    assert rows["maps"].approximate
    assert rows["y"].status == "ok"
    made = wb.load(saved)
    assert made.provenance is not None
    held = [layer.name for layer in made.layers if layer.operator.startswith("constexpr_")]
    assert held
    assert all(made.provenance.layers[name] == ("conv",) for name in held)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    model = network()
    paths = [
        wb.load(model).convert("coreml", compress="palettize4").save(tmp_path / f"{name}.mlpackage") for name in "ab"
    ]
    contents = [[file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()] for path in paths]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": "zip"}, "none of palettize8"),
        ({"compress": "int4", "target": "iOS17"}, "needs iOS18 or later"),
        ({"compress": "int8", "target": "iOS15"}, "needs iOS16 or later"),
    ],
)
def test_a_scheme_that_the_target_does_not_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(wb.OptionError, match=message):
        wb.load(network()).plan("coreml", **options)


def test_without_scikit_learn_palettes_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"'palettize4' needs scikit-learn, .*: pip install scikit-learn\."):
        chosen.CoreMLOptions(compress="palettize4")
    assert chosen.CoreMLOptions(compress="int8").compress == "int8"
