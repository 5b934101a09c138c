"""How a written package presents itself: names, pictures, classes, words; and that comparing still feeds both alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import workbench as wb
from workbench.formats.coreml import toolkit

RNG = np.random.default_rng(5)


def network(shape: tuple[int, ...], *, classes: int = 4, words: bool = False) -> onnx.ModelProto:
    """A convolution of a picture, its mean over the picture, and the softmax over the channels."""
    kernel = RNG.normal(size=(classes, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["nchw", "kernel"], ["maps"], name="conv"),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["logits"], name="flatten"),
        helper.make_node("Softmax", ["logits"], ["scores"], name="softmax"),
    ]
    last = shape[1] != 3
    first = helper.make_node("Transpose" if last else "Identity", ["pixels"], ["nchw"], name="first")
    if last:
        first.attribute.append(helper.make_attribute("perm", [0, 3, 1, 2]))
    graph = helper.make_graph(
        [first, *nodes],
        "g",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, classes])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    if words:
        helper.set_model_props(model, {"model_author": "A. Maker", "model_license": "MIT", "trained_on": "digits"})
        model.doc_string, model.model_version = "Tells digits apart.", 3
    return model


NCHW = (1, 3, 8, 6)
NHWC = (1, 8, 6, 3)
LABELS = ["cat", "dog", "eel", "fox"]


def spec_of(path: Path) -> Any:
    with toolkit.session():
        return toolkit.coremltools().utils.load_spec(str(path))


@pytest.mark.parametrize("colours", ["RGB", "BGR"])
@pytest.mark.parametrize("shape", [NCHW, NHWC], ids=["NCHW", "NHWC"])
def test_an_image_input_takes_pictures_and_computes_what_the_source_does(
    shape: tuple[int, ...], colours: str, tmp_path: Path
) -> None:
    source = wb.load(network(shape))
    image = wb.ImageInput(colours=colours, scale=[1 / 58, 1 / 57, 1 / 55], bias=[-2.1, -2.0, -1.8])
    converted = source.convert("coreml", images={"pixels": image})
    saved = wb.load(converted.save(tmp_path / "m.mlpackage"))
    described = spec_of(tmp_path / "m.mlpackage").description.input[0].type.imageType
    assert (described.height, described.width) == (8, 6)
    assert described.colorSpace == {"RGB": 20, "BGR": 30}[colours]
    pixels = RNG.integers(0, 256, (8, 6, 3)).astype(np.uint8)
    planes = pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    ordered = planes[:, ::-1] if colours == "BGR" else planes
    values = ordered * np.float32([[[1 / 58]], [[1 / 57]], [[1 / 55]]]) + np.float32([[[-2.1]], [[-2.0]], [[-1.8]]])
    expected = source.run({"pixels": values if shape == NCHW else values.transpose(0, 2, 3, 1)})["scores"]
    for feed in (Image.fromarray(pixels), np.ascontiguousarray(ordered)):
        np.testing.assert_allclose(saved.run({"pixels": feed})["scores"], expected, atol=5e-5)


def test_comparing_feeds_the_pictures_that_belong_to_the_values() -> None:
    source = wb.load(network(NCHW))
    converted = source.convert("coreml", images={"pixels": {"scale": 1 / 255, "bias": [-0.5, -0.4, -0.6]}})
    for feeds in (None, {"pixels": RNG.normal(size=NCHW).astype(np.float32)}):
        report = wb.compare(source, converted, feeds=feeds)
        assert report.ok, str(report)
        rows = {row.tensor: row for row in report.rows}
        assert rows["maps"].accumulated is not None
        assert rows["maps"].accumulated.relative_l2 < 1e-6
        assert rows["pixels"].status == "ok", "the values made of the pixels are compared too"
    picture = Image.fromarray(RNG.integers(0, 256, (8, 6, 3)).astype(np.uint8))
    assert wb.compare(source, converted, feeds={"pixels": picture}).ok
    assert wb.compare(converted, source).ok, "and the other way round"
    plain = source.convert("coreml")
    assert wb.compare(plain, converted).ok, "both came from the source"


def test_names_are_given_and_known_by(tmp_path: Path) -> None:
    source = wb.load(network(NCHW))
    renamed = source.convert("coreml", names={"pixels": "image", "scores": "result"})
    assert [spec.name for spec in (*renamed.inputs, *renamed.outputs)] == ["image", "result"]
    x = RNG.normal(size=NCHW).astype(np.float32)
    expected = source.run({"pixels": x})["scores"]
    np.testing.assert_allclose(renamed.run({"image": x})["result"], expected, atol=5e-5)
    np.testing.assert_allclose(renamed.run({"pixels": x})["result"], expected, atol=5e-5)
    assert wb.compare(source, renamed).ok
    pictured = source.convert("coreml", names={"pixels": "image"}, images={"pixels": {"scale": 0.5}})
    np.testing.assert_allclose(pictured.run({"image": 2 * x})["scores"], expected, atol=5e-5)
    np.testing.assert_allclose(pictured.run({"pixels": x})["scores"], expected, atol=5e-5)


@pytest.mark.parametrize("labels", [LABELS, [3, 1, 4, 15]])
def test_a_classifier_is_written_and_read_back(labels: list[Any], tmp_path: Path) -> None:
    source = wb.load(network(NCHW))
    converted = source.convert("coreml", labels=labels, label_name="animal")
    path = converted.save(tmp_path / "m.mlpackage")
    saved = wb.load(path)
    assert saved.labels == tuple(labels)
    x = RNG.normal(size=NCHW).astype(np.float32)
    expected = source.run({"pixels": x})["scores"]
    found = saved.run({"pixels": x})
    assert list(found) == ["animal_probs", "animal"]
    np.testing.assert_allclose(found["animal_probs"], expected, atol=5e-5)
    assert found["animal"].shape == ()
    assert found["animal"].item() == labels[int(np.argmax(expected))]
    assert wb.compare(source, converted).ok
    description = spec_of(path).description
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == ("animal", "animal_probs")


@pytest.mark.parametrize("target", ["onnx", "coreml"])
def test_labels_go_on_with_a_conversion(target: str, tmp_path: Path) -> None:
    first = wb.load(network(NCHW)).convert("coreml", labels=LABELS)
    onward = first.convert(target)
    again = wb.load(onward.save(tmp_path / ("m.onnx" if target == "onnx" else "m.mlpackage")))
    assert again.labels == tuple(LABELS)
    x = RNG.normal(size=NCHW).astype(np.float32)
    assert again.run({again.inputs[0].name: x})["classLabel"] == first.run({"pixels": x})["classLabel"]


def test_words_are_carried_and_said_anew(tmp_path: Path) -> None:
    source = wb.load(network(NCHW, words=True))
    said = {
        "author": "A. Maker", "license": "MIT", "trained_on": "digits", "version": "3",
        "description": "Tells digits apart.",
    }  # fmt: skip
    assert dict(source.metadata) == said
    package = source.convert("coreml", metadata={"author": "B. Other", "note": "smaller"})
    saved = wb.load(package.save(tmp_path / "m.mlpackage"))
    expected = {**said, "author": "B. Other", "note": "smaller"}
    assert {key: saved.metadata[key] for key in expected} == expected
    metadata = spec_of(tmp_path / "m.mlpackage").description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("B. Other", "MIT", "3")
    assert metadata.shortDescription == "Tells digits apart."
    back = wb.load(saved.convert("onnx").save(tmp_path / "m.onnx"))
    assert {key: back.metadata[key] for key in expected} == expected
    props = {prop.key: prop.value for prop in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert props["model_author"] == "B. Other"


def test_the_digest_of_the_source_file_is_written(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "m.onnx"
    onnx.save(network(NCHW), path)
    converted = wb.load(path).convert("coreml")
    assert converted.metadata["workbench.source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": {"pixel": "x"}}, "names: the model has no input or output 'pixel'"),
        ({"names": {"pixels": "a b"}}, "no name for Core ML"),
        ({"names": {"pixels": "scores"}}, "two inputs or outputs would be called 'scores'"),
        ({"images": {"picture": {}}}, "images: the model has no input 'picture'"),
        ({"images": {"pixels": {"colours": "GRAYSCALE"}}}, "not the tensor of one GRAYSCALE picture"),
        ({"images": {"pixels": {"colours": "CMYK"}}}, "none of RGB, BGR, GRAYSCALE"),
        ({"images": {"pixels": {"scale": [1, 2]}}}, "the scale takes one number, or 3"),
        ({"images": {"pixels": {"scale": 0}}}, "a scale of zero"),
        ({"images": {"pixels": {"size": 3}}}, "images: 'pixels'"),
        ({"images": {"pixels": 255}}, "takes an ImageInput"),
        ({"labels": ["a", "b"]}, "there are 2 for the output"),
        ({"labels": "abcd"}, "labels takes a list"),
        ({"labels": ["a", "b", "c", 4]}, "all of one kind"),
        ({"labels": ["a", "b", "c", "c"]}, "named twice"),
        ({"labels": LABELS, "label_name": "a b"}, "label_name"),
        ({"labels": LABELS, "probabilities": "logit"}, "probabilities: the model has no output 'logit'"),
        ({"metadata": {"author": 3}}, "metadata takes texts"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(options: dict[str, Any], message: str) -> None:
    with pytest.raises(wb.OptionError, match=message):
        wb.load(network(NCHW)).convert("coreml", **options)


# states


def decoder() -> onnx.ModelProto:
    """``present = past shifted by one, with x at the end; y = mean of present``: as a cache works."""
    nodes = [
        helper.make_node("Slice", ["past", "one", "end", "axis"], ["kept"], name="shift"),
        helper.make_node("Concat", ["kept", "x"], ["present"], name="append", axis=1),
        helper.make_node("ReduceMean", ["present", "axis"], ["y"], name="mean", keepdims=0),
    ]
    constants = {"one": [1], "end": [4], "axis": [1]}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 3]),
            helper.make_tensor_value_info("past", onnx.TensorProto.FLOAT, [1, 4, 3]),
        ],
        [
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("present", onnx.TensorProto.FLOAT, [1, 4, 3]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_caches_become_states(tmp_path: Path) -> None:
    source = wb.load(decoder())
    options: dict[str, Any] = {"target": "iOS18", "states": {"past": "present"}}
    noted = {row.layer: str(row.verdict) for row in source.plan("coreml", **options)}
    assert noted == {"shift": "approximate", "append": "approximate", "mean": "exact"}
    converted = source.convert("coreml", **options)
    saved = wb.load(converted.save(tmp_path / "m.mlpackage"))
    description = spec_of(tmp_path / "m.mlpackage").description
    assert [feature.name for feature in description.input] == ["x"]
    assert [feature.name for feature in description.output] == ["y"]
    assert [feature.name for feature in description.state] == ["past"]
    state, past = saved.new_state(), np.zeros((1, 4, 3), np.float32)
    for _ in range(5):
        x = RNG.integers(-8, 9, (1, 1, 3)).astype(np.float32) / 4  # float16 holds them
        found = saved.run({"x": x}, state=state)
        expected = source.run({"x": x, "past": past})
        past = expected["present"]
        np.testing.assert_allclose(found["y"], expected["y"], atol=1e-6)
        np.testing.assert_array_equal(state["past"].astype(np.float32), past)
    report = wb.compare(source, converted)
    assert all(row.accumulated.relative_l2 < 1e-3 for row in report.rows if row.accumulated), str(report)
    assert {row.tensor for row in report.rows if row.output} == {"y", "present"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": {"past": "present"}}, "from iOS18 on"),
        ({"states": {"x": "y"}, "target": "iOS18"}, "not of one fixed shape"),
        ({"states": {"cache": "present"}, "target": "iOS18"}, "'cache': 'present' is not an input"),
        ({"states": {"past": "present", "x": "present"}, "target": "iOS18"}, "not of one fixed shape"),
    ],
)
def test_states_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(wb.OptionError, match=message):
        wb.load(decoder()).plan("coreml", **options)
