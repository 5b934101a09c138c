"""Arithmetic with open sizes agrees with that of numbers, and what a range leaves open is not decided."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from workbench.hub.quotients import floor_quotient
from workbench.hub.sizes import Extent, OpenSize, Size, larger, same, smaller, symbol

B, S = symbol("b", 1, 8), symbol("s", 2, 512)


def built(rng: random.Random, leaves: dict[str, Any], depth: int) -> Any:
    """A random expression over ``b``, ``s`` and small numbers."""
    if not depth:
        return rng.choice([leaves["b"], leaves["s"], rng.randint(-3, 9)])
    kind, x = rng.choice("+-*/%<>"), built(rng, leaves, depth - 1)
    if kind in "/%":
        by = rng.choice([1, 2, 3, leaves["b"], leaves["s"]])
        return floor_quotient(x, by) if kind == "/" else x - floor_quotient(x, by) * by
    y = built(rng, leaves, depth - 1)
    chosen: dict[str, Callable[[], Any]] = {
        "+": lambda: x + y,
        "-": lambda: x - y,
        "*": lambda: x * y,
        "<": lambda: smaller(x, y),
        ">": lambda: larger(x, y),
    }
    return chosen[kind]()


@pytest.mark.parametrize("seed", range(20))
def test_expressions_agree_with_numbers_and_stay_within_their_bounds(seed: int) -> None:
    for each in range(100):
        sizes = {"b": random.Random(each).randint(1, 8), "s": random.Random(each + 1).randint(2, 512)}
        made = built(random.Random(1000 * seed + each), {"b": B, "s": S}, 3)
        number = built(random.Random(1000 * seed + each), sizes, 3)
        assert (made.at(sizes) if isinstance(made, Size) else made) == number, made
        low, high = made.bounds() if isinstance(made, Size) else (made, made)
        assert low <= number <= high


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (B * S * 64 // (B * 64), "s"),
        (B * (S + 1) * 64 // (64 * (S + 1)), "b"),
        (3 * S // S, "3"),
        ((2 * S + 5) // 2, "s + 2"),
        ((S // 2 + 1) // 2, "((s + 2)//4)"),
        (larger((S + 2) // 4, S // 4), "((s + 2)//4)"),
        (B * S * 6 // (4 * B), "((3*s)//2)"),
        (S - S, "0"),
        (-2 % S, "s - 2"),
        (smaller(S, 1000), "s"),
        (larger(S, 2), "s"),
        (larger(S, B), "max(b, s)"),
        (1 - B, "-b + 1"),
    ],
)
def test_what_can_be_simplified_is(made: Extent, text: str) -> None:
    assert str(made) == text


@pytest.mark.parametrize(
    "decide",
    [lambda: S < 100, lambda: B == 1, lambda: S - 2 > B, lambda: range(S), lambda: int(B), lambda: S / 2,
     lambda: bool(B - 1), lambda: S // (B - 1), lambda: max(20, S)],
)  # fmt: skip
def test_what_the_range_leaves_open_is_not_decided(decide: Callable[[], object]) -> None:
    with pytest.raises(OpenSize, match=r"'[bs]' \(\d to \d+\)"):
        decide()


def test_what_holds_for_the_whole_range_is_decided() -> None:
    assert all([S > 1, B <= 8, S != 0, B + S != 2, not S < 2, S == S + B - B, 0 not in (B, 3)])
    assert same(S * 2, S + S)
    assert not same(S, B)
