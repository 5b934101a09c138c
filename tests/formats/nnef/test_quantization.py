"""Quantised models: levels and ``graph.quant`` are written, read by others, and come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.formats.nnef import interpreter, khronos
from workbench import Model, Verdict, compare, load
from workbench.formats.nnef.quantization import parse_quantization
from workbench.formats.nnef.tensors import map_tensor, read_header
from workbench.hub import runs_hub_opset

Array = NDArray[Any]
SHAPE = (8, 3, 5, 5)
SCALE, POINT = 0.031, np.uint8(120)

pytestmark = pytest.mark.skipif(not runs_hub_opset(), reason="the last onnxruntime for Python 3.10 lacks opset 25")


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def quantized(weight: Array, scale: Array, zero: Array | None, point: Any, **attributes: Any) -> Any:
    """Activations in levels around ``point``, a convolution with levels for weights, ReLU, levels again."""
    tensors = {"weight": weight, "weight_scale": scale, "scale": np.float32(SCALE), "point": np.asarray(point)}
    if zero is not None:
        tensors["weight_zero"] = zero
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "scale", "point"], ["x_levels"]),
        node("DequantizeLinear", ["x_levels", "scale", "point"], ["x_real"]),
        node(
            "DequantizeLinear", [name for name in tensors if name.startswith("weight")], ["weight_real"], **attributes
        ),
        node("Conv", ["x_real", "weight_real"], ["convolved"], pads=[2, 2, 2, 2]),
        node("Relu", ["convolved"], ["positive"]),
        node("QuantizeLinear", ["positive", "scale", "point"], ["y_levels"]),
        node("DequantizeLinear", ["y_levels", "scale", "point"], ["y"]),
    ]
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 6, 6]), ("y", [1, 8, 6, 6]))
    )
    values = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "quantized", [given], [made], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def of_one_scale(dtype: str = "int8", point: Any = POINT) -> Any:
    weight = rng().integers(0 if dtype == "uint8" else -100, 100, SHAPE).astype(dtype)
    return quantized(weight, np.asarray(0.013, np.float32), np.asarray(3, dtype), point)


def feeds() -> dict[str, Array]:
    return {"x": rng().normal(size=(1, 3, 6, 6)).astype(np.float32)}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("point", [np.uint8(120), np.int8(-3), np.int16(7)], ids=lambda point: str(point.dtype))
def test_levels_are_written_and_said_in_graph_quant(dtype: str, point: Any, tmp_path: Path) -> None:
    source = load(of_one_scale(dtype, point))
    plan = source.plan("nnef")
    assert {row.verdict for row in plan if "Quantize" in row.operator} <= {Verdict.EXACT, Verdict.APPROXIMATE}
    converted = source.convert("nnef")
    report = compare(source, converted, feeds=feeds())
    assert report.ok, str(report)
    folder = converted.save(tmp_path / "m")
    entries = parse_quantization((folder / "graph.quant").read_text())
    assert set(entries) == {"weight_real", "x_real", "y"}
    bits, signed = np.iinfo(point.dtype).bits, point.dtype.kind == "i"
    own = {"zero_point": int(point), "scale": SCALE, "bits": bits, "signed": signed, "symmetric": False}
    assert entries["x_real"].arguments == entries["y"].arguments == own
    weight = entries["weight_real"].arguments
    assert (weight["zero_point"], weight["scale"], weight["bits"]) == (3, 0.013, 8)
    header = read_header(folder / "weight_real.dat")
    assert header.quantized
    assert header.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(map_tensor(folder / "weight_real.dat"), numpy_helper.to_array(_weight(source)))


def _weight(source: Model) -> Any:
    import onnx_ir as ir

    proto = ir.to_proto(source.document.model)  # type: ignore[attr-defined]
    return next(tensor for tensor in proto.graph.initializer if tensor.name == "weight")


def test_others_read_them(tmp_path: Path) -> None:
    source = load(of_one_scale())
    folder = source.convert("nnef").save(tmp_path / "m")
    found = khronos.parse([{"path": str(folder), "shapes": True, "variables": True}])[0]
    assert "error" not in found, found
    said = found["quantization"]["weight_real"]
    assert (said["op-name"], said["zero_point"], said["bits"]) == ("zero_point_linear_quantize", 3, 8)
    np.savez(folder / "feeds.npz", **feeds())  # type: ignore[arg-type]
    theirs = interpreter.run_all({folder: []})[folder]
    if isinstance(theirs, str):  # numpy 2.4 takes no array of one element for a number, which the interpreter gives it
        pytest.skip(theirs)
    mine = load(folder).run(feeds(), taps="all")
    steps = np.abs(mine["y"] - theirs["y"]) / SCALE
    assert steps.max() < 1.01, "half a level may be rounded away from zero"
    assert (steps > 0.5).mean() < 0.02


@pytest.mark.parametrize("way", ["nnef", "onnx"])
def test_there_and_back_they_are_the_same(way: str, tmp_path: Path) -> None:
    first = load(load(of_one_scale()).convert("nnef").save(tmp_path / "one"))
    if way == "onnx":
        between = load(first.convert("onnx").save(tmp_path / "between.onnx"))
        held = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "between.onnx").graph.initializer}
        assert held["weight_real_levels"] == TensorProto.INT8
        operators = [layer.operator.partition("-")[0] for layer in between.layers]
        assert operators.count("DequantizeLinear") == 3
        assert operators.count("QuantizeLinear") == 2
    else:
        between = first
    between.convert("nnef").save(tmp_path / "two")
    for name in ("graph.nnef", "graph.quant", "weight_real.dat"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


FORMS: dict[str, Any] = {
    "a scale for each channel": quantized(
        rng().integers(-100, 100, SHAPE).astype(np.int8),
        rng().uniform(0.01, 0.02, 8).astype(np.float32),
        np.arange(8, dtype=np.int8),
        np.uint8(0),
        axis=0,
    ),
    "a scale for each block": quantized(
        rng().integers(-8, 8, (8, 3, 5, 6)).astype(ml_dtypes.int4),
        rng().uniform(0.01, 0.02, (2, 3, 5, 6)).astype(np.float32),
        None,
        np.uint8(0),
        axis=0,
        block_size=4,
    ),
    "no zero point": quantized(
        rng().integers(-100, 100, SHAPE).astype(np.int8), np.asarray(0.013, np.float32), None, np.uint8(120)
    ),
    "few weights": quantized(
        rng().integers(-100, 100, (8, 3, 1, 1)).astype(np.int8), np.asarray(0.013, np.float32), None, np.uint8(120)
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_keeps_its_numbers(name: str, tmp_path: Path) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(FORMS[name])
    shape = next(tensor.dims for tensor in proto.graph.initializer if tensor.name == "weight")
    for value, size in zip(proto.graph.output[0].type.tensor_type.shape.dim[2:], shape[2:], strict=True):
        value.dim_value = 11 - size
    source = load(proto)
    for target, suffix in (("nnef", ""), ("onnx", ".onnx")):
        saved = load(source.convert(target).save(tmp_path / f"m{suffix}"))
        report = compare(source, saved, feeds=feeds())
        assert report.ok, (target, str(report))
    held = onnx.load(tmp_path / "m.onnx").graph.initializer
    kept = [tensor for tensor in held if tensor.data_type in (TensorProto.INT8, TensorProto.INT4) and tensor.dims]
    assert any(list(tensor.dims) == list(shape) for tensor in kept) or name == "few weights"


def test_a_scale_for_each_channel_is_an_array_in_graph_quant(tmp_path: Path) -> None:
    source = load(FORMS["a scale for each channel"])
    folder = source.convert("nnef").save(tmp_path / "m")
    given = parse_quantization((folder / "graph.quant").read_text())["weight_real"].arguments
    assert given["zero_point"] == list(range(8))
    assert len(given["scale"]) == 8
    assert read_header(folder / "weight_real.dat").quantized
    found = khronos.parse([{"path": str(folder), "shapes": True, "variables": True}])[0]
    assert found["quantization"]["weight_real"]["scale"] == pytest.approx(given["scale"])
    load(folder).convert("nnef").save(tmp_path / "again")
    assert (folder / "graph.quant").read_text() == (tmp_path / "again" / "graph.quant").read_text()


ARRAYS = {
    "activation, first axis": ("y", "scale = [0.5, 0.25], zero_point = [0, 1]", [[0.5], [0.25]], [[0], [1]]),
    "activation, second axis": ("y", "scale = [[0.5, 0.25, 1.0]], zero_point = 2", [[0.5, 0.25, 1.0]], 2),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_lie_along_the_leading_axes(name: str, tmp_path: Path) -> None:
    tensor, arguments, scale, zero = ARRAYS[name]
    (tmp_path / "graph.nnef").write_text(
        "version 1.0; graph g(x) -> (y) { x = external(shape = [2, 3]); y = mul(x, 3.0); }"
    )
    line = f"'{tensor}': zero_point_linear_quantize({arguments}, bits = 4, signed = true, symmetric = false);"
    (tmp_path / "graph.quant").write_text(line)
    x = rng().normal(size=(2, 3)).astype(np.float32)
    (y,) = load(tmp_path).run({"x": x}).values()
    levels = np.clip(np.round(x * 3 / np.asarray(scale, np.float32)) + zero, -8, 7)
    np.testing.assert_allclose(y, (levels - zero) * np.asarray(scale, np.float32), rtol=1e-6)
