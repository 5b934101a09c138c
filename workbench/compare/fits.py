"""Simple relations between two tensors: what was done to the reference's to make the target's of it.

Each fit proposes a relation and says how much of the difference it leaves. Structural ones (a permutation, a clip) have
nothing to adjust, so one that leaves nothing is evidence; parametric ones (a gain, a bias) have few numbers to adjust
for many elements.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LIMIT = 1 << 23  # elements; larger tensors are only fitted with parameters
SLICES = 1024
"""Along axes with more slices no order is looked for."""
_PROBES = 64
_BORDER = 0.2  # share of the border's elements that has to differ
_PER_CHANNEL = 8  # elements that each channel needs at least


@dataclass(frozen=True)
class Fit:
    """A relation between the two tensors.

    Attributes:
        kind: of signature; ``text`` says it in words.
        left: norm of the difference that it leaves.
        evidence: its figures.
    """

    kind: str
    text: str
    left: float
    evidence: tuple[str, ...] = ()


def structural(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """Relations without parameters, the simplest first.

    Args:
        x: the reference's tensor, float64, finite; ``y``: the target's, of the same shape.
        allowed: norm of the difference that is no fault.
    """
    if not y.any():
        yield Fit("zeroed", "all elements are zero", 0.0)
    yield Fit("sign", "all elements have the other sign", _norm(x + y))
    yield Fit("sign", "no element is negative", _norm(np.abs(x) - y))
    if x.size > LIMIT:
        return
    yield from _one_step(x, y)
    yield from _permuted(x, y, allowed)
    yield from _reordered(x, y)
    yield from _saturated(x, y, allowed)


def local(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """Relations that other faults leave as well: an activation, elements that stand elsewhere, another border.

    The arguments are those of :func:`structural`.
    """
    if x.size <= LIMIT:
        yield from _activations(x, y)
        yield from _shifted(x, y, allowed)
        yield from _border(x, y, allowed)


def rearranged(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """Relations with an index for each slice of an axis; the arguments are those of :func:`structural`."""
    if x.size <= LIMIT:
        yield from _elsewhere(x, y, allowed)


def parametric(x: Array, y: Array) -> Iterator[Fit]:
    """Relations with a gain, a bias or both, of all elements and of each channel, those with fewer numbers first."""
    d = y - x
    xx = float(np.vdot(x, x))
    gain = float(np.vdot(x, y)) / xx if xx else 1.0
    yield Fit("gain", "all elements are multiplied by one factor", _norm(y - gain * x), (f"factor {gain:.6g}",))
    bias = float(d.mean())
    yield Fit("bias", "the same is added to all elements", _norm(d - bias), (f"addend {bias:.6g}",))
    for axis, count in enumerate(x.shape):
        if count > 1 and x.size // count >= _PER_CHANNEL:
            yield from _per_channel(x, y, axis)


def gains_along(x: Array, y: Array, axis: int) -> Array:
    """For each index of an axis the factor that brings x nearest to y: 1 in all other dimensions."""
    others = tuple(other for other in range(x.ndim) if other != axis)
    found: Array = (x * y).sum(others, keepdims=True) / np.maximum(np.square(x).sum(others, keepdims=True), 1e-300)
    return found


def _per_channel(x: Array, y: Array, axis: int) -> Iterator[Fit]:
    """One gain or bias for each index of an axis."""
    others = tuple(other for other in range(x.ndim) if other != axis)
    d = y - x
    mean_x, mean_y = x.mean(axis=others, keepdims=True), y.mean(axis=others, keepdims=True)
    shift = mean_y - mean_x
    moved = int(np.count_nonzero(np.abs(shift) > 1e-6 * max(float(np.abs(mean_x).max()), 1e-30)))
    where = f"axis {axis}, {moved} of {x.shape[axis]} indices"
    yield Fit("bias", "a constant is added, another for each channel", _norm(d - shift), (where,))
    a, b = x - mean_x, y - mean_y
    total = float(np.square(a).sum())
    gain = float((a * b).sum()) / total if total else 1.0
    text = "one factor for all, and an offset for each channel: the weight is scaled, the bias is not"
    yield Fit("gain", text, _norm(b - gain * a), (f"factor {gain:.6g}", where))
    gains = gains_along(x, y, axis)
    figures = (f"factors {float(gains.min()):.4g} to {float(gains.max()):.4g}", where)
    yield Fit("gain", "each channel is multiplied by a factor", _norm(y - gains * x), figures)
    gains = gains_along(a, b, axis)
    figures = (f"factors {float(gains.min()):.4g} to {float(gains.max()):.4g}", where)
    yield Fit("scale and bias", "each channel is multiplied and shifted", _norm(b - gains * a), figures)


def _one_step(x: Array, y: Array) -> Iterator[Fit]:
    """Elements on a lattice, some of them one step away from where they should be."""
    d = np.abs(y - x)
    scale = float(np.abs(x).max(initial=0.0))
    differing = d > 1e-6 * scale
    steps = d[differing]
    if not steps.size or not scale:
        return
    if steps.size == d.size and abs(np.count_nonzero(y > x) - d.size / 2) == d.size / 2:
        return  # all of them in one direction: a bias
    step = float(np.median(steps))
    grid = (x - x.reshape(-1)[0]) / step
    if not 3 * step <= scale <= 1e5 * step or float(np.abs(grid - np.rint(grid)).max()) > 0.02:
        return
    left = _norm(d - step * differing)
    share = steps.size / d.size
    yield Fit(
        "off by one", "elements are one step of their grid away", left, (f"step {step:.6g}", f"{share:.1%} differ")
    )


def _permuted(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """The elements in the order of other axes."""
    if not 2 <= x.ndim <= 5:
        return
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    places = np.unique(np.linspace(0, x.size - 1, _PROBES).astype(np.int64))
    near = 4 * allowed / math.sqrt(x.size) + 1e-12
    for perm in itertools.permutations(range(x.ndim)):
        kept = [axis for axis in perm if x.shape[axis] != 1]
        if kept == sorted(kept):
            continue
        shape = tuple(x.shape[axis] for axis in perm)
        index = np.unravel_index(places, shape)
        sources = np.ravel_multi_index(tuple(index[perm.index(axis)] for axis in range(x.ndim)), x.shape)
        if np.mean(np.abs(flat_x[sources] - flat_y[places]) <= near) < 0.9:
            continue
        text = f"the elements stand in the order of the axes {list(perm)}"
        yield Fit("permuted axes", text, _norm(x.transpose(perm).reshape(x.shape) - y))


def _reordered(x: Array, y: Array) -> Iterator[Fit]:
    """The slices of one axis in another order; the simple ones first, that rounding may hide a little."""
    for axis, order in _origins(x, y):
        count, own = len(order), np.arange(len(order))
        turn = int(np.bincount((order - own) % count).argmax())
        for turned in (own[::-1], (own + turn) % count, order):
            if len(set(turned.tolist())) == count and not np.array_equal(turned, own):
                left = _norm(x.take(turned, axis=axis) - y)
                figures = (f"{int(np.count_nonzero(turned != own))} of {count} moved",)
                yield Fit("channel order", f"the slices of axis {axis} are {_order_of(turned)}", left, figures)


def _elsewhere(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """The slices of one axis are those of other indices, some of them twice.

    To a slice of few elements there is nearly always another one that is near: there, nothing may be left.
    """
    for axis, order in _origins(x, y):
        count, own = len(order), np.arange(len(order))
        telling = x.size // count >= _PER_CHANNEL or _norm(x.take(order, axis=axis) - y) <= allowed
        if len(set(order.tolist())) < count and telling:
            steps = np.unique((order - own)[order != own])
            figures = (f"offset {int(steps[0])}",) if len(steps) == 1 else ()
            figures = (*figures, f"{int(np.count_nonzero(order != own))} of {count} differ")
            text = f"the slices of axis {axis} are those of other indices"
            yield Fit("indices", text, _norm(x.take(order, axis=axis) - y), figures)


def _origins(x: Array, y: Array) -> Iterator[tuple[int, Array]]:
    """For each axis, the reference's slice that is nearest to each of the target's, where it is not its own."""
    rng = np.random.default_rng(0)
    for axis, count in enumerate(x.shape):
        if not 2 <= count <= SLICES:
            continue
        probes = rng.standard_normal((x.size // count, 4)) / math.sqrt(x.size // count)
        prints = [np.moveaxis(array, axis, 0).reshape(count, -1) @ probes for array in (x, y)]
        distances = np.square(prints[1][:, None] - prints[0][None]).sum(axis=2)
        nearest = distances.argmin(axis=1)
        own = np.arange(count)
        same = distances[own, own] <= distances[own, nearest] * 1.01 + 1e-24
        order = _untied(np.where(same, own, nearest), distances)
        if not np.array_equal(order, own):
            yield axis, order


def _untied(order: Array, distances: Array) -> Array:
    """The order with each of several equal slices (all zero behind a Relu) taken once, as far as there are enough."""
    taken: set[int] = set()
    found: Array = order.copy()
    for place, origin in enumerate(order):
        if int(origin) in taken:
            row = distances[place]
            equals = np.flatnonzero(row <= row[origin] * 1.01 + 1e-24)
            found[place] = next((other for other in equals if other not in taken), origin)
        taken.add(int(found[place]))
    return found


def _order_of(order: Array) -> str:
    own = np.arange(len(order))
    moved = np.flatnonzero(order != own)
    if len(moved) == 2:
        return f"exchanged ({moved[0]} and {moved[1]})"
    if np.array_equal(order, own[::-1]):
        return "reversed"
    if np.unique((order - own) % len(order)).size == 1:
        return f"rotated by {int((order[0] - own[0]) % len(order))}"
    return "in another order"


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "LeakyRelu (0.01)": lambda x: np.where(x < 0, 0.01 * x, x),
    "LeakyRelu (0.1)": lambda x: np.where(x < 0, 0.1 * x, x),
    "LeakyRelu (0.2)": lambda x: np.where(x < 0, 0.2 * x, x),
    "Sigmoid": _sigmoid,
    "Tanh": np.tanh,
    "Silu": lambda x: x * _sigmoid(x),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "Elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Exp": np.exp,
    "Square": np.square,
    "Sqrt": lambda x: np.sqrt(np.maximum(x, 0)),
}


def _activations(x: Array, y: Array) -> Iterator[Fit]:
    """One of the tensors is an activation of the other."""
    with np.errstate(all="ignore"):
        for name, function in ACTIVATIONS.items():
            for kind, left in (
                ("activation missing", _norm(function(y) - x)),
                ("activation added", _norm(function(x) - y)),
            ):
                if math.isfinite(left):
                    yield Fit(
                        kind,
                        f"{name} of the {'target' if 'missing' in kind else 'reference'}'s tensor is the other",
                        left,
                    )


_RECTIFIED = {(0.0, None): "Relu", (0.0, 6.0): "Relu6"}
"""Bounds that an activation has."""


def _saturated(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """The reference's tensor with a bound that it exceeds by more than rounding does."""
    low, high = float(y.min()), float(y.max())
    beyond = np.count_nonzero(x > high), np.count_nonzero(x < low)
    at = np.count_nonzero(y == high), np.count_nonzero(y == low)
    if not any(count > 1 and held > 1 for count, held in zip(beyond, at, strict=True)):
        return
    figures = (
        f"between {low:.6g} and {high:.6g}",
        f"{sum(beyond) / x.size:.1%} of the reference's elements are beyond",
    )
    left = _norm(np.clip(x, low, high) - y)
    near = max(1e-5 * max(abs(low), abs(high)), 8 * allowed / math.sqrt(x.size))
    bounds = low if (x < low - near).any() else None, high if (x > high + near).any() else None
    if bounds in _RECTIFIED:
        yield Fit("activation added", f"{_RECTIFIED[bounds]} of the reference's tensor is the other", left, figures)
    yield Fit("saturated", "the elements end at a bound", left, figures)


def _shifted(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """The elements some places further along one or two axes; only where both have them is compared."""
    axes = [axis for axis, count in enumerate(x.shape) if count >= 4]
    offsets: list[dict[int, int]] = [{axis: by} for axis in axes for by in (-1, 1, -2, 2)]
    if len(axes) >= 2:
        for pair in itertools.combinations(axes, 2):
            offsets += [dict(zip(pair, by, strict=True)) for by in itertools.product((-1, 1), repeat=2)]
    for offset in offsets:
        first = x[tuple(slice(max(offset.get(a, 0), 0), n + min(offset.get(a, 0), 0)) for a, n in enumerate(x.shape))]
        second = y[
            tuple(slice(max(-offset.get(a, 0), 0), n + min(-offset.get(a, 0), 0)) for a, n in enumerate(x.shape))
        ]
        probe = tuple(slice(None, None, max(1, n // 8)) for n in first.shape)
        share = max(_norm(first[probe]), 1e-30)
        if _norm(first[probe] - second[probe]) > 0.05 * share + 4 * allowed:
            continue
        moved = ", ".join(f"axis {axis} by {by:+d}" for axis, by in offset.items())
        yield Fit("shifted", f"the elements stand elsewhere: {moved}", _norm(first - second))


def _border(x: Array, y: Array, allowed: float) -> Iterator[Fit]:
    """Nothing differs but the border of one or two axes."""
    d = y - x
    axes = [axis for axis, count in enumerate(x.shape) if count >= 4]
    for chosen in (*itertools.combinations(axes, 2), *((axis,) for axis in axes)):
        for width in (1, 2, 3):
            inner = d[tuple(slice(width, n - width) if a in chosen else slice(None) for a, n in enumerate(d.shape))]
            if inner.size * 8 < d.size:
                break
            left, border = _norm(inner), d.size - inner.size
            if left <= max(allowed, 0.02 * _norm(d)) and np.count_nonzero(d) >= _BORDER * border:
                yield Fit("border", f"only the border differs, {width} wide along axes {list(chosen)}", left)
                return


def _norm(x: Array) -> float:
    return float(np.linalg.norm(x.reshape(-1)))
