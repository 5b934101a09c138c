"""Pipelines: models behind one another, features handed on by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
import workbench.coreml
from tests.formats.coreml.kinds import classifier, describe, model, run, run_as_onnx, suppressed
from tests.formats.coreml.networks import network_of
from workbench import limits
from workbench.errors import ConversionError, LimitError, ModelError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import read

RNG = np.random.default_rng(0)
V = np.array([3.0, -4.0, 0.0])


def pipeline(
    inputs: Any, outputs: Any, *models: Any, kind: str = "pipeline", names: Any = (), **description: str
) -> Any:
    """A pipeline of ``Model`` messages."""

    def fill(message: Any) -> None:
        target = message.pipeline if kind == "pipeline" else getattr(message, kind).pipeline
        target.models.extend(models)
        target.names.extend(names)
        target.SetInParent()

    return model(inputs, outputs, fill, **description)


def scaler(source: str, target: str, shift: float, scale: float, kind: Any = (3,)) -> Any:
    def fill(message: Any) -> None:
        message.scaler.shiftValue.append(shift)
        message.scaler.scaleValue.append(scale)

    return model({source: kind}, {target: kind}, fill)


def dense(source: str, target: str, weights: Any) -> Any:
    """A neural network of one layer, whose name and blob names are the same in every network."""

    def add(builder: Any) -> None:
        builder.add_inner_product("dense", weights, None, *weights.shape[::-1], False, source, "blob")
        builder.add_activation("relu", "RELU", "blob", target)

    return network_of(add, {source: np.zeros(weights.shape[1], np.float32)}, [target])


def program(source: str, target: str, weights: Any) -> tuple[Any, Path]:
    """An ML program of one layer with its weights in a file, and what keeps that file."""
    ct = toolkit.coremltools()
    with toolkit.session():
        mb = toolkit.mil().Builder

        @mb.program(input_specs=[mb.TensorSpec((1, weights.shape[1]))])
        def body(x: Any) -> Any:
            return mb.relu(x=mb.linear(x=x, weight=weights, name="dense"), name="y")

        made = ct.convert(body, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32, skip_model_load=True)
        spec = made.get_spec()
        ct.utils.rename_feature(spec, spec.description.input[0].name, source)
        ct.utils.rename_feature(spec, spec.description.output[0].name, target)
        return ct.models.MLModel(spec, weights_dir=made.weights_dir, skip_model_load=True), made


def test_networks_hand_features_on_and_keep_their_layers_apart() -> None:
    first, second = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(2, 4)).astype(np.float32)
    kinds: dict[str, Any] = {"x": ((3,), "float32"), "y": ((2,), "float32")}
    message = pipeline({"x": kinds["x"]}, {"y": kinds["y"]}, dense("x", "h", first), dense("h", "y", second))
    loaded = wb.load(message)
    assert [layer.name for layer in loaded.layers] == ["model0/dense", "model0/relu", "model1/dense", "model1/relu"]
    x = V.astype(np.float32)
    hidden = np.maximum(first @ x, 0)
    tapped = loaded.run({"x": x}, taps="all")
    np.testing.assert_allclose(tapped["y"], np.maximum(second @ hidden, 0), rtol=1e-5)
    np.testing.assert_allclose(tapped["model0/relu"], hidden, rtol=1e-5)
    assert set(tapped) == {"y", *(layer.name for layer in loaded.layers)}
    for target in ("onnx", "nnef", "coreml"):
        report = wb.compare(loaded, loaded.convert(target), feeds={"x": x})
        assert report.ok, report


def test_programs_bring_their_weight_files(tmp_path: Path) -> None:
    first, second = (RNG.normal(size=size).astype(np.float32) for size in ((64, 32), (16, 64)))
    (one, _), (other, _) = models = [program("x", "h", first), program("h", "y", second)]
    joined = toolkit.coremltools().utils.make_pipeline(one, other)
    joined.save(str(tmp_path / "joined.mlpackage"))
    del models
    loaded = wb.load(tmp_path / "joined.mlpackage")
    x = RNG.normal(size=(1, 32)).astype(np.float32)
    expected = np.maximum(second @ np.maximum(first @ x[0], 0), 0)[np.newaxis]
    np.testing.assert_allclose(loaded.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)
    for path in (tmp_path / "copy.mlpackage", tmp_path / "copy.mlpackage.zip"):
        again = wb.load(loaded.save(path)).run({"x": x})["y"]
        np.testing.assert_array_equal(again, loaded.run({"x": x})["y"])
    for target in ("onnx", "nnef", "coreml"):
        assert wb.compare(loaded, loaded.convert(target), feeds={"x": x}).ok
    alone = run_as_onnx(read(tmp_path / "joined.mlpackage"), {"x": x})["y"]
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-4)


def test_a_feature_may_be_replaced_and_an_output_be_called_like_an_input() -> None:
    message = pipeline({"x": (3,)}, {"x": (3,)}, scaler("x", "x", 1, 2), scaler("x", "x", 0, 10), names=["a", "a"])
    loaded = wb.load(message)
    assert [layer.name for layer in loaded.layers] == ["a/scaler", "a/1/scaler"]
    np.testing.assert_array_equal(loaded.run({"x": V})["x"], (V + 1) * 20)


def test_an_input_that_nothing_changes_may_be_an_output() -> None:
    found = run(pipeline({"x": (3,)}, {"x": (3,), "y": (3,)}, scaler("x", "y", 1, 2)), {"x": V})
    np.testing.assert_array_equal(found["x"], V)
    np.testing.assert_array_equal(found["y"], (V + 1) * 2)


def test_pipelines_may_be_nested() -> None:
    inner = pipeline({"x": (3,)}, {"h": (3,)}, scaler("x", "g", 1, 2), scaler("g", "h", 0, 3))
    loaded = wb.load(pipeline({"x": (3,)}, {"y": (3,)}, inner, scaler("h", "y", 5, 1)))
    assert [layer.name for layer in loaded.layers] == ["model0/model0/scaler", "model0/model1/scaler", "model1/scaler"]
    tapped = loaded.run({"x": V}, taps=["model0/model0/scaler"])
    np.testing.assert_array_equal(tapped["y"], (V + 1) * 6 + 5)
    np.testing.assert_array_equal(tapped["model0/model0/scaler"], (V + 1) * 2)


# -- classifiers -------------------------------------------------------------------------------------------------------


def signs(labels: list[Any]) -> Any:
    """Classes by the sum of x: sigmoid(sum) for the second."""

    def fill(message: Any) -> Any:
        message.glmClassifier.weights.add(value=[1.0, 1.0, 1.0])
        message.glmClassifier.offset.append(0.0)
        message.glmClassifier.classEncoding = 1
        return message.glmClassifier

    return classifier({"x": (3,)}, labels, fill)


def test_a_classifier_of_the_pipeline_is_the_pipelines() -> None:
    message = pipeline(
        {"raw": (3,)}, {"label": "string", "probability": "dictionary-string"}, scaler("raw", "x", 2, 1),
        signs(["no", "yes"]), kind="pipelineClassifier", predictedFeatureName="label",
        predictedProbabilitiesName="probability",
    )  # fmt: skip
    found = run(message, {"raw": V})
    np.testing.assert_allclose(found["probability"], [1 - 1 / (1 + np.exp(-5)), 1 / (1 + np.exp(-5))])
    assert found["label"] == "yes"


def test_a_classifier_that_describes_no_probabilities_has_its_label() -> None:
    message = pipeline(
        {"x": (3,)}, {"label": "int64"}, signs([7, 9]), kind="pipelineClassifier", predictedFeatureName="label"
    )
    assert [run(message, {"x": value})["label"] for value in (V, -V)] == [7, 9]


def test_a_label_may_be_read_by_the_model_behind() -> None:
    def fill(message: Any) -> None:
        message.categoricalMapping.stringToInt64Map.map.update({"no": -1, "yes": 1})

    mapping = model({"label": "string"}, {"y": "int64"}, fill)
    message = pipeline({"x": (3,)}, {"y": "int64", "label": "string"}, signs(["no", "yes"]), mapping)
    for x, y, label in ((V, -1, "no"), (-V, 1, "yes")):
        found = run(message, {"x": x})
        assert (found["y"].tolist(), found["label"].tolist()) == ([y], [label])


# -- detectors ---------------------------------------------------------------------------------------------------------


def detector() -> Any:
    """A network that makes boxes of an image's pixels, and a suppression behind it, as exporters of YOLO write them."""

    def add(builder: Any) -> None:
        for name, begin in (("c", 0), ("b", 3)):
            builder.add_slice_static(
                name, "picked", name, [0, begin], [24, begin + (3 if name == "c" else 4)], [1, 1], [True, False],
                [True, False],
            )  # fmt: skip

    def boxes(builder: Any) -> None:
        builder.add_elementwise("scaled", ["image"], "small", "MULTIPLY", alpha=1 / 255)
        builder.add_reshape_static("rows", "small", "picked", [24, 7])
        add(builder)

    network = network_of(boxes, {"image": np.zeros((3, 7, 8), np.float32)}, ["c", "b"])
    image = network.description.input[0]
    image.type.imageType.width, image.type.imageType.height, image.type.imageType.colorSpace = 8, 7, 20
    for feature, columns in zip(network.description.output, (3, 4), strict=True):
        del feature.type.multiArrayType.shape[:]
        feature.type.multiArrayType.shape.extend([24, columns])

    def suppression(message: Any) -> None:
        nms = message.nonMaximumSuppression
        nms.iouThreshold, nms.confidenceThreshold = 0.3, 0.5
        nms.pickTop.perClass = True
        nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName = "c", "b"
        nms.iouThresholdInputFeatureName, nms.confidenceThresholdInputFeatureName = "overlap", "least"
        nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName = "confidence", "coordinates"

    kinds = {"c": ((24, 3), "float32"), "b": ((24, 4), "float32"), "overlap": "double", "least": "double"}
    rows = {"confidence": ((0, 3), "float32"), "coordinates": ((0, 4), "float32")}
    nms = model(kinds, rows, suppression)
    message = pipeline({"overlap": "double", "least": "double"}, rows, network, nms)
    message.description.input.add().CopyFrom(image)
    for feature in message.description.input[:2]:
        feature.type.isOptional = True
    return message


@pytest.mark.parametrize("thresholds", [{}, {"overlap": 0.05}, {"least": 0.8, "overlap": 0.9}])
def test_detectors_with_suppression(thresholds: dict[str, float]) -> None:
    from PIL import Image

    pixels = RNG.integers(0, 256, size=(7, 8, 3), dtype=np.uint8)
    found = run(detector(), {"image": Image.fromarray(pixels), **thresholds})
    table = (pixels.transpose(2, 0, 1).astype(np.float32) / 255).reshape(24, 7)
    expected = suppressed(
        table[:, :3], table[:, 3:], thresholds.get("overlap", 0.3), thresholds.get("least", 0.5), True
    )
    assert len(expected[0])
    for name, wanted in zip(("confidence", "coordinates"), expected, strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Apple's own predictor")
@pytest.mark.filterwarnings("ignore")
def test_detectors_predict(tmp_path: Path) -> None:
    import coremltools
    from PIL import Image

    path = tmp_path / "detector.mlmodel"
    path.write_bytes(detector().SerializeToString())
    with workbench.coreml.enable_predict():
        picture = Image.fromarray(RNG.integers(0, 256, size=(7, 8, 3), dtype=np.uint8))
        found = coremltools.models.MLModel(str(path)).predict({"image": picture, "least": 0.0})
    assert len(found["confidence"]) == len(found["coordinates"]) > 0


def test_pictures_between_models_hold_whole_numbers_in_their_own_order() -> None:
    """The first makes a BGR picture of what it is given; the second takes an RGB picture."""

    def copy(builder: Any, source: str, target: str) -> None:
        builder.add_activation(target, "LINEAR", source, target, params=[1.0, 0.0])

    shape = np.zeros((3, 1, 2), np.float32)
    first = network_of(lambda b: copy(b, "x", "picture"), {"x": shape}, ["picture"])
    second = network_of(lambda b: copy(b, "picture", "y"), {"picture": shape}, ["y"])
    for feature, colours in ((first.description.output[0], 30), (second.description.input[0], 20)):
        image = feature.type.imageType
        image.width, image.height, image.colorSpace = 2, 1, colours
    second.neuralNetwork.ClearField("preprocessing")
    message = pipeline({"x": ((3, 1, 2), "float32")}, {"y": ((1, 3, 1, 2), "float32")}, first, second)
    x = np.array([[[1.75, -3]], [[300, 40]], [[5, 6.5]]], np.float32)
    expected = np.array([[[5, 6]], [[255, 40]], [[1, 0]]])
    np.testing.assert_array_equal(run(message, {"x": x})["y"].reshape(3, 1, 2), expected)


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_the_refusals_of_all_models_are_collected() -> None:
    def custom(source: str, target: str) -> Any:
        return model({source: (3,)}, {target: (3,)}, lambda m: setattr(m.customModel, "className", "A"))

    message = pipeline({"x": (3,)}, {"y": (3,)}, custom("x", "g"), scaler("g", "h", 1, 1), custom("h", "y"))
    loaded = wb.load(message)
    plan = loaded.plan("onnx")
    assert [(row.layer, str(row.verdict)) for row in plan] == [
        ("model0/customModel", "refused"), ("model1/scaler", "undecided"), ("model2/customModel", "refused"),
    ]  # fmt: skip
    with pytest.raises(ConversionError, match="model2/customModel"):
        loaded.run({"x": V})


def text_to_scaler() -> Any:
    mapping = model(
        {"n": "int64"}, {"x": "string"}, lambda m: m.categoricalMapping.int64ToStringMap.map.update({1: "a"})
    )
    return pipeline({"n": "int64"}, {"y": (3,)}, mapping, scaler("x", "y", 1, 1))


def broken() -> Any:
    return model({"x": (3,)}, {"y": (3,)}, lambda m: setattr(m.normalizer, "normType", 9))


DAMAGES: list[tuple[Callable[[], Any], str]] = [
    (lambda: pipeline({"x": (3,)}, {"y": (3,)}), "holds no model"),
    (lambda: pipeline({"x": (3,)}, {"y": (3,)}, scaler("z", "y", 1, 1)), "'model0' of the pipeline takes 'z'"),
    (lambda: pipeline({"x": (3,)}, {"y": (3,)}, scaler("x", "z", 1, 1)), "makes the output 'y'"),
    (lambda: pipeline({"x": (3,)}, {"y": (3,)}, toolkit.model_pb2().Model()), "model 'model0'.*says of no type"),
    (
        lambda: pipeline({"x": (3,)}, {"y": (3,)}, scaler("x", "h", 1, 1), scaler("h", "y", 1, 1, (4,))),
        r"takes h: float64\[4\]; it is given the shape \[3\]",
    ),
    (text_to_scaler, "it is given string"),
    (lambda: pipeline({"x": (3,)}, {"y": (3,)}, broken()), "model 'model0' of the pipeline: normalizer: normType is 9"),
]


@pytest.mark.parametrize(("make", "cause"), DAMAGES, ids=[cause[:20] for _, cause in DAMAGES])
def test_damaged_pipelines_name_model_and_cause(make: Callable[[], Any], cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        read(make()).hub()


def test_pipelines_are_not_nested_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    message = scaler("x", "x", 1, 1)
    for _ in range(5):
        message = pipeline({"x": (3,)}, {"x": (3,)}, message)
    np.testing.assert_array_equal(run(message, {"x": V})["x"], V + 1)
    monkeypatch.setattr(limits, "current", limits.Limits(nesting=3))
    with pytest.raises(LimitError, match="nesting"):
        read(message)


def test_deeper_than_protobuf_reads_is_refused_too() -> None:
    message = scaler("x", "x", 1, 1)
    for _ in range(120):
        outer = toolkit.model_pb2().Model(specificationVersion=4)
        describe(outer.description.input.add(name="x"), (3,))
        describe(outer.description.output.add(name="x"), (3,))
        outer.pipeline.models.add().CopyFrom(message)
        message = outer
    with pytest.raises(ModelError):
        read(message)
