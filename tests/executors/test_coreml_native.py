"""Apple's runtime behind a stand-in: what is handed over, what is left to the translated program, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.compare.support import FakeDocument, build
from workbench.document import TensorSpec
from workbench.errors import ExecutionError
from workbench.executors import CoreMLExecutor, OnnxRuntimeExecutor, executor_for
from workbench.executors.coreml_native import is_available, predictor_of
from workbench.hub import Emitter

X = np.asarray([1, 2], np.float32)


class FakeMLModel:
    """Doubles its input, and returns what it was asked to besides."""

    def __init__(self, **extra: Any) -> None:
        self.extra = extra

    def predict(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"other": np.float64(3), "y": data["x"].astype(np.float64) * 2, **self.extra}


def doubling(emitter: Emitter) -> list[Any]:
    x = emitter.input("x", "float32", [2])
    with emitter.layer(["add"]):
        y = emitter.rename(emitter.op("Add", x, x), "y")
    return [y]


def executor(model: Any, opened: list[int] | None = None) -> CoreMLExecutor:
    def open_model() -> Any:
        if opened is not None:
            opened.append(1)
        return model

    hub = build(doubling)
    outputs = [TensorSpec("y", "float32", (2,))]
    return CoreMLExecutor(
        open_model,
        [TensorSpec("x", "float32", (2,))],
        outputs,
        "coreml model 'double'",
        lambda: OnnxRuntimeExecutor(hub, "coreml model 'double'"),
    )


def test_outputs_come_from_the_runtime_in_the_stated_dtype() -> None:
    opened: list[int] = []
    with executor(FakeMLModel(), opened) as runner:
        for tensors in (None, ["y"]):
            found = runner.run({"x": X}, tensors)
            assert list(found) == ["y"]
            assert found["y"].dtype == np.float32
            np.testing.assert_array_equal(found["y"], X * 2)
    assert opened == [1]


def test_taps_come_from_the_translated_program() -> None:
    found = executor(None).run({"x": X}, ["x", "y"])
    np.testing.assert_array_equal(found["y"], X + X)


def test_failures_name_executor_model_and_cause() -> None:
    class Broken:
        def predict(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
            raise RuntimeError("Error computing NN outputs.")

    with pytest.raises(ExecutionError, match=r"Core ML cannot run coreml model 'double': Error computing"):
        executor(Broken()).run({"x": X})
    with pytest.raises(ExecutionError, match="float64, the input takes float32"):
        executor(FakeMLModel()).run({"x": X.astype(np.float64)})

    class Silent:
        def predict(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
            return {}

    with pytest.raises(ExecutionError, match="it returned no 'y'"):
        executor(Silent()).run({"x": X})


def test_the_runtime_is_chosen_only_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    document = FakeDocument(build(doubling), format="coreml")
    monkeypatch.setattr(sys, "platform", "linux")
    assert not is_available()
    runner = executor_for(document)
    assert runner.name == "Core ML, translated to onnxruntime"
    np.testing.assert_array_equal(runner.run({"x": X})["y"], X * 2)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert is_available()
    monkeypatch.setattr("workbench.executors.predictor_of", lambda _: FakeMLModel)
    assert executor_for(document).name == "Core ML"
    monkeypatch.setattr("workbench.executors.predictor_of", predictor_of)  # no arrays-only Core ML document
    assert executor_for(document).name == "Core ML, translated to onnxruntime"


def test_names_of_executors() -> None:
    assert executor_for(FakeDocument(build(doubling))).name == "onnxruntime"
    assert executor_for(FakeDocument(build(doubling), format="nnef")).name == "NNEF, translated to onnxruntime"
    assert executor_for(FakeDocument(build(doubling), format="PyTorch")).name == "PyTorch, translated to onnxruntime"
