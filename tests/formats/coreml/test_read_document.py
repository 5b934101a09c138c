"""What a document says of a model: interface, flexible shapes, images, classes, provenance."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.formats.coreml.reading import compare, run
from workbench.document import Provenance, silent
from workbench.errors import ModelError
from workbench.formats.base import Source
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.read import PROVENANCE, read
from workbench.formats.onnx.read import read_proto
from workbench.hub import specialize

RNG = np.random.default_rng(23)


def converted(build: Any, inputs: list[Any], **options: Any) -> Any:
    """coremltools' own conversion of a program, as its users run it."""
    with toolkit.session():
        ct, mil = toolkit.coremltools(), toolkit.mil()
        specs = [mil.Builder.TensorSpec(shape=item.shape.shape) for item in inputs]
        program = mil.Builder.program(input_specs=specs)(build)
        given = {"compute_precision": ct.precision.FLOAT32, **options}
        return ct.convert(program, convert_to="mlprogram", inputs=inputs, skip_model_load=True, **given)


def test_float16_is_told() -> None:
    ct = toolkit.coremltools()
    model = converted(
        lambda x: toolkit.mil().Builder.softmax(x=x, axis=1), [ct.TensorType(name="x", shape=(2, 5))],
        compute_precision=ct.precision.FLOAT16,
    )  # fmt: skip
    document = read(model)
    assert document.precision_note() == "float16 storage and rounding"
    x = RNG.normal(size=(2, 5)).astype(np.float32)
    wanted = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    (found,) = run(document, {"x": x})
    assert found.dtype == np.float32, "the interface is float32, the arithmetic inside is not"
    np.testing.assert_array_equal(found, found.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["range", "enumerated"])
def test_flexible_shapes(kind: str) -> None:
    ct = toolkit.coremltools()
    shape = (
        ct.Shape(shape=(1, ct.RangeDim(1, 9, default=4), 3))
        if kind == "range"
        else ct.EnumeratedShapes(shapes=[(1, 4, 3), (1, 7, 3)], default=(1, 4, 3))
    )
    with toolkit.session():
        mil = toolkit.mil()
        symbol = mil.get_new_symbol()

        @mil.Builder.program(input_specs=[mil.Builder.TensorSpec(shape=(1, symbol, 3))])  # type: ignore[untyped-decorator]
        def program(x: Any) -> Any:
            return mil.Builder.reduce_sum(x=x, axes=[1])

        model = ct.convert(
            program, convert_to="mlprogram", inputs=[ct.TensorType(name="x", shape=shape)], skip_model_load=True,
            compute_precision=ct.precision.FLOAT32,
        )  # fmt: skip
    document = read(model)
    assert document.inputs[0].describe() == "float32[1, x_1, 3]"
    assert document.default_shapes == {"x": (1, 4, 3)}
    feature = document.interface.inputs[0]
    assert feature.shapes == (((1, 4, 3), (1, 7, 3)) if kind == "enumerated" else ())
    assert feature.sizes == (((1, 1), (1, 9), (3, 3)) if kind == "range" else ())
    x = RNG.normal(size=(1, 7, 3)).astype(np.float32)
    compare(run(document, {"x": x}), [x.sum(1)], rtol=1e-5, atol=1e-6)


def test_images_of_a_program() -> None:
    """Scale and bias are operations of the program already; the order of channels is in the description alone."""
    ct = toolkit.coremltools()
    image = ct.ImageType(name="x", shape=(1, 3, 4, 5), scale=0.5, bias=[1, 2, 3], color_layout=ct.colorlayout.BGR)
    document = read(converted(lambda x: toolkit.mil().Builder.relu(x=x), [image]))
    assert document.inputs[0].describe() == "float32[1, 3, 4, 5]"
    assert (document.interface.inputs[0].kind, document.interface.inputs[0].colours) == ("image", "BGR")
    x = RNG.integers(0, 256, size=(1, 3, 4, 5)).astype(np.float32)
    wanted = x * 0.5 + np.float32([1, 2, 3]).reshape(3, 1, 1)
    compare(run(document, {"x": x}), [wanted], rtol=1e-6, atol=1e-6)


def test_a_classifying_program_gives_its_probabilities() -> None:
    ct = toolkit.coremltools()
    document = read(
        converted(
            lambda x: toolkit.mil().Builder.softmax(x=x, axis=1), [ct.TensorType(name="x", shape=(1, 3))],
            classifier_config=ct.ClassifierConfig(["cat", "dog", "eel"]),
        )
    )  # fmt: skip
    assert document.classifier.classes == ("cat", "dog", "eel")
    assert [spec.describe() for spec in document.outputs] == ["float32[1, 3]"]
    x = np.float32([[1, 2, 3]])
    compare(run(document, {"x": x}), [np.exp(x) / np.exp(x).sum()], rtol=1e-5, atol=1e-6)


def test_what_our_writer_records_is_read() -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["in"], ["out"], name="act")], "g",
        [onnx.helper.make_tensor_value_info("in", onnx.TensorProto.FLOAT, [2, 3])],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [2, 3])],
    )  # fmt: skip
    source = read_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
    about = Source("onnx", "g", source.inputs, source.outputs)
    document = FORMAT.draft(specialize(source.hub()), about, CoreMLOptions(), silent).finish(silent)
    assert isinstance(document.provenance, Provenance)
    assert document.provenance.source_format == "onnx"
    assert [layer for layers in document.provenance.layers.values() for layer in layers] == ["act"]
    assert set(document.provenance.layers) <= {layer.name for layer in document.layers}
    assert PROVENANCE in document.interface.metadata  # type: ignore[attr-defined]


def test_functions_of_a_program() -> None:
    """The default function is taken; a program without it is refused."""
    ct = toolkit.coremltools()
    model = converted(lambda x: toolkit.mil().Builder.relu(x=x), [ct.TensorType(name="x", shape=(2,))])
    message = model.get_spec()
    other = message.mlProgram.functions["other"]
    other.CopyFrom(message.mlProgram.functions["main"])
    other.block_specializations[other.opset].operations[-1].type = "tanh"
    compare(run(read(message), {"x": np.float32([1, -1])}), [np.float32([1, 0])], rtol=0, atol=0)
    described = message.description.functions.add(name="other")
    described.input.extend(message.description.input)
    described.output.extend(message.description.output)
    message.description.defaultFunctionName = "other"
    compare(run(read(message), {"x": np.float32([1, -1])}), [np.tanh(np.float32([1, -1]))], rtol=1e-6, atol=0)
    message.description.defaultFunctionName = "third"
    with pytest.raises(ModelError, match="no function 'third'"):
        read(message)


def test_an_output_that_nothing_calculates() -> None:
    """An input may be an output as it is."""
    ct = toolkit.coremltools()
    model = converted(lambda x: toolkit.mil().Builder.relu(x=x), [ct.TensorType(name="x", shape=(2,))])
    message = model.get_spec()
    message.description.output[0].name = "x"
    block = next(iter(message.mlProgram.functions["main"].block_specializations.values()))
    block.outputs[0] = "x"
    compare(run(read(message), {"x": np.float32([1, -1])}), [np.float32([1, -1])], rtol=0, atol=0)


def _without_probabilities(classify: Any) -> None:
    del classify.inputs["probabilities"]


def _without_classes(classify: Any) -> None:
    del classify.inputs["classes"]


def _classes_of_nowhere(classify: Any) -> None:
    del classify.inputs["classes"]
    classify.inputs["classes"].arguments.add().name = "x"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_probabilities, "lacks its probabilities"),
        (_without_classes, "its classes"),
        (_classes_of_nowhere, "'x' are no constant"),
    ],
)
def test_a_damaged_classifier_is_named(damage: Any, message: str) -> None:
    ct = toolkit.coremltools()
    model = converted(
        lambda x: toolkit.mil().Builder.softmax(x=x, axis=1), [ct.TensorType(name="x", shape=(1, 3))],
        classifier_config=ct.ClassifierConfig(["cat", "dog", "eel"]),
    )  # fmt: skip
    message_of = model.get_spec()
    function = message_of.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    damage(next(operation for operation in block.operations if operation.type == "classify"))
    with pytest.raises(ModelError, match=message):
        read(message_of)
