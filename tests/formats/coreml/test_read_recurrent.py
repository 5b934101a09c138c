"""Recurrent layers as ONNX's operators cannot say them, or with rarer activations, against their equations in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, package, run
from workbench.formats.coreml.read import read

Array = np.ndarray[Any, Any]

RNG = np.random.default_rng(23)
S, N, D, H = 5, 2, 3, 4


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


FUNCTIONS: dict[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "scaled_tanh": np.tanh, "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0), "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}  # fmt: skip
"""As the reference in coremltools' own tests has them."""

X, H0, C0 = floats(S, N, D), floats(N, H), floats(N, H)
WIDE_H0, WIDE_C0 = floats(N, 2 * H), floats(N, 2 * H)
FORWARD = {
    "weight_ih": floats(4 * H, D),
    "weight_hh": floats(4 * H, H),
    "bias": floats(4 * H),
    "peephole": floats(3 * H),
}
BACK = {f"{name}_back": floats(*array.shape) for name, array in FORWARD.items()}


def lstm(
    x: Array, h: Array, c: Array, weights: dict[str, Array], clip: float, functions: tuple[str, str, str]
) -> tuple[Array, Array, Array]:
    """Gates in Core ML's order: input, forget, output, cell. All hidden states, the last one, the last cell."""
    gates, cell, output = (FUNCTIONS[name] for name in functions)
    w, r, b, p = (weights.get(name, np.zeros(1)) for name in ("weight_ih", "weight_hh", "bias", "peephole"))
    p_i, p_f, p_o = np.split(p, 3) if len(p) > 1 else (0, 0, 0)
    made = []
    for step in x:
        i, f, o, z = np.split(step @ w.T + h @ r.T + b, 4, axis=1)
        c = np.clip(gates(f + c * p_f) * c + gates(i + c * p_i) * cell(z), -clip, clip)
        h = gates(o + c * p_o) * output(c)
        made.append(h)
    return np.stack(made), h, c


USUAL = ("sigmoid", "tanh", "tanh")


def case(
    name: str, clip: float | None, functions: tuple[str, str, str] = USUAL, *, without: tuple[str, ...] = (),
    direction: str = "forward", sequence: bool = True, dtype: Any = np.float32, **tolerance: float,
) -> Case:  # fmt: skip
    both = direction == "bidirectional"
    weights = {key: array.astype(dtype) for key, array in FORWARD.items() if key not in without}
    back = {key: array.astype(dtype) for key, array in BACK.items() if key.removesuffix("_back") not in without}
    given = {
        **weights, **(back if both else {}), **({} if clip is None else {"clip": dtype(clip)}), "direction": direction,
        "output_sequence": sequence, "recurrent_activation": functions[0], "cell_activation": functions[1],
        "activation": functions[2],
    }  # fmt: skip

    def expect(x: Array, h: Array, c: Array) -> tuple[Array, ...]:
        bound = np.inf if clip is None else clip
        h, c = h.astype(np.float64), c.astype(np.float64)
        if both:
            ahead = lstm(x, h[:, :H], c[:, :H], weights, bound, functions)
            behind = {key.removesuffix("_back"): array for key, array in back.items()}
            astern = lstm(x[::-1], h[:, H:], c[:, H:], behind, bound, functions)
            found = tuple(
                np.concatenate([a, b], axis=-1) for a, b in zip(ahead, (astern[0][::-1], *astern[1:]), strict=True)
            )
        else:
            found = lstm(x[::-1] if direction == "reverse" else x, h, c, weights, bound, functions)
        return found if sequence else (found[1][None], *found[1:])

    states = {"h": WIDE_H0, "c": WIDE_C0} if both else {"h": H0, "c": C0}
    inputs = {key: array.astype(dtype) for key, array in {"x": X, **states}.items()}
    return Case(
        f"lstm-{name}", lambda mb, x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **given), inputs, expect,
        release=15 if dtype is np.float32 else 17, **{"atol": 1e-5, **tolerance},
    )  # fmt: skip


LSTM = [
    case("clip", 0.3),
    case("clip-without-peephole", 0.3, without=("peephole",)),
    case("clip-without-bias", 0.3, without=("bias", "peephole")),
    case("clip-last", 0.3, sequence=False),
    case("clip-reverse", 0.3, direction="reverse"),
    case("clip-bidirectional", 0.3, direction="bidirectional"),
    case("clip-bidirectional-last", 0.3, direction="bidirectional", sequence=False),
    case("clip-float16", 0.25, dtype=np.float16, rtol=2e-3, atol=1e-4),
    case("clip-beyond-everything", 100.0),
    *(case(f"clip-{name}", 0.3, (name, "tanh", name)) for name in FUNCTIONS),
    case("peephole", None),
    *(case(f"activations-{name}", None, ("sigmoid", "tanh", name)) for name in FUNCTIONS),
    case("activations-all-parameters", None, ("hard_sigmoid", "linear", "hard_sigmoid"), direction="bidirectional"),
]


@pytest.mark.parametrize("optimize", [False, True], ids=["as-is", "optimized"])
@pytest.mark.parametrize("example", LSTM, ids=str)
def test_lstm(example: Case, optimize: bool) -> None:
    check(example, optimize=optimize)


def test_the_bound_matters() -> None:
    """The cases above would pass with a reader that forgot the bound, were it never reached."""
    bounded, free = (lstm(X, H0, C0, FORWARD, bound, USUAL)[0] for bound in (0.3, np.inf))
    assert np.abs(bounded - free).max() > 0.1


@pytest.mark.parametrize(("operator", "clip"), [("lstm", None), ("lstm", 0.3), ("rnn", None)])
def test_a_state_that_is_filled_has_the_rows_of_the_batch(operator: str, clip: float | None) -> None:
    """coremltools gives it as many rows as the first of its packed sequences is long; all of them are the same."""
    weights = {"weight_ih": FORWARD["weight_ih"], "weight_hh": FORWARD["weight_hh"]}
    if operator == "rnn":
        weights = {name: array[:H] for name, array in weights.items()}

    def build(mb: Any, x: Any, rows: Any) -> Any:
        state = mb.squeeze(x=mb.fill(shape=mb.concat(values=[[1], rows, [H]], axis=0), value=0.25), axes=[0])
        states = {"initial_h": state} | ({"initial_c": state} if operator == "lstm" else {})
        bound = {} if clip is None else {"clip": clip}
        return getattr(mb, operator)(x=x, output_sequence=True, **states, **weights, **bound)

    def expect(x: Array, rows: Array) -> tuple[Array, ...]:
        state = np.full((N, H), 0.25)
        if operator == "lstm":
            return lstm(x, state, state, weights, np.inf if clip is None else clip, USUAL)
        made = []
        for step in x:
            state = np.tanh(step @ weights["weight_ih"].T + state @ weights["weight_hh"].T)
            made.append(state)
        return np.stack(made), state

    check(Case(f"{operator}-{clip}-filled", build, {"x": X, "rows": np.int32([7])}, expect, atol=1e-5))


def test_clip_with_sizes_known_at_run_time(tmp_path: Path) -> None:
    """The Scan takes the number of its steps from the sequence, and the batch from the states."""

    def turned(x: Array, h: Array, c: Array) -> dict[str, Array]:
        """The sizes that vary as the last ones, which a case can declare so."""
        return {"x": np.transpose(x, (2, 0, 1))[None].copy(), "h": h.T[None].copy(), "c": c.T[None].copy()}

    def build(mb: Any, x: Any, h: Any, c: Any) -> Any:
        x, h, c = (mb.squeeze(x=value, axes=[0]) for value in (x, h, c))
        x, h, c = mb.transpose(x=x, perm=[1, 2, 0]), mb.transpose(x=h, perm=[1, 0]), mb.transpose(x=c, perm=[1, 0])
        return mb.lstm(x=x, initial_h=h, initial_c=c, clip=0.3, output_sequence=True, **FORWARD)

    document = read(package(Case("clip-dynamic", build, turned(X, H0, C0), dynamic=True), tmp_path))
    for length, batch in ((S, N), (2, 1)):
        feeds = X[:length, :batch], H0[:batch], C0[:batch]
        for found, wanted in zip(run(document, turned(*feeds)), lstm(*feeds, FORWARD, 0.3, USUAL), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rnn_activations(name: str) -> None:
    w, r = floats(H, D), floats(H, H)

    def expect(x: Array, h: Array) -> tuple[Array, Array]:
        made = []
        for step in x:
            h = FUNCTIONS[name](step @ w.T + h @ r.T)
            made.append(h)
        return np.stack(made), h

    check(Case(
        name,
        lambda mb, x, h: mb.rnn(x=x, initial_h=h, weight_ih=w, weight_hh=r, activation=name, output_sequence=True),
        {"x": X, "h": H0}, expect, rtol=1e-4, atol=1e-4,
    ))  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gru_activations(name: str) -> None:
    w, r = floats(3 * H, D), floats(3 * H, H)
    r_r, r_o, r_z = np.split(r, 3)
    gates = FUNCTIONS["hard_sigmoid"]

    def expect(x: Array, h: Array) -> tuple[Array, Array]:
        for step in x:
            of_r, of_o, of_z = np.split(step @ w.T, 3, axis=1)
            z = gates(of_z + h @ r_z.T)
            o = FUNCTIONS[name](of_o + (gates(of_r + h @ r_r.T) * h) @ r_o.T)
            h = (1 - z) * o + z * h
        return h[None], h

    check(Case(
        name,
        lambda mb, x, h: mb.gru(
            x=x, initial_h=h, weight_ih=w, weight_hh=r, recurrent_activation="hard_sigmoid", activation=name
        ),
        {"x": X, "h": H0}, expect, rtol=1e-4, atol=1e-4,
    ))  # fmt: skip
