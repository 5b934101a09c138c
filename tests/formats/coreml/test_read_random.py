"""Random operators: the distributions, judged by numpy on large samples, and what a seed promises."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, package, run
from workbench.errors import ConversionError
from workbench.formats.coreml.read import read

Array = np.ndarray[Any, Any]
COUNT = 400_000


def drawn(build: Any, release: int = 15, **feeds: Array) -> list[Array]:
    """What the operators come out as; ``feeds`` replaces an input that nothing depends on."""
    given = feeds or {"x": np.zeros(1, np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        return run(read(package(Case("random", build, given, release=release), Path(folder))), given)


def beside(*operators: Any) -> Any:
    """The operators, beside an input that a function has to have."""
    return lambda mb, x: [mb.add(x=x, y=x), *(operator(mb) for operator in operators)]


def numbers(*operators: Any) -> list[Array]:
    return drawn(beside(*operators))[1:]


def uniform(seed: int = 5, count: int = COUNT, **options: Any) -> Any:
    return lambda mb: mb.random_uniform(shape=[count], seed=seed, **options)


def normal(seed: int = 5, count: int = COUNT, **options: Any) -> Any:
    return lambda mb: mb.random_normal(shape=[count], seed=seed, **options)


def correlation(one: Array, other: Array) -> float:
    return float(abs(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1]))


BOUND = 4.5 / math.sqrt(COUNT)
"""Of a correlation: 4.5 standard deviations."""


def chi_squared(counts: Array, expected: Array) -> float:
    """How many standard deviations the statistic is from its mean."""
    freedom = counts.size - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, -7, -1])
def test_uniform(seed: int) -> None:
    found = numbers(uniform(seed))[0].astype(np.float64)
    assert 0 <= found.min() < 1e-4
    assert 1 - 1e-4 < found.max() < 1
    assert abs(found.mean() - 0.5) < 4.5 / math.sqrt(12 * COUNT)
    assert abs(found.var() - 1 / 12) < 1e-3
    assert abs(chi_squared(np.histogram(found, 1000, (0, 1))[0], np.full(1000, COUNT / 1000))) < 4.5
    low = (found * 2**24).astype(np.int64) % 256  # the lowest bits are as good as the highest
    assert abs(chi_squared(np.bincount(low, minlength=256), np.full(256, COUNT / 256))) < 4.5
    pairs = np.histogram2d(found[::2], found[1::2], 30, [(0, 1), (0, 1)])[0]
    assert abs(chi_squared(pairs, np.full((30, 30), COUNT / 1800))) < 4.5
    for lag in (1, 2, 3, 16, 64, 1000, 1024):
        assert correlation(found[:-lag], found[lag:]) < BOUND * 1.01, lag


def test_uniform_interval() -> None:
    found = numbers(uniform(low=-3.0, high=2.0))[0]
    assert -3 <= found.min() < -2.99
    assert 1.99 < found.max() < 2
    assert abs(found.mean() + 0.5) < 0.01


def test_uniform_stays_below_its_end() -> None:
    """float16 has 2048 numbers in [0.5, 1): rounding alone would make 1.0 of the upper ones."""
    half = {"low": np.float16(0), "high": np.float16(1)}
    found = numbers(lambda mb: mb.cast(x=mb.random_uniform(shape=[COUNT], seed=3, **half), dtype="fp32"))[0]
    assert found.max() == np.nextafter(np.float16(1), np.float16(0))
    tight = numbers(uniform(low=1.0, high=float(np.float32(1) + np.spacing(np.float32(1)))))[0]
    assert (tight == 1).all()


def test_uniform_of_an_empty_interval_is_refused() -> None:
    with pytest.raises(ConversionError, match="is empty"):
        numbers(uniform(low=1.0, high=0.5))


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, -1])
def test_normal(seed: int) -> None:
    found = numbers(normal(seed, mean=0.0, stddev=1.0))[0].astype(np.float64)
    assert abs(found.mean()) < BOUND
    assert abs(found.var() - 1) < BOUND * math.sqrt(2)
    assert abs((found**3).mean()) < BOUND * math.sqrt(15)
    assert abs((found**4).mean() - 3) < BOUND * math.sqrt(96)
    edges = np.linspace(-3, 3, 61)
    shares = np.diff([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges]) * COUNT
    assert abs(chi_squared(np.histogram(found, edges)[0], shares)) < 4.5
    assert 4.2 < abs(found).max() < 6.7
    for lag in (1, 2, 1000):
        assert correlation(found[:-lag], found[lag:]) < BOUND * 1.01


def test_normal_parameters() -> None:
    found = numbers(normal(mean=2.0, stddev=0.25))[0]
    assert abs(found.mean() - 2) < BOUND
    assert abs(found.std() - 0.25) < BOUND
    assert (numbers(normal(mean=2.0, stddev=0.0))[0] == 2).all()


@pytest.mark.parametrize("prob", [0.0, 0.25, 0.9, 1.0])
def test_bernoulli(prob: float) -> None:
    found = numbers(lambda mb: mb.random_bernoulli(shape=[COUNT], prob=prob, seed=9))[0]
    assert set(np.unique(found)) <= {0, 1}
    assert abs(found.mean() - prob) <= 4.5 * math.sqrt(prob * (1 - prob) / COUNT)


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical(mode: str) -> None:
    """Two distributions, one with impossible classes at its ends; the draws of both are independent."""
    shares = np.asarray([[0.1, 0.2, 0.3, 0.4], [0.0, 0.75, 0.25, 0.0]])
    with np.errstate(divide="ignore"):
        given = {"x": (np.log(shares) if mode == "logits" else shares).astype(np.float32)}
    found = drawn(lambda mb, x: [mb.random_categorical(x=x, mode=mode, size=COUNT, seed=3)], **given)[0]
    assert found.shape == (2, COUNT)
    for row, share in zip(found, shares, strict=True):
        counts = np.bincount(row.astype(np.int64), minlength=4)
        assert (counts[share == 0] == 0).all()
        assert abs(chi_squared(counts[share > 0], share[share > 0] * COUNT)) < 4.5
    assert correlation(*found) < BOUND


def test_a_seed_gives_the_same_numbers() -> None:
    first, again, other, normals = numbers(uniform(5), uniform(5), uniform(6), normal(5))
    assert (first == again).all()
    assert correlation(first, other) < BOUND
    assert correlation(first, normals) < BOUND
    assert (first == numbers(uniform(5))[0]).all()
    assert first[:3].tolist() == pytest.approx(by_hand(5, 3), abs=0)


def by_hand(seed: int, count: int) -> list[float]:
    """The generator in Python integers: what a seed gives is part of what we promise."""
    import hashlib

    digest = hashlib.sha256(f"seed {seed}".encode()).digest()
    keys = [int.from_bytes(digest[at : at + 4], "little") for at in (0, 4)]

    def mixed(word: int) -> int:
        word ^= word >> 16
        word = word * 0x21F0AAAD % 2**32
        word ^= word >> 15
        word = word * 0xD35A2D97 % 2**32
        return word ^ word >> 15

    return [(mixed(mixed((at + keys[0]) % 2**32) ^ keys[1]) >> 8) / 2**24 for at in range(count)]


def test_without_a_seed_each_operation_has_its_own() -> None:
    first, second, seeded = numbers(uniform(-1), uniform(-1), uniform(0))
    assert correlation(first, second) < BOUND
    assert correlation(first, seeded) < BOUND


def test_shape_at_run_time() -> None:
    build = lambda mb, shape: [  # noqa: E731
        mb.random_uniform(shape=shape, seed=5), mb.random_normal(shape=shape), mb.random_bernoulli(shape=shape)
    ]  # fmt: skip
    found = drawn(build, shape=np.asarray([3, 4, 50], np.int32))
    assert [array.shape for array in found] == [(3, 4, 50)] * 3
    assert (found[0].reshape(-1) == numbers(uniform(5, 600))[0]).all()


def loop(mb: Any, turns: int, draw: Any, start: Any) -> Any:
    """``start``, then what ``draw`` gives in each turn."""
    return mb.while_loop(
        _cond=lambda n, y: mb.less(x=n, y=turns),
        _body=lambda n, y: (mb.add(x=n, y=1), mb.concat(values=[y, draw()], axis=0)),
        loop_vars=(np.int32(0), start),
    )[1]


def test_each_iteration_draws_numbers_of_its_own() -> None:
    def build(mb: Any, x: Any) -> Any:
        return loop(mb, 20, lambda: mb.random_uniform(shape=[4000], seed=5), x)

    rows = drawn(build)[0][1:].reshape(20, 4000)
    assert (rows == drawn(build)[0][1:].reshape(20, 4000)).all()  # a seed is a seed
    assert abs(chi_squared(np.histogram(rows, 100, (0, 1))[0], np.full(100, rows.size / 100))) < 4.5
    between = np.abs(np.corrcoef(rows.astype(np.float64))[np.triu_indices(20, 1)])
    assert between.max() < 5 / math.sqrt(4000)


def test_a_loop_inside_a_loop_draws_anew_in_every_turn_of_both() -> None:
    def build(mb: Any, x: Any) -> Any:
        draw = lambda: mb.random_normal(shape=[1], seed=5)  # noqa: E731
        return loop(mb, 6, lambda: loop(mb, 5, draw, mb.random_normal(shape=[1], seed=7)), x)

    assert len(set(drawn(build)[0][1:].tolist())) == 6 * (5 + 1)


def test_the_condition_of_a_loop_draws_anew() -> None:
    """With the same number in each turn the loop would run not at all, or for ever."""

    def build(mb: Any, x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda y: mb.squeeze(x=mb.less(x=mb.random_uniform(shape=[1], seed=3), y=np.float32(0.9))),
            _body=lambda y: (mb.add(x=y, y=np.float32(1)),),
            loop_vars=(x,),
        )

    assert 0 < float(drawn(build)[0][0]) < 200
