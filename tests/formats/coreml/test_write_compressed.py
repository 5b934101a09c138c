"""Packages whose weights are compressed: smaller, declared approximate, each layer still known, the same every time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import workbench as wb
from workbench.errors import OptionError
from workbench.formats.coreml import options as chosen
from workbench.formats.coreml import toolkit

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


def widths(channels: int, rank: int) -> wb.Model:
    """One layer whose weights have so many input channels: a matrix product, or a depthwise convolution."""
    feeds = helper.make_tensor_value_info(
        "x", onnx.TensorProto.FLOAT, [2, channels, 6, 6] if rank == 4 else [2, channels]
    )
    weight: tuple[int, ...]
    if rank == 4:
        weight, node = (channels, 1, 5, 5), helper.make_node("Conv", ["x", "w"], ["y"], name="layer", group=channels)
    else:
        weight, node = (channels, 96), helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")
    shape = [2, channels, 2, 2] if rank == 4 else [2, 96]
    graph = helper.make_graph(
        [node],
        "g",
        [feeds],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(RNG.normal(size=weight).astype(np.float32), "w")],
    )
    return wb.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


@pytest.mark.parametrize(
    ("channels", "rank", "shares"),
    [(48, 2, 24), (64, 2, 32), (97, 2, 97), (128, 4, 25)],
    ids=["a smaller block", "the usual block", "a prime number", "depthwise"],
)
def test_int4_leaves_no_weights_whatever_their_channels(
    channels: int, rank: int, shares: int, capfd: pytest.CaptureFixture[str]
) -> None:
    source = widths(channels, rank)
    (row,) = source.plan("coreml", compress="int4", target="iOS18")
    assert "int4" in row.note
    converted = source.convert("coreml", compress="int4", target="iOS18")
    assert capfd.readouterr().err == ""
    (name,) = [layer.name for layer in converted.layers if layer.operator.startswith("constexpr_")]
    stored = converted.weights[name]
    parts = stored.T.reshape(96, -1, shares) if rank == 2 else stored.reshape(channels, -1, shares)
    assert max(len(np.unique(part)) for part in parts.reshape(-1, shares)) <= 16
    report = wb.compare(source, converted)
    assert report.outputs[0].approximate
    found = report.outputs[0].accumulated
    assert found is not None
    assert found.relative_l2 < 0.2


def test_a_weight_that_two_layers_read_by_other_axes_is_compressed_for_each() -> None:
    """An embedding that gives the scores too: coremltools leaves it, for it finds no axis of its channels."""
    table = RNG.normal(size=(64, 48)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows"),
            helper.make_node("MatMul", ["y", "table"], ["scores"], name="scores"),
        ],
        "g",
        [
            helper.make_tensor_value_info("ids", onnx.TensorProto.INT32, [3]),
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 64]),
        ],
        [
            helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, [3, 48]),
            helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [2, 48]),
        ],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    source = wb.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    for scheme in ("int8", "int4", "palettize4"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", wb.CompressionWarning)
            converted = source.convert("coreml", compress=scheme, target="iOS18")
        held = [layer for layer in converted.layers if layer.operator.startswith("constexpr_")]
        assert len(held) == 2, scheme


def test_what_is_left_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = toolkit.submodule("optimize.coreml._quantization_passes")
    monkeypatch.setattr(passes.linear_quantize_weights, "transform_op", lambda self, operation: None)
    with pytest.warns(
        wb.CompressionWarning, match=r"compress='int8': these weights are held as they were: kernel\."
    ) as found:
        wb.load(network()).convert("coreml", compress="int8")
    assert found[0].message.weights == ("kernel",)  # type: ignore[union-attr]


def test_without_scikit_learn_palettes_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"'palettize4' needs scikit-learn, .*: pip install scikit-learn\."):
        chosen.CoreMLOptions(compress="palettize4")
    assert chosen.CoreMLOptions(compress="int8").compress == "int8"
