"""Models that coremltools makes of scikit-learn's: what scikit-learn predicts is what has to come out."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.formats.coreml.kinds import run_as_onnx
from workbench.formats.coreml import toolkit

pytest.importorskip("sklearn")

RNG = np.random.default_rng(0)
X, NEW = (RNG.standard_normal((size, 5)).astype(np.float32).astype(float) for size in (80, 10))
TWO = (X[:, 0] + X[:, 1] > 0).astype(int)
THREE = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3)
NUMBER = X @ [1, 2, 3, -1, 0.5] + X[:, 0] ** 2
HOLES, NEW_HOLES = (np.where(RNG.uniform(size=data.shape) < 0.2, np.nan, data) for data in (X, NEW))


def converted(estimator: Any, *names: Any) -> Any:
    """Converted by coremltools, which takes scikit-learn up to 1.5.1 only, and prints what it thinks of it."""
    sklearn = toolkit.submodule("converters.sklearn")
    if not toolkit.submodule("_deps")._HAS_SKLEARN:
        pytest.skip("coremltools does not take this version of scikit-learn")
    with contextlib.redirect_stdout(io.StringIO()):
        return wb.load(sklearn.convert(estimator, *names))


def fitted(name: str, x: Any, y: Any = None, **options: Any) -> Any:
    """An estimator by its path in scikit-learn."""
    import importlib

    module, kind = name.rsplit(".", 1)
    return getattr(importlib.import_module(f"sklearn.{module}"), kind)(**options).fit(x, y)


REGRESSORS: list[tuple[str, dict[str, Any]]] = [
    ("linear_model.LinearRegression", {}),
    ("linear_model.Ridge", {}),
    ("svm.LinearSVR", {}),
    ("svm.SVR", {}),
    ("svm.SVR", {"kernel": "poly", "degree": 2, "coef0": 0.5}),
    ("svm.NuSVR", {"kernel": "linear"}),
    ("tree.DecisionTreeRegressor", {}),
    ("ensemble.RandomForestRegressor", {"n_estimators": 20}),
    ("ensemble.GradientBoostingRegressor", {"n_estimators": 20}),
]


@pytest.mark.parametrize(("name", "options"), REGRESSORS, ids=[name for name, _ in REGRESSORS])
def test_regressors(name: str, options: dict[str, Any]) -> None:
    estimator = fitted(name, X, NUMBER, **options)
    model = converted(estimator)
    found = [model.run({"input": x})["prediction"].item() for x in NEW]
    np.testing.assert_allclose(found, estimator.predict(NEW), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(run_as_onnx(model.document, {"input": NEW[-1]})["prediction"], found[-1:], rtol=1e-12)


CLASSIFIERS: list[tuple[str, Any, dict[str, Any], float]] = [
    ("linear_model.LogisticRegression", TWO, {"multi_class": "ovr"}, 1e-12),
    ("linear_model.LogisticRegression", THREE, {"multi_class": "ovr"}, 1e-12),
    ("svm.LinearSVC", TWO, {}, 0),
    ("svm.LinearSVC", THREE, {}, 0),
    ("svm.SVC", TWO, {}, 0),
    ("svm.SVC", THREE, {"kernel": "sigmoid", "gamma": 0.1}, 0),
    ("svm.SVC", TWO, {"probability": True}, 5e-3),  # scikit-learn couples the one pair that there is, Core ML does not
    ("svm.SVC", THREE, {"probability": True, "kernel": "poly", "coef0": 0.3}, 1e-12),
    ("svm.NuSVC", THREE, {"nu": 0.2}, 0),
    ("svm.NuSVC", THREE, {"nu": 0.2, "probability": True}, 1e-12),
    ("tree.DecisionTreeClassifier", TWO, {}, 1e-12),
    ("tree.DecisionTreeClassifier", THREE, {}, 1e-12),
    ("ensemble.RandomForestClassifier", TWO, {"n_estimators": 21}, 1e-12),
    ("ensemble.RandomForestClassifier", THREE, {"n_estimators": 1}, 1e-12),
    ("ensemble.GradientBoostingClassifier", TWO, {"n_estimators": 20}, 1e-12),
    ("ensemble.GradientBoostingClassifier", THREE, {"n_estimators": 20}, 1e-12),
]


@pytest.mark.parametrize(
    ("name", "classes", "options", "bound"), CLASSIFIERS, ids=[f"{c[0]}-{max(c[1]) + 1}" for c in CLASSIFIERS]
)
@pytest.mark.filterwarnings("ignore")
def test_classifiers(name: str, classes: Any, options: dict[str, Any], bound: float) -> None:
    """Labels; and, with a bound, probabilities."""
    estimator = fitted(name, X, np.array(["no", "yes", "why"])[classes], random_state=0, **options)
    model = converted(estimator)
    found = [model.run({"input": x}) for x in NEW]
    labels = [str(result["classLabel"]) for result in found]
    if not bound:
        assert labels == estimator.predict(NEW).tolist()
        return
    probabilities = estimator.predict_proba(NEW)
    np.testing.assert_allclose([result["classProbability"] for result in found], probabilities, atol=bound)
    assert labels == estimator.classes_[probabilities.argmax(1)].tolist()
    alone = run_as_onnx(model.document, {"input": NEW[-1]})["classProbability"]
    np.testing.assert_allclose(alone, found[-1]["classProbability"], rtol=1e-12)


def test_pipelines_with_an_input_for_each_column() -> None:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [
        ("fill", SimpleImputer()),
        ("scale", StandardScaler()),
        ("boost", GradientBoostingClassifier(n_estimators=9)),
    ]
    estimator = Pipeline(steps).fit(HOLES, THREE)
    model = converted(estimator, list("abcde"), "class")
    assert [layer.operator for layer in model.layers] == [
        "featureVectorizer", "imputer", "scaler", "treeEnsembleClassifier",
    ]  # fmt: skip
    for row, expected in zip(NEW_HOLES, estimator.predict_proba(NEW_HOLES), strict=True):
        found = model.run(dict(zip("abcde", row.tolist(), strict=True)))
        np.testing.assert_allclose(found["classProbability"], expected, rtol=1e-12)
        assert found["class"] == expected.argmax()


TRANSFORMS: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("preprocessing.StandardScaler", X, NEW, {}),
    ("impute.SimpleImputer", HOLES, NEW_HOLES, {}),
    ("preprocessing.OneHotEncoder", THREE.reshape(-1, 2), THREE[:6].reshape(-1, 2), {"sparse_output": False}),
]


@pytest.mark.parametrize(("name", "old", "new", "options"), TRANSFORMS, ids=[t[0] for t in TRANSFORMS])
def test_transformers(name: str, old: Any, new: Any, options: dict[str, Any]) -> None:
    estimator = fitted(name, old, **options)
    model = converted(estimator)
    found = [model.run({"input": x.astype(float)})[model.outputs[0].name] for x in new]
    np.testing.assert_allclose(found, estimator.transform(new), rtol=1e-14)


def test_dictionaries_become_vectors() -> None:
    samples = [{"a": 1.0, "b": 2.0}, {"c": 3.0, "a": -1.0}]
    estimator = fitted("feature_extraction.DictVectorizer", samples)
    model = converted(estimator, "d", "out")
    found = [model.run({"d": sample})["out"] for sample in samples]
    np.testing.assert_array_equal(found, estimator.transform(samples).toarray())
