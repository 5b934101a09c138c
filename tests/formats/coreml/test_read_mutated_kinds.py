"""Damaged models of every kind are read, or refused with one of our own errors; nothing else, and not for long."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.formats.coreml.kinds import model
from tests.formats.coreml.test_read_classical import detector, linear, tree_classifier
from tests.formats.coreml.test_read_features import CASES
from tests.formats.coreml.test_read_pipeline import pipeline, scaler, signs
from workbench.errors import WorkbenchError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import read
from workbench.model import Model


def originals() -> list[Any]:
    classifier = pipeline(
        {"x": (3,)}, {"label": "int64"}, scaler("x", "x", 1, 1), signs([7, 9]), kind="pipelineClassifier",
        predictedFeatureName="label",
    )  # fmt: skip
    features = [model(inputs, {"y": output}, fill) for _, inputs, output, fill, _, _ in CASES]
    return [
        *features,
        linear(["a", "b", "c"], 3, 1),
        tree_classifier(1, 3, ["a", "b", "c"]),
        detector(True),
        classifier,
    ]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three bytes replaced or left out."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = rng.integers(len(changed))
        changed[place : place + 1] = b"" if rng.uniform() < 0.3 else bytes([rng.integers(256)])
    return bytes(changed)


def test_mutated_models_raise_typed_errors_only() -> None:
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    rng = np.random.default_rng(7)
    models = [message.SerializeToString() for message in originals()]
    outcomes = {"read": 0, "refused": 0}
    while sum(outcomes.values()) < 300:
        message = toolkit.model_pb2().Model()
        try:
            message.ParseFromString(mutated(models[rng.integers(len(models))], rng))
        except decode_error:
            continue
        try:
            Model(read(message)).plan("onnx")
            outcomes["read"] += 1
        except WorkbenchError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 30
