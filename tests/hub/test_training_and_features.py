"""Steps of optimisers and operators that make features, composed of others: onnx's reference is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.hub.composing import Array, Composed, assert_composed, expanded, refusals
from workbench.hub.compositions import TABLE, features, training

RNG = np.random.default_rng(13)
PREVIEW, ML = "ai.onnx.preview.training", "ai.onnx.ml"


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def case(name: str, *inputs: Array, label: str = "", outputs: int = 1, domain: str = "", **attributes: Any) -> Composed:
    names = tuple(f"o{index}" for index in range(outputs))
    return Composed(label or name, name, inputs, attributes, outputs=names, domain=domain)


def optimiser(name: str, label: str, states: int, step: int, count: int = 1, **attributes: Any) -> Composed:
    """Values, gradients, then so many states of each value; states are not negative, as sums of squares are."""
    shapes = [(3,), (2, 2)][:count]
    tensors = [f(*shape) for _ in range(2) for shape in shapes]
    tensors += [np.abs(f(*shape)) for _ in range(states) for shape in shapes]
    rate, time = np.asarray(0.1, np.float32), np.asarray(step)
    outputs = count * (1 + states)
    return case(name, rate, time, *tensors, label=label, outputs=outputs, domain=PREVIEW, **attributes)


WORDS = np.asarray([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int64)
POOL = {"ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6], "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]}


def vectorizer(label: str, x: Array, skips: int, least: int, most: int, **attributes: Any) -> Composed:
    lengths = {"max_skip_count": skips, "min_gram_length": least, "max_gram_length": most}
    return case("TfIdfVectorizer", x, label=label, **{"mode": "TF", **POOL, **lengths, **attributes})


WEIGHTS = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
CASES = [
    optimiser("Adagrad", "adagrad", 1, 3, 2, epsilon=1e-5, decay_factor=0.1, norm_coefficient=0.001),
    optimiser("Adagrad", "adagrad, first step", 1, 0),
    optimiser("Adam", "adam", 2, 3, 2, alpha=0.95, beta=0.1, epsilon=1e-7, norm_coefficient=0.001),
    optimiser("Adam", "adam, first step", 2, 0, norm_coefficient_post=0.1),
    optimiser("Momentum", "momentum", 1, 3, 2, alpha=0.95, beta=0.85, norm_coefficient=0.01, mode="standard"),
    optimiser("Momentum", "momentum, first step", 1, 0, alpha=0.9, beta=0.5, norm_coefficient=0.0, mode="standard"),
    optimiser("Momentum", "nesterov", 1, 1, alpha=0.9, beta=0.5, norm_coefficient=0.01, mode="nesterov"),
    case("Binarizer", np.asarray([[0.5, -1.0, 2.0]], np.float32), threshold=0.5, domain=ML),
    case("ArrayFeatureExtractor", f(3, 4), np.asarray([[0, 3, 0]]), domain=ML),
    vectorizer("bigrams", WORDS, 0, 2, 2),
    vectorizer("bigrams that skip", WORDS, 5, 2, 2),
    vectorizer("of one row", WORDS[0], 5, 1, 2),
    vectorizer("of int32", WORDS.astype(np.int32), 5, 1, 2),
    vectorizer("weights of what occurs", WORDS, 0, 1, 2, mode="IDF", weights=WEIGHTS),
    vectorizer("counts times weights", WORDS, 5, 1, 2, mode="TFIDF", weights=WEIGHTS),
    vectorizer("longer than the row", WORDS[:, :1], 0, 1, 2),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("item", CASES, ids=str)
def test_a_composition_computes_what_the_operator_does(item: Composed) -> None:
    want = ReferenceEvaluator(item.model()).run(None, item.feeds)
    assert_composed(item, dict(zip(item.outputs, map(np.asarray, want), strict=True)))


def test_every_composition_is_tested() -> None:
    own = {features.__name__, training.__name__}
    assert {entry.operator for entry in TABLE if entry.function.__module__ in own} == {item.operator for item in CASES}


def test_n_grams_that_stand_twice_in_the_pool_are_refused() -> None:
    pool = {"ngram_counts": [0], "ngram_indexes": [0, 1], "pool_int64s": [5, 5]}
    hub = expanded(vectorizer("twice", WORDS, 0, 1, 1, **pool))
    assert refusals(hub) == ["an n-gram is in the pool twice"]
