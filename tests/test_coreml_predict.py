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

    module = toolkit.submodule("models.model")
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
        with pytest.raises(wb.errors.ExecutionError, match=says):
            model.predict(feeds)
