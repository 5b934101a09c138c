"""Feature engineering models: scalers, imputers, encoders, and what puts features together."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench.coreml
from tests.formats.coreml.kinds import Features, model, run
from workbench.errors import ConversionError, ExecutionError, ModelError
from workbench.formats.coreml.read import read

Fill = Callable[[Any], None]
NAN = math.nan


def scaler(shift: list[float], scale: list[float]) -> Fill:
    def fill(message: Any) -> None:
        message.scaler.shiftValue.extend(shift)
        message.scaler.scaleValue.extend(scale)
        message.scaler.SetInParent()

    return fill


def imputer(**fields: Any) -> Fill:
    def fill(message: Any) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(message.imputer, name).vector.extend(value)
            else:
                setattr(message.imputer, name, value)

    return fill


def normalizer(kind: int) -> Fill:
    def fill(message: Any) -> None:
        message.normalizer.normType = kind
        message.normalizer.SetInParent()

    return fill


def encoder(categories: list[Any], *, ignore: bool) -> Fill:
    def fill(message: Any) -> None:
        field = "stringCategories" if isinstance(categories[0], str) else "int64Categories"
        getattr(message.oneHotEncoder, field).vector.extend(categories)
        message.oneHotEncoder.handleUnknown = int(ignore)

    return fill


def mapping(entries: Mapping[Any, Any], unknown: Any = None) -> Fill:
    def fill(message: Any) -> None:
        texts = isinstance(next(iter(entries)), str)
        target = message.categoricalMapping
        (target.stringToInt64Map if texts else target.int64ToStringMap).map.update(entries)
        if unknown is not None:
            setattr(target, "int64Value" if isinstance(unknown, int) else "strValue", unknown)

    return fill


def extractor(*indices: int) -> Fill:
    return lambda message: message.arrayFeatureExtractor.extractIndex.extend(indices)


def keys(names: list[str]) -> Fill:
    return lambda message: message.dictVectorizer.stringToIndex.vector.extend(names)


def vectorizer(**columns: int) -> Fill:
    def fill(message: Any) -> None:
        for name, size in columns.items():
            message.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=size)

    return fill


V = np.array([3.0, -4.0, 0.0])
CASES: list[tuple[str, Features, Any, Fill, Mapping[str, Any], Any]] = [
    ("scaler", {"x": (3,)}, (3,), scaler([1, 2, 3], [2, 0.5, -1]), {"x": V}, [8, -1, -3]),
    ("scaler_of_one_number", {"x": (3,)}, (3,), scaler([1], [2]), {"x": V}, [8, -6, 2]),
    ("scaler_without_shift", {"x": "double"}, "double", scaler([], [2]), {"x": 1.5}, [3]),
    ("scaler_of_integers", {"x": "int64"}, "double", scaler([0.5], []), {"x": 3}, [3.5]),
    ("scaler_in_float32", {"x": ((3,), "float32")}, ((3,), "float32"), scaler([0.1], [3]),
     {"x": V.astype(np.float32)}, ((V + 0.1) * 3).astype(np.float32)),
    ("imputer", {"x": (3,)}, (3,), imputer(imputedDoubleArray=[7, 8, 9], replaceDoubleValue=NAN),
     {"x": np.array([1, NAN, NAN])}, [1, 8, 9]),
    ("imputer_of_a_number", {"x": (3,)}, (3,), imputer(imputedDoubleValue=5, replaceDoubleValue=-4.0), {"x": V},
     [3, 5, 0]),
    ("imputer_that_says_no_marker", {"x": "double"}, "double", imputer(imputedDoubleValue=5.0), {"x": NAN}, [5]),
    ("imputer_of_integers", {"x": "int64"}, "int64", imputer(imputedInt64Value=5, replaceInt64Value=-1), {"x": -1},
     [5]),
    ("imputer_of_integers_in_doubles", {"x": (2,)}, (2,), imputer(imputedInt64Array=[5, 6], replaceInt64Value=0),
     {"x": np.array([0.0, 1.0])}, [5, 1]),
    ("imputer_of_texts", {"x": "string"}, "string", imputer(imputedStringValue="none", replaceStringValue=""),
     {"x": ""}, ["none"]),
    ("normalizer_max", {"x": (3,)}, (3,), normalizer(0), {"x": V}, V / 3),
    ("normalizer_1", {"x": (3,)}, (3,), normalizer(1), {"x": V}, V / 7),
    ("normalizer_2", {"x": (3,)}, (3,), normalizer(2), {"x": V}, V / 5),
    ("normalizer_of_zeros", {"x": (3,)}, (3,), normalizer(2), {"x": np.zeros(3)}, [0, 0, 0]),
    ("encoder_of_texts", {"x": "string"}, (3,), encoder(["a", "bb", "ü"], ignore=False), {"x": "ü"}, [0, 0, 1]),
    ("encoder_of_integers", {"x": "int64"}, (2,), encoder([5, 1 << 60], ignore=True), {"x": 1 << 60}, [0, 1]),
    ("encoder_that_ignores", {"x": "int64"}, (2,), encoder([5, 1 << 60], ignore=True), {"x": (1 << 60) + 1}, [0, 0]),
    ("encoder_to_a_dictionary", {"x": "int64"}, "dictionary-int64", encoder([5, 7], ignore=True), {"x": 7}, [0, 1]),
    ("mapping_of_texts", {"x": "string"}, "int64", mapping({"a": 3, "b": -4}, 99), {"x": "b"}, [-4]),
    ("mapping_of_unknown_texts", {"x": "string"}, "int64", mapping({"a": 3, "b": -4}, 99), {"x": "c"}, [99]),
    ("mapping_of_integers", {"x": "int64"}, "string", mapping({1: "one", 2: "two"}), {"x": 2}, ["two"]),
    ("mapping_of_a_sequence", {"x": "sequence-string"}, "sequence-int64", mapping({"a": 3, "b": -4}, 0),
     {"x": ["b", "?", "a"]}, [-4, 0, 3]),
    ("extractor", {"x": (3,)}, (2,), extractor(2, 0), {"x": V}, [0, 3]),
    ("extractor_of_a_number", {"x": (3,)}, "double", extractor(1), {"x": V}, [-4]),
    ("extractor_of_an_integer", {"x": (3,)}, "int64", extractor(1), {"x": V}, [-4]),
    ("keys", {"x": "dictionary-string"}, "dictionary-int64", keys(["a", "c", "b"]), {"x": {"b": 4, "a": 8.5}},
     [8.5, 0, 4]),
    ("features", {"a": "double", "b": (3,), "c": "int64"}, (5,), vectorizer(c=1, b=3, a=1),
     {"a": 0.5, "b": V, "c": 7}, [7, 3, -4, 0, 0.5]),
    ("features_of_a_dictionary", {"a": "dictionary-int64", "b": "double"}, (4,), vectorizer(a=3, b=1),
     {"a": {2: 5.0}, "b": 1.0}, [0, 0, 5, 1]),
    ("thresholds_of_classes", {"x": (3,)}, (2, 3), lambda m: m.classConfidenceThresholding.SetInParent(), {"x": V},
     [V, np.ones(3)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "output", "fill", "feeds", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_features_are_made_as_documented(
    inputs: Features, output: Any, fill: Fill, feeds: Mapping[str, Any], expected: Any
) -> None:
    found = run(model(inputs, {"y": output}, fill), feeds)["y"]
    wanted = np.asarray(expected)
    if wanted.dtype.kind == "U":
        assert found.tolist() == wanted.tolist()
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-15)
    assert found.shape == wanted.shape


def test_identity_hands_on_what_it_is_given() -> None:
    message = model({"a": "string", "b": (2,)}, {"b": (2,), "a": "string"}, lambda m: m.identity.SetInParent())
    found = run(message, {"a": "text", "b": np.array([1.0, 2.0])})
    assert list(found) == ["b", "a"]
    assert found["a"].tolist() == ["text"]


def test_an_output_may_be_called_like_its_input() -> None:
    message = model({"x": (3,)}, {"x": (3,)}, scaler([1], [2]))
    np.testing.assert_array_equal(run(message, {"x": V})["x"], [8, -6, 2])


UNKNOWN: list[tuple[Features, Any, Fill, Any]] = [
    ({"x": "string"}, (2,), encoder(["a", "b"], ignore=False), "c"),
    ({"x": "int64"}, "string", mapping({1: "one"}), 2),
]


@pytest.mark.parametrize(("inputs", "output", "fill", "value"), UNKNOWN, ids=["encoder", "mapping"])
def test_an_unknown_category_is_an_error_where_the_model_says_so(
    inputs: Features, output: Any, fill: Fill, value: Any
) -> None:
    with pytest.raises(ExecutionError, match=r"out of data bounds|out of range"):
        run(model(inputs, {"y": output}, fill), {"x": value})


CONTRADICTIONS: list[tuple[Features, Any, Fill, str]] = [
    ({"x": (3,)}, (3,), scaler([1, 2], []), "2 numbers are given for an input of shape"),
    ({"x": (3,)}, (3,), imputer(imputedDoubleArray=[1, 2]), "2 numbers are given"),
    ({"x": (3,)}, (3,), imputer(replaceDoubleValue=1.0), "nothing to put in place"),
    ({"x": "int64"}, "int64", imputer(imputedInt64Value=1), "is none"),
    ({"x": (3,)}, (3,), imputer(imputedStringValue="a"), "not all texts"),
    ({"x": (3,)}, (3,), normalizer(7), "normType is 7"),
    ({"x": "string"}, (2,), encoder([1, 2], ignore=True), "the other way round"),
    ({"x": "double"}, (2,), encoder([1, 2], ignore=True), "no integer"),
    ({"x": "string"}, "int64", mapping({"a": 1}, "b"), "is no result"),
    ({"x": (3,)}, "double", extractor(3), "elements .3. of 3"),
    ({"x": (3,)}, (3,), vectorizer(z=3), "'z', which is none of its inputs"),
    ({"x": (3,)}, (4,), vectorizer(x=4), "it takes 4 values, the inputs have 3"),
    ({"x": "string"}, (1,), vectorizer(x=1), "is a text, numbers are needed"),
    ({"x": (3,), "y": (3,)}, (3,), scaler([1], [1]), "takes one input, 2 are described"),
    ({"x": (3,)}, "string", scaler([1], [1]), "is a string, it comes out as float64"),
]


@pytest.mark.parametrize(("inputs", "output", "fill", "cause"), CONTRADICTIONS, ids=[c[3][:20] for c in CONTRADICTIONS])
def test_contradictions_are_named(inputs: Features, output: Any, fill: Fill, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        read(model(inputs, {"y": output}, fill)).hub()


@pytest.mark.parametrize(
    ("inputs", "output", "fill", "cause"),
    [
        ({"x": "double"}, "int64", scaler([1], [1]), "its output is an integer"),
        ({"x": "dictionary-string"}, "dictionary-string", lambda m: m.imputer.imputedStringDictionary.map.update(a=1.0),
         "whose keys are not known"),
    ],
)  # fmt: skip
def test_what_no_operator_says_is_refused(inputs: Features, output: Any, fill: Fill, cause: str) -> None:
    with pytest.raises(ConversionError, match=cause):
        read(model(inputs, {"y": output}, fill)).hub()


def test_feeds_of_dictionaries_are_checked() -> None:
    message = model({"x": "dictionary-string"}, {"y": "dictionary-int64"}, keys(["a", "b"]))
    assert run(message, {"x": {"z": 1.0, "b": 2}})["y"].tolist() == [0, 2]
    with pytest.raises(ExecutionError, match="no number"):
        run(message, {"x": {"a": "one"}})
    with pytest.raises(ExecutionError, match="'x' takes no dictionary"):
        run(model({"x": (2,)}, {"y": (2,)}, scaler([1], [1])), {"x": {"a": 1.0}})


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Apple's own predictor")
@pytest.mark.filterwarnings("ignore")
def test_predict_takes_and_returns_what_python_has_for_it(tmp_path: Path) -> None:
    import coremltools

    cases: list[tuple[Any, Any, Any]] = [
        (model({"x": "double"}, {"y": "double"}, scaler([1], [2])), 1.5, 5.0),
        (model({"x": "int64"}, {"y": "string"}, mapping({1: "one"})), 1, "one"),
        (model({"x": "sequence-string"}, {"y": "sequence-int64"}, mapping({"a": 3})), ["a", "a"], [3, 3]),
        (model({"x": "dictionary-string"}, {"y": "dictionary-int64"}, keys(["a", "b"])), {"b": 2}, {1: 2.0}),
    ]
    with workbench.coreml.enable_predict():
        for number, (message, value, expected) in enumerate(cases):
            path = tmp_path / f"{number}.mlmodel"
            path.write_bytes(message.SerializeToString())
            found = coremltools.models.MLModel(str(path)).predict({"x": value})["y"]
            assert (type(found), found) == (type(expected), expected)
