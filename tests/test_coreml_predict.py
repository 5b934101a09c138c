"""coremltools' own ``MLModel.predict``, off Apple."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
import workbench.coreml

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Apple's own predictor")

SHAPES = {"image": (1, 1, 8, 8)}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "digits.mlpackage"
    return wb.load(wb.samples.digits()).convert("coreml", shapes=SHAPES).save(path)


@pytest.fixture
def image() -> Any:
    return np.random.default_rng(0).uniform(0, 16, (1, 1, 8, 8)).astype(np.float32)


def opened(package: Path) -> Any:
    import coremltools

    return coremltools.models.MLModel(str(package))


@pytest.mark.filterwarnings("ignore")
def test_it_predicts_what_the_workbench_computes_and_is_off_again_after_the_block(package: Path, image: Any) -> None:
    with workbench.coreml.enable_predict():
        model = opened(package)
        found = model.predict({"image": image})
    expected = wb.load(package).run({"image": image})
    assert list(found) == list(expected)
    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])
    np.testing.assert_array_equal(model.predict({"image": image})["probabilities"], expected["probabilities"])
    with pytest.raises(Exception, match=r"(?i)predict|macOS|framework"):
        opened(package).predict({"image": image})


@pytest.mark.filterwarnings("ignore")
def test_the_block_ends_also_on_an_error_and_when_it_is_entered_twice(package: Path, image: Any) -> None:
    from workbench.formats.coreml import toolkit

    module = toolkit.public("models.model")
    before = module._MLModelProxy
    with pytest.raises(ZeroDivisionError), workbench.coreml.enable_predict():
        raise ZeroDivisionError
    assert module._MLModelProxy is before
    switch = workbench.coreml.enable_predict()
    switch.enable()
    switch.disable()
    switch.disable()
    assert module._MLModelProxy is before


@pytest.mark.filterwarnings("ignore")
def test_an_inner_block_leaves_the_outer_one_on(package: Path, image: Any) -> None:
    with workbench.coreml.enable_predict():
        with workbench.coreml.enable_predict():
            pass
        assert opened(package).predict({"image": image})["probabilities"].shape == (1, 10)


@pytest.mark.filterwarnings("ignore")
def test_lists_of_feeds_and_other_dtypes_are_taken_as_apple_takes_them(package: Path, image: Any) -> None:
    with workbench.coreml.enable_predict():
        model = opened(package)
        once = model.predict({"image": image})["probabilities"]
        many = model.predict([{"image": image}, {"image": image.astype(np.float64)}])
    assert [entry["probabilities"].shape for entry in many] == [(1, 10), (1, 10)]
    for entry in many:
        np.testing.assert_array_equal(entry["probabilities"], once)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, "image"),
        ({"image": np.zeros((1, 1, 9, 9), np.float32)}, r"\(1, 1, 9, 9\)|1, 1, 8, 8"),
        ({"image": "a picture"}, "image"),
    ],
)
def test_feeds_that_do_not_fit_say_which(package: Path, feeds: dict[str, Any], says: str) -> None:
    with workbench.coreml.enable_predict():
        model = opened(package)
        with pytest.raises(RuntimeError, match=says):
            model.predict(feeds)


# what Apple's runtime takes and returns beyond arrays


@pytest.fixture
def mil() -> Any:
    """coremltools' builder, its types and itself, with prediction on."""
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types

    with workbench.coreml.enable_predict():
        yield coremltools, Builder, types


@pytest.mark.filterwarnings("ignore")
def test_a_state_is_made_carried_read_and_written(mil: Any) -> None:
    ct, mb, types = mil

    @mb.program(
        input_specs=[mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, acc: Any) -> Any:
        return mb.coreml_update_state(state=acc, value=mb.add(x=x, y=mb.read_state(input=acc)), name="y")

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS18)
    state, other = model.make_state(), model.make_state()
    x = np.asarray([1, 2], np.float32)
    model.predict({"x": x}, state=state)
    np.testing.assert_array_equal(model.predict({"x": x}, state=state)["y"], 2 * x)
    np.testing.assert_array_equal(state.read_state("acc"), 2 * x)
    np.testing.assert_array_equal(other.read_state("acc"), 0 * x)
    other.write_state("acc", 5 * x)
    np.testing.assert_array_equal(model.predict({"x": x}, state=other)["y"], 6 * x)
    with pytest.raises(RuntimeError, match="no state 'nothing'; it has acc"):
        state.read_state("nothing")
    with pytest.raises(RuntimeError, match="shape"):
        state.write_state("acc", np.zeros(3))
    with pytest.raises(RuntimeError, match="make_state"):
        model.predict({"x": x})


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_returns_its_label_and_probabilities_and_takes_a_picture(mil: Any) -> None:
    from PIL import Image

    ct, mb, types = mil

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 1, 1), types.fp32)], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.softmax(x=mb.reshape(x=x, shape=(1, 3)), axis=-1, name="p")

    model = ct.convert(
        program,
        inputs=[ct.ImageType(name="x", shape=(1, 3, 1, 1))],
        classifier_config=ct.ClassifierConfig(["red", "green", "blue"]),
        minimum_deployment_target=ct.target.iOS16,
    )
    found = model.predict({"x": Image.new("RGB", (1, 1), (0, 9, 0))})
    assert found["classLabel"] == "green"
    (probabilities,) = (value for value in found.values() if isinstance(value, dict))
    assert list(probabilities) == ["red", "green", "blue"]
    assert probabilities["green"] == pytest.approx(1 / (1 + 2 * np.exp(-9)), rel=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_an_image_output_is_a_picture(mil: Any) -> None:
    from PIL import Image

    ct, mb, types = mil

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 5), types.fp32)], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.sub(x=np.float32(255), y=x, name="y")

    model = ct.convert(
        program,
        inputs=[ct.ImageType(name="x", shape=(1, 3, 4, 5), color_layout=ct.colorlayout.BGR)],
        minimum_deployment_target=ct.target.iOS16,
    )
    spec = model.get_spec()
    spec.description.output[0].type.CopyFrom(spec.description.input[0].type)  # the builder's programs have arrays only
    model = ct.models.MLModel(spec, weights_dir=model.weights_dir)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    found = model.predict({"x": Image.fromarray(pixels)})["y"]
    assert isinstance(found, Image.Image)
    np.testing.assert_array_equal(np.asarray(found.convert("RGB")), 255 - pixels)


@pytest.mark.filterwarnings("ignore")
def test_apple_s_own_validator_finds_the_operator_that_overflows(mil: Any) -> None:
    import asyncio

    from coremltools.models.ml_program.experimental.debugging_utils import MLModelInspector, MLModelValidator

    ct, mb, types = mil

    @mb.program(input_specs=[mb.TensorSpec((3,), types.fp32)])
    def program(x: Any) -> Any:
        return mb.log(x=mb.exp(x=mb.relu(x=x, name="relu"), name="exp"), name="log")

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS16)
    feeds = {"x": np.asarray([1, 2, 12], np.float32)}

    async def intermediates() -> dict[str, Any]:
        return {name: value async for name, value in MLModelInspector(model).inspect(feeds)}

    found = asyncio.run(intermediates())
    assert np.isinf(found["exp_cast_fp16"][2])
    assert np.isfinite(found["relu_cast_fp16"]).all()
    failing = asyncio.run(MLModelValidator(model).find_failing_ops_with_infinite_output(feeds))
    assert [operation.type for operation in failing] == ["exp"]


@pytest.mark.filterwarnings("ignore")
def test_apple_s_own_comparator_finds_where_float16_differs(mil: Any) -> None:
    import asyncio

    from coremltools.models.ml_program.experimental.debugging_utils import MLModelComparator

    ct, mb, types = mil

    def converted(precision: Any) -> Any:
        @mb.program(input_specs=[mb.TensorSpec((3,), types.fp32)])
        def program(x: Any) -> Any:
            return mb.log(x=mb.exp(x=mb.relu(x=x, name="relu"), name="exp"), name="log")

        return ct.convert(program, minimum_deployment_target=ct.target.iOS16, compute_precision=precision)

    def same(operation: Any, reference: Any, target: Any) -> bool:
        return bool(np.allclose(reference, target, rtol=1e-2))

    comparator = MLModelComparator(converted(ct.precision.FLOAT32), converted(ct.precision.FLOAT16))
    feeds = {"x": np.asarray([1, 2, 12], np.float32)}
    differing = asyncio.run(comparator.find_failing_ops(feeds, same))
    assert [operation.type for operation in differing] == ["exp"]
