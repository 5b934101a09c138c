"""The search for the fewest layers to correct: few tries, nothing left that can be left out, pairs are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.compare.support import chain, source
from workbench.compare import Counterfactual, Row, compare, measure
from workbench.compare.counterfactual import Outcome
from workbench.compare.smallest import TRIES, smallest

LAYERS = 248


def rows() -> list[Row]:
    row = compare(source(chain(1)), source(chain(1))).rows[0]
    return [dataclasses.replace(row, index=index, layers=(f"layer_{index}",)) for index in range(LAYERS)]


class Attempts:
    """An output whose error is what ``error`` says of the layers that are not corrected; ok below 0.01."""

    def __init__(self, error: Callable[[set[int]], float]) -> None:
        self.error = error
        self.count = 0

    def __call__(self, chosen: Sequence[Row]) -> Counterfactual:
        self.count += 1
        left = self.error(set(range(LAYERS)) - {row.index for row in chosen})
        x = np.ones(8)
        before, after = (measure(x, x * (1 + error)) for error in (self.error(set(range(LAYERS))), left))
        outcome = Outcome("y", before, after, "too large" if left > 0.01 else "")
        return Counterfactual(tuple(row.layer for row in chosen), (outcome,), "")


def independent(large: dict[int, float]) -> Callable[[set[int]], float]:
    """Errors that add up as if they were independent, most of them tiny."""
    return lambda left: float(np.sqrt(sum(large.get(index, 1e-5) ** 2 for index in left)))


def test_the_few_that_matter_are_found_wherever_the_ranking_has_them() -> None:
    large = {3: 0.1, 50: 0.2, 51: 0.05, 120: 0.3, 121: 0.02, 200: 0.08, 230: 0.4, 247: 0.03}
    attempt = Attempts(independent(large))
    every = rows()
    found = smallest(every, sorted(every, key=lambda row: large.get(row.index, 1.0)), attempt)  # the worst order
    assert found.ok
    assert found.layers == tuple(f"layer_{index}" for index in large)
    assert attempt.count < 150


def test_two_layers_that_only_help_together_are_found() -> None:
    """What overflows, and what brings it back: one alone changes nothing."""
    attempt = Attempts(lambda left: 0.5 if left & {40, 190} else 1e-4)
    every = rows()
    found = smallest(every, every, attempt)
    assert found.layers == ("layer_40", "layer_190")
    assert attempt.count < 100


def test_a_group_that_makes_it_worse_by_itself_does_not_stop_the_search() -> None:
    def error(left: set[int]) -> float:
        corrected = set(range(LAYERS)) - left
        worse = 0.3 if corrected & set(range(10, 60)) and 70 in left else 0.0
        return (0.1 if 70 in left else 1e-3) + worse

    every = rows()
    assert smallest(every, every, Attempts(error)).layers == ("layer_70",)


@pytest.mark.parametrize(("error", "layers", "ok"), [(0.001, 0, True), (0.5, LAYERS, False)])
def test_nothing_to_do_and_nothing_that_helps(error: float, layers: int, ok: bool) -> None:
    attempt = Attempts(lambda left: error)
    every = rows()
    found = smallest(every, every, attempt)
    assert (len(found.layers), found.ok) == (layers, ok)
    assert attempt.count <= 2


def test_the_search_ends_with_what_it_has() -> None:
    """Every second layer is needed: no few are, and what was found by then is right all the same."""
    attempt = Attempts(lambda left: 0.1 if any(index % 2 for index in left) else 1e-4)
    every = rows()
    found = smallest(every, every, attempt)
    assert found.ok
    assert {f"layer_{index}" for index in range(1, LAYERS, 2)} <= set(found.layers)
    assert attempt.count <= TRIES
