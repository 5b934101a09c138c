"""Parts of ML programs as programs of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.support import build, source
from workbench.document import TensorSpec
from workbench.formats.coreml.blob import BlobFile, write_blobs
from workbench.hub import Emitter
from workbench.lowering import Refused

WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


def network(emitter: Emitter) -> list[Any]:
    value = emitter.input("x", "float32", [2, 64])
    for index in range(3):
        with emitter.layer([f"dense_{index}"]):
            weight = emitter.const(WEIGHT * np.float32(index + 1))
            value = emitter.rename(emitter.op("MatMul", value, weight), f"d_{index}")
    with emitter.layer(["less"]):
        less = emitter.rename(emitter.op("Less", value, emitter.const(0.0)), "l")
    with emitter.layer(["where"]):
        return [emitter.rename(emitter.op("Where", less, emitter.op("Neg", value), value), "y")]


@pytest.fixture(scope="module")
def models() -> dict[str, wb.Model]:
    made = source(build(network))
    return {precision: made.convert("coreml", precision=precision) for precision in ("fp32", "fp16")}


def spec(model: wb.Model, name: str) -> TensorSpec:
    return next(spec for layer in model.layers for spec in layer.outputs if spec.name == name)


def test_a_part_computes_what_it_did_with_its_own_weights_only(models: dict[str, wb.Model], tmp_path: Path) -> None:
    model = models["fp32"]
    part = wb.Model(model.document.excerpt([spec(model, "d_0")], ["d_1"]))
    path = part.save(tmp_path / "part.mlpackage")
    read = wb.load(path)
    assert [layer.operator for layer in read.layers] in (["matmul"], ["linear"])
    x = np.ones((2, 64), np.float32)
    np.testing.assert_allclose(read.run({"d_0": x})["d_1"], x @ (WEIGHT * 2), rtol=1e-5)
    whole = model.save(tmp_path / "whole.mlpackage")
    sizes = [next(folder.rglob("weight.bin")).stat().st_size for folder in (path, whole)]
    assert sizes[0] < sizes[1] / 2


def test_a_float16_part_stays_float16(models: dict[str, wb.Model], tmp_path: Path) -> None:
    model = models["fp16"]
    halves = [item for layer in model.layers for item in layer.outputs if item.dtype == "float16"]
    first = next(item for item in halves if item.name.startswith("d_0"))
    second = next(item for item in halves if item.name.startswith("d_1"))
    part = wb.Model(model.document.excerpt([first], [second.name]))
    read = wb.load(part.save(tmp_path / "part.mlpackage"))
    x = np.full((2, 64), 0.5, np.float16)
    found = read.run({first.name: x})[second.name]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, 0.5 * np.ones((2, 64)) @ (WEIGHT * 2), rtol=2e-2, atol=2e-2)


def test_what_core_ml_cannot_take_or_return_is_refused(models: dict[str, wb.Model], tmp_path: Path) -> None:
    model = models["fp32"]
    logical = next(item for layer in model.layers for item in layer.outputs if item.dtype == "bool")
    with pytest.raises(Refused, match="no inputs and outputs of bool"):
        model.document.excerpt([spec(model, "d_2")], [logical.name])
    with pytest.raises(Refused, match="no tensor 'z'"):
        model.document.excerpt([TensorSpec("z", "float32", (1,))], ["y"])
    with pytest.raises(Refused, match="read 'x', which is not fed"):
        model.document.excerpt([spec(model, "d_1")], ["d_0"])
    with pytest.raises(Refused, match="only parts of an ML program"):
        wb.load(model.save(tmp_path / "m.mlpackage"), precision="fp32").document.excerpt([], ["y"])


def test_weight_files_are_copied_piece_by_piece(tmp_path: Path) -> None:
    pieces = [(2, WEIGHT.reshape(-1).view(np.uint8), 0), (4, np.arange(5, dtype=np.uint8), 0)]
    offsets = write_blobs(tmp_path / "weight.bin", pieces)
    read = BlobFile(tmp_path / "weight.bin")
    np.testing.assert_array_equal(read.read(offsets[0]).data, WEIGHT.reshape(-1))
    assert read.read(offsets[1]).data.tolist() == [0, 1, 2, 3, 4]
    assert [kind for kind, _, _ in map(read.stored, offsets)] == [2, 4]
