"""Core ML's kinds of model that are no neural network, against numpy loops of their documentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.formats.coreml.kinds import Array, classifier, followed, grow, model, run, run_as_onnx, suppressed
from workbench.errors import ConversionError, ExecutionError, LimitError, ModelError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import read

X = np.array([0.5, -2.0, 3.0])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# -- trees --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [1, 3])
def test_trees_of_every_branch_with_missing_values(dimensions: int) -> None:
    """200 inputs that meet thresholds exactly, pass them, or are missing."""
    rng = np.random.default_rng(dimensions)

    def fill(message: Any) -> None:
        ensemble = message.treeEnsembleRegressor.treeEnsemble
        ensemble.numPredictionDimensions = dimensions
        ensemble.basePredictionValue.extend(rng.normal(size=dimensions))
        for tree in range(12):
            grow(ensemble, tree, rng, features=4, dimensions=dimensions)

    message = model({"x": (4,)}, {"y": (dimensions,)}, fill)
    document = read(message)
    loaded = wb.load(message)
    for _ in range(200):
        x = rng.choice([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 1e-300, math.nan, math.inf, -math.inf], size=4)
        expected = followed(message.treeEnsembleRegressor.treeEnsemble, x)
        np.testing.assert_allclose(loaded.run({"x": x})["y"], expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(run_as_onnx(document, {"x": x})["y"], expected, rtol=1e-14)


@pytest.mark.parametrize("strict", [False, True])
def test_thresholds_are_met_exactly_in_float64_and_in_float32(strict: bool) -> None:
    """A double threshold that no float32 holds, float32 inputs on both sides of it, and an input that is one."""

    def fill(message: Any) -> None:
        ensemble = message.treeEnsembleRegressor.treeEnsemble
        ensemble.numPredictionDimensions = 1
        for tree, limit in enumerate((0.1, 0.5)):
            node = ensemble.nodes.add(treeId=tree, branchFeatureValue=limit, trueChildNodeId=1, falseChildNodeId=2)
            node.nodeBehavior = int(strict)
            for number in (1, 2):
                leaf = ensemble.nodes.add(treeId=tree, nodeId=number, nodeBehavior=6)
                leaf.evaluationInfo.add(evaluationValue=float(number * 10**tree))

    message = model({"x": ((1,), "float32")}, {"y": "double"}, fill)
    below, above = np.nextafter(np.float32(0.1), np.float32(0)), np.float32(0.1)  # 0.1 rounds upwards
    found = [run(message, {"x": np.array([x], np.float32)})["y"].item() for x in (below, above, np.float32(0.5))]
    assert found == [11, 12, 22 if strict else 12]


TRANSFORMS: list[tuple[str, int, Callable[[Array], Array]]] = [
    ("NoTransform", 1, lambda v: np.array([1 - v[0], v[0]])),
    ("Regression_Logistic", 1, lambda v: np.array([1 - sigmoid(v)[0], sigmoid(v)[0]])),
    ("Classification_SoftMaxWithZeroClassReference", 1, lambda v: np.array([1 - sigmoid(v)[0], sigmoid(v)[0]])),
    ("NoTransform", 3, lambda v: v),
    ("Regression_Logistic", 3, sigmoid),
    ("Classification_SoftMax", 3, lambda v: np.exp(v) / np.exp(v).sum()),
]


def tree_classifier(transform: int, dimensions: int, labels: Any) -> Any:
    def fill(message: Any) -> Any:
        trees = message.treeEnsembleClassifier
        trees.postEvaluationTransform = transform
        trees.treeEnsemble.numPredictionDimensions = dimensions
        for tree in range(5):
            grow(trees.treeEnsemble, tree, np.random.default_rng(tree), 3, dimensions)
        return trees

    return classifier({"x": (3,)}, labels, fill)


@pytest.mark.parametrize(
    ("transform", "dimensions", "expect"), TRANSFORMS, ids=lambda value: getattr(value, "__name__", value)
)
def test_classifiers_of_trees_transform_their_sums(
    transform: str, dimensions: int, expect: Callable[[Array], Array]
) -> None:
    names = toolkit.submodule("proto.TreeEnsemble_pb2").TreeEnsemblePostEvaluationTransform
    number = names.Value(transform)
    labels = ["a", "b"] if dimensions == 1 else [7, 8, 9]
    message = tree_classifier(number, dimensions, labels)
    found = run(message, {"x": X})
    expected = expect(followed(message.treeEnsembleClassifier.treeEnsemble, X))
    np.testing.assert_allclose(found["probability"], expected, rtol=1e-13)
    assert found["label"] == labels[int(np.argmax(expected))]


def damaged(change: Callable[[Any], object]) -> Any:
    """A tree of a branch and two leaves, changed."""

    def fill(message: Any) -> None:
        ensemble = message.treeEnsembleRegressor.treeEnsemble
        ensemble.numPredictionDimensions = 1
        ensemble.nodes.add(trueChildNodeId=1, falseChildNodeId=2)
        for number in (1, 2):
            ensemble.nodes.add(nodeId=number, nodeBehavior=6).evaluationInfo.add(evaluationValue=1.0)
        change(ensemble)

    return model({"x": (1,)}, {"y": "double"}, fill)


def set_node(number: int, **fields: Any) -> Callable[[Any], None]:
    def change(ensemble: Any) -> None:
        for name, value in fields.items():
            setattr(ensemble.nodes[number], name, value)

    return change


def chain(ensemble: Any) -> None:
    """A branch below a branch, 300 deep."""
    del ensemble.nodes[:]
    for level in range(300):
        ensemble.nodes.add(nodeId=2 * level, trueChildNodeId=2 * level + 1, falseChildNodeId=2 * level + 2)
        ensemble.nodes.add(nodeId=2 * level + 1, nodeBehavior=6)
    ensemble.nodes.add(nodeId=600, nodeBehavior=6)


DAMAGES: list[tuple[Callable[[Any], Any], str]] = [
    (set_node(1, nodeBehavior=0, trueChildNodeId=0, falseChildNodeId=2), "branches lead to the node"),
    (set_node(0, trueChildNodeId=0), "2 nodes lie on a cycle"),
    (set_node(0, falseChildNodeId=9), "successor 9, which is not there"),
    (set_node(2, nodeId=1), "two nodes of tree 0 have the number 1"),
    (set_node(0, falseChildNodeId=1), "2 branches lead to the node 1"),
    (set_node(0, branchFeatureIndex=5), "reads the feature 5, the inputs have 1"),
    (set_node(0, branchFeatureValue=math.nan), "compares with NaN"),
    (set_node(0, nodeBehavior=9), "the node 0 of tree 0 has a behaviour that is not known"),
    (set_node(1, treeId=3), "successor 1, which is not there"),
    (lambda e: e.nodes[1].evaluationInfo.add(evaluationIndex=4), "dimension 4 of 1"),
    (lambda e: e.basePredictionValue.extend([1, 2]), "2 base values"),
    (lambda e: e.nodes.add(nodeId=8, nodeBehavior=6), "several roots"),
]


@pytest.mark.parametrize(("change", "cause"), DAMAGES, ids=[cause[:24] for _, cause in DAMAGES])
def test_damaged_trees_are_refused_by_name(change: Callable[[Any], Any], cause: str) -> None:
    with pytest.raises(ModelError, match=cause) as caught:
        read(damaged(change)).hub()
    assert "treeEnsembleRegressor" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "limit"),
    [(lambda e: setattr(e, "numPredictionDimensions", 1 << 60), "folded_elements"), (chain, "nesting")],
)
def test_trees_beyond_the_limits_are_not_built(change: Callable[[Any], Any], limit: str) -> None:
    with pytest.raises(LimitError, match=limit):
        read(damaged(change)).hub()


def test_a_cycle_beside_a_tree_is_found() -> None:
    def change(ensemble: Any) -> None:
        ensemble.nodes.add(nodeId=5, trueChildNodeId=6, falseChildNodeId=7)
        ensemble.nodes.add(nodeId=6, trueChildNodeId=5, falseChildNodeId=8)
        ensemble.nodes.add(nodeId=7, nodeBehavior=6)
        ensemble.nodes.add(nodeId=8, nodeBehavior=6)

    with pytest.raises(ModelError, match="4 nodes lie on a cycle"):
        read(damaged(change)).hub()


# -- linear models --------------------------------------------------------------------------------------------------

ROWS = np.array([[1.0, 2.0, -0.5], [0.3, -1.0, 0.2], [0.0, 0.5, 1.0]])


def linear(labels: list[str], rows: int, encoding: int, transform: int = 0) -> Any:
    def fill(message: Any) -> Any:
        glm = message.glmClassifier
        for row in ROWS[:rows]:
            glm.weights.add(value=row)
        glm.offset.extend([0.25, -1.0, 0.5][:rows])
        glm.classEncoding, glm.postEvaluationTransform = encoding, transform
        return glm

    return classifier({"x": (3,)}, labels, fill)


def normal(x: Array) -> Array:
    return np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x])


@pytest.mark.parametrize(("transform", "function"), [(0, lambda x: x), (1, sigmoid), (2, normal)])
def test_linear_regressors_transform_their_sums(transform: int, function: Callable[[Array], Array]) -> None:
    def fill(message: Any) -> None:
        message.glmRegressor.weights.add(value=ROWS[0])
        message.glmRegressor.offset.append(3.0)
        message.glmRegressor.postEvaluationTransform = transform

    found = run(model({"x": (3,)}, {"y": "double"}, fill), {"x": X})["y"]
    np.testing.assert_allclose(found, function(np.array([ROWS[0] @ X + 3.0])), rtol=1e-12)


def test_linear_classifiers_of_both_encodings() -> None:
    sums = ROWS @ X + [0.25, -1.0, 0.5]
    second = sigmoid(sums[:1])
    against_rest = sigmoid(sums) / sigmoid(sums).sum()
    reference = np.exp([0.0, *sums[:2]]) / np.exp([0.0, *sums[:2]]).sum()
    for message, expected in [
        (linear(["a", "b"], 1, 1), np.array([1 - second[0], second[0]])),
        (linear(["a", "b"], 1, 0), np.array([1 - second[0], second[0]])),
        (linear(["a", "b"], 1, 1, 1), np.array([normal(-sums)[0], normal(sums)[0]])),
        (linear(["a", "b", "c"], 3, 1), against_rest),
        (linear(["a", "b", "c"], 2, 0), reference),
    ]:
        found = run(message, {"x": X})
        np.testing.assert_allclose(found["probability"], expected, rtol=1e-10)
        assert found["label"] == "abc"[int(np.argmax(expected))]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (linear(["a", "b", "c"], 2, 1), "take 3 rows of weights, there are 2"),
        (linear(["a", "b"], 1, 5), "classEncoding is 5"),
        (linear(["a", "b"], 1, 1, 7), "postEvaluationTransform is 7"),
        (linear(["a"], 1, 1), "1 classes"),
    ],
)
def test_linear_models_that_contradict_themselves(message: Any, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        read(message).hub()


# -- support vector machines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_support_vectors_may_be_sparse_and_count_from_1(sparse: bool) -> None:
    vectors = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, -1.0]])

    def fill(message: Any) -> None:
        svm = message.supportVectorRegressor
        svm.kernel.polyKernel.degree, svm.kernel.polyKernel.gamma, svm.kernel.polyKernel.c = 3, 0.5, 1.0
        svm.coefficients.alpha.extend([2.0, -1.0])
        svm.rho = 0.75
        for row in vectors:
            if sparse:
                target = svm.sparseSupportVectors.vectors.add()
                for index in np.flatnonzero(row):
                    target.nodes.add(index=int(index) + 1, value=row[index])
            else:
                svm.denseSupportVectors.vectors.add(values=row)

    message = model({"a": "double", "b": ((2,), "float32")}, {"y": "double"}, fill)
    found = run(message, {"a": 0.5, "b": np.array([-2.0, 3.0], np.float32)})["y"]
    np.testing.assert_allclose(found, [np.array([2.0, -1.0]) @ (0.5 * vectors @ X + 1) ** 3 - 0.75], rtol=1e-14)


# -- what is refused ------------------------------------------------------------------------------------------------


def test_kinds_that_cannot_be_calculated_are_read_and_refused_by_name() -> None:
    def custom(message: Any) -> None:
        message.customModel.className = "MyMagic"

    document = read(model({"x": (3,)}, {"y": (3,)}, custom))
    assert [layer.name for layer in document.layers] == ["customModel"]
    with pytest.raises(ConversionError, match=r"customModel.*the class 'MyMagic' of an app"):
        document.hub()
    for kind, cause in [
        ("kNearestNeighborsClassifier", "no counterpart"),
        ("bayesianProbitRegressor", "no counterpart"),
        ("itemSimilarityRecommender", "no counterpart"),
        ("visionFeaturePrint", "code of the operating system"),
        ("textClassifier", "code of the operating system"),
        ("wordTagger", "code of the operating system"),
        ("gazetteer", "code of the operating system"),
        ("soundAnalysisPreprocessing", "code of the operating system"),
        ("linkedModel", "another model"),
        ("serializedModel", "private to Core ML"),
    ]:
        message = model({"x": "string"}, {"y": "string"}, lambda m, kind=kind: getattr(m, kind).SetInParent())
        plan = wb.load(message).plan("onnx")
        assert [row.layer for row in plan] == [kind]
        assert cause in plan.refusals[0].cause


def test_what_the_documentation_leaves_open_is_refused() -> None:
    with pytest.raises(ConversionError, match="softmax of one value"):
        read(tree_classifier(1, 1, ["a", "b"])).hub()
    with pytest.raises(ConversionError, match="ZeroClassReference"):
        read(tree_classifier(3, 3, ["a", "b", "c"])).hub()


# -- suppression ----------------------------------------------------------------------------------------------------


def detector(per_class: bool, boxes: Any = (0, 4), optional: bool = True) -> Any:
    def fill(message: Any) -> None:
        nms = message.nonMaximumSuppression
        nms.pickTop.perClass = per_class
        nms.iouThreshold, nms.confidenceThreshold = 0.3, 0.4
        nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName = "c", "b"
        nms.iouThresholdInputFeatureName, nms.confidenceThresholdInputFeatureName = "overlap", "least"
        nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName = "confidence", "coordinates"
        for feature in message.description.input[2:]:
            feature.type.isOptional = optional

    inputs = {"c": (40, 3), "b": (40, 4), "overlap": "double", "least": "double"}
    return model(inputs, {"confidence": (boxes[0], 3), "coordinates": boxes}, fill)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_suppressed_as_documented(per_class: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(size=(40, 3))
    boxes = np.concatenate([rng.uniform(size=(40, 2)), rng.uniform(0.1, 0.5, size=(40, 2))], axis=1)
    for given in ({}, {"overlap": 0.6, "least": 0.8}):
        found = run(detector(per_class), {"c": confidence, "b": boxes, **given})
        expected = suppressed(confidence, boxes, given.get("overlap", 0.3), given.get("least", 0.4), per_class)
        np.testing.assert_array_equal(found["confidence"], expected[0])
        np.testing.assert_array_equal(found["coordinates"], expected[1])


@pytest.mark.parametrize("rows", [2, 30])
def test_a_stated_number_of_boxes_is_kept_to(rows: int) -> None:
    rng = np.random.default_rng(0)
    feeds = {"c": rng.uniform(size=(40, 3)), "b": rng.uniform(0.1, 0.5, size=(40, 4)), "overlap": 0.5, "least": 0.0}
    found = run(detector(False, (rows, 4)), feeds)["coordinates"]
    expected = suppressed(feeds["c"], feeds["b"], 0.5, 0.0, False)[1]
    assert 2 < len(expected) < 30
    assert found.shape == (rows, 4)
    np.testing.assert_array_equal(found[: len(expected)], expected[:rows])
    assert not found[len(expected) :].any()


def test_thresholds_that_are_no_options_have_to_be_given() -> None:
    with pytest.raises(ExecutionError, match="overlap"):
        run(detector(False, optional=False), {"c": np.zeros((40, 3)), "b": np.zeros((40, 4))})
