"""Recurrent layers of the older form, against the equations of ``NeuralNetwork.proto`` in numpy, and PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.networks import document_of
from tests.formats.coreml.reading import compare, run
from workbench.errors import ConversionError
from workbench.formats.coreml.read import CoreMLDocument

torch = pytest.importorskip("torch")
Array = np.ndarray[Any, Any]
STEPS, BATCH, INPUT, HIDDEN = 5, 2, 3, 4


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = floats(1, STEPS, BATCH, INPUT, 1, 1)
H, C, H_BACK, C_BACK = (floats(seed, 1, BATCH, HIDDEN, 1, 1) for seed in (2, 3, 4, 5))


def weights(gates: int, seed: int = 6) -> dict[str, list[Array]]:
    """Matrices and biases by gate, as the builder takes them."""
    shapes = {"W_x": (HIDDEN, INPUT), "W_h": (HIDDEN, HIDDEN), "b": (HIDDEN,)}
    return {
        name: [floats(seed + 10 * index + gate, *shape) for gate in range(gates)]
        for index, (name, shape) in enumerate(shapes.items())
    }


ACTIVATIONS = {
    "SIGMOID": lambda x: 1 / (1 + np.exp(-x)),
    "TANH": np.tanh,
    "RELU": lambda x: np.maximum(x, 0),
    "LINEAR": lambda x: x,
    "SIGMOID_HARD": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "SCALED_TANH": np.tanh,
}


def bound(x: Array, limit: float = 50.0) -> Array:
    return np.clip(x, -limit, limit)


def steps(x: Array, reverse: bool) -> Array:
    flat = x[..., 0, 0].astype(np.float64)
    return flat[::-1] if reverse else flat


def five(x: Any) -> Array:
    return np.asarray(x)[..., None, None]


def lstm(
    x: Array, h: Array, c: Array, w: Mapping[str, Any], functions: Sequence[str] = ("SIGMOID", "TANH", "TANH"),
    reverse: bool = False, limit: float = 50.0, coupled: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Outputs in the order they are made in, last output, last cell; gates i, f, o, z as the builder orders them."""
    f, g, last = (ACTIVATIONS[name] for name in functions)
    y, cell = h[0, ..., 0, 0].astype(np.float64), c[0, ..., 0, 0].astype(np.float64)
    peep, bias = w.get("peep") or [0, 0, 0], w.get("b") or [0] * 4
    made = []
    for now in steps(x, reverse):
        pre = [now @ w["W_x"][k].T + y @ w["W_h"][k].T + bias[k] for k in range(4)]
        i = f(bound(pre[0] + peep[0] * cell))
        forget = 1 - i if coupled else f(bound(pre[1] + peep[1] * cell))
        cell = bound(cell * forget + i * g(bound(pre[3])), limit)
        y = last(cell) * f(bound(pre[2] + peep[2] * cell))
        made.append(y)
    return np.stack(made), y, cell


def lstm_case(expect: Any, stated: bool = True, outputs: int = 3, **given: Any) -> CoreMLDocument:
    """One LSTM through the reader, compared with the oracle's y, h and c."""
    inputs = {"x": X, "h": H, "c": C} if stated else {"x": X}
    names = ["y", "hn", "cn"][:outputs]
    parameters = {**weights(4), "output_all": True, "peep": None, **given}
    document = document_of(
        lambda nn: nn.add_unilstm(
            "l", hidden_size=HIDDEN, input_size=INPUT, input_names=list(inputs), output_names=names, **parameters
        ),
        inputs,
        names,
    )
    y, h, c = expect
    whole = five(y if parameters["output_all"] else y[-1:])
    compare(run(document, inputs), [whole, five(h)[None], five(c)[None]][:outputs], 1e-4, 1e-5)
    return document


PEEP = [floats(seed, HIDDEN) for seed in (91, 92, 93)]
ZERO = np.zeros_like(H)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_lstm_with_states(reverse: bool, whole: bool) -> None:
    lstm_case(lstm(X, H, C, weights(4), reverse=reverse), reverse_input=reverse, output_all=whole)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_lstm_from_zeros_is_the_operator(reverse: bool, whole: bool) -> None:
    expect = lstm(X, ZERO, ZERO, weights(4), reverse=reverse)
    document = lstm_case(expect, stated=False, reverse_input=reverse, output_all=whole)
    assert [node.op_type for node in document.hub().graph].count("LSTM") == 1


def test_lstm_against_pytorch() -> None:
    """PyTorch orders the gates i, f, z, o."""
    w = weights(4)
    oracle = torch.nn.LSTM(INPUT, HIDDEN)
    order = (0, 1, 3, 2)
    with torch.no_grad():
        for name, source in (("weight_ih_l0", "W_x"), ("weight_hh_l0", "W_h"), ("bias_ih_l0", "b")):
            getattr(oracle, name).copy_(torch.from_numpy(np.concatenate([w[source][k] for k in order])))
        oracle.bias_hh_l0.zero_()
        y, (h, c) = oracle(*(torch.from_numpy(X[..., 0, 0]), (torch.from_numpy(H[..., 0, 0]),
                                                              torch.from_numpy(C[..., 0, 0]))))  # fmt: skip
    lstm_case((y.numpy(), h.numpy()[0], c.numpy()[0]))


@pytest.mark.parametrize("stated", [False, True])
def test_peepholes(stated: bool) -> None:
    w = {**weights(4), "peep": PEEP}
    lstm_case(lstm(X, *((H, C) if stated else (ZERO, ZERO)), w), stated=stated, peep=PEEP)


def test_the_cell_is_bounded() -> None:
    """A cell that starts beyond the bound, and a bound that it meets."""
    lstm_case(lstm(X, H, C, weights(4), limit=0.3), cell_clip_threshold=0.3)
    free, bounded = (lstm(X, H, C, weights(4), limit=limit)[2] for limit in (50.0, 0.3))
    assert np.abs(free - bounded).max() > 0.1


def test_without_bias() -> None:
    lstm_case(lstm(X, H, C, {**weights(4), "b": None}), b=None)


def test_the_forget_bias_is_one_more() -> None:
    w = weights(4)
    more = [w["b"][0], w["b"][1] + 1, w["b"][2], w["b"][3]]
    lstm_case(lstm(X, H, C, {**w, "b": more}), forget_bias=True)
    lstm_case(lstm(X, ZERO, ZERO, {**w, "b": more}), stated=False, forget_bias=True)


@pytest.mark.parametrize("stated", [False, True])
def test_coupled_gates(stated: bool) -> None:
    states = (H, C) if stated else (ZERO, ZERO)
    w = {**weights(4), "peep": PEEP}
    lstm_case(lstm(X, *states, w, coupled=True), stated=stated, coupled_input_forget_gate=True, peep=PEEP)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_activations_of_an_lstm(kind: str) -> None:
    functions = ("SIGMOID", "TANH", kind)
    lstm_case(lstm(X, H, C, weights(4), functions), output_activation=kind, outputs=1)
    functions = ("SIGMOID_HARD", kind, "TANH")
    expect = lstm(X, ZERO, ZERO, weights(4), functions)
    lstm_case(expect, stated=False, inner_activation=functions[0], cell_state_update_activation=kind)


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("limit", [50.0, 0.3])
def test_bidirectional_lstm(stated: bool, whole: bool, limit: float) -> None:
    forth, back = weights(4), weights(4, seed=66)
    inputs = {"x": X, "h": H, "c": C, "hb": H_BACK, "cb": C_BACK} if stated else {"x": X}
    names = ["y", "hn", "cn", "hbn", "cbn"]
    document = document_of(
        lambda nn: nn.add_bidirlstm(
            "l", forth["W_h"], forth["W_x"], forth["b"], back["W_h"], back["W_x"], back["b"], HIDDEN, INPUT,
            list(inputs), names, output_all=whole, peep=PEEP, peep_back=PEEP[::-1], cell_clip_threshold=limit,
        ),
        inputs, names,
    )  # fmt: skip
    first = [H, C, H_BACK, C_BACK] if stated else [ZERO] * 4
    y, h, c = lstm(X, first[0], first[1], {**forth, "peep": PEEP}, limit=limit)
    yb, hb, cb = lstm(X, first[2], first[3], {**back, "peep": PEEP[::-1]}, reverse=True, limit=limit)
    joined = np.concatenate([y, yb[::-1]], -1) if whole else np.concatenate([h, hb], -1)[None]
    compare(run(document, inputs), [five(joined), *(five(state)[None] for state in (h, c, hb, cb))], 1e-4, 1e-5)


@pytest.mark.parametrize("kinds", [("TANH", "SIGMOID"), ("TANH", "RELU")])
def test_directions_with_activations_of_their_own(kinds: tuple[str, str]) -> None:
    """As ONNX's operator, and as equations."""
    forth, back = weights(4), weights(4, seed=66)

    def add(nn: Any) -> None:
        nn.add_bidirlstm(
            "l", forth["W_h"], forth["W_x"], forth["b"], back["W_h"], back["W_x"], back["b"], HIDDEN, INPUT, ["x"],
            ["y"], output_all=True, cell_state_update_activation=kinds[0],
        )  # fmt: skip
        second = nn.spec.neuralNetwork.layers[0].biDirectionalLSTM.activationsBackwardLSTM[1]
        getattr(second, kinds[1].lower().replace("relu", "ReLU")).SetInParent()

    y, *_ = lstm(X, ZERO, ZERO, forth, ("SIGMOID", kinds[0], "TANH"))
    yb, *_ = lstm(X, ZERO, ZERO, back, ("SIGMOID", kinds[1], "TANH"), reverse=True)
    found = run(document_of(add, {"x": X}), {"x": X})
    compare(found, [five(np.concatenate([y, yb[::-1]], -1))], 1e-4, 1e-5)


def gru(x: Array, h: Array, w: Mapping[str, Any], functions: Sequence[str], reverse: bool) -> tuple[Array, Array]:
    f, g = (ACTIVATIONS[name] for name in functions)
    y, made, bias = h[0, ..., 0, 0].astype(np.float64), [], w.get("b") or [0] * 3
    for now in steps(x, reverse):
        z, r = (f(bound(now @ w["W_x"][k].T + y @ w["W_h"][k].T + bias[k])) for k in (0, 1))
        o = g(bound(now @ w["W_x"][2].T + (y * r) @ w["W_h"][2].T + bias[2]))
        y = (1 - z) * o + z * y
        made.append(y)
    return np.stack(made), y


@pytest.mark.parametrize("functions", [("SIGMOID", "TANH"), ("TANH", "SIGMOID"), ("SIGMOID_HARD", "RELU")])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_gru(functions: tuple[str, str], reverse: bool, stated: bool, biased: bool) -> None:
    w: dict[str, Any] = weights(3)
    w = w if biased else {**w, "b": None}
    inputs = {"x": X, "h": H} if stated else {"x": X}
    document = document_of(
        lambda nn: nn.add_gru(
            "g", w["W_h"], w["W_x"], w["b"], HIDDEN, INPUT, list(inputs), ["y", "hn"], activation=functions[1],
            inner_activation=functions[0], output_all=True, reverse_input=reverse,
        ),
        inputs, ["y", "hn"],
    )  # fmt: skip
    y, h = gru(X, H if stated else ZERO, w, functions, reverse)
    compare(run(document, inputs), [five(y), five(h)[None]], 1e-4, 1e-5)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
@pytest.mark.parametrize("reverse", [False, True])
def test_simple_recurrent(kind: str, reverse: bool) -> None:
    """The state is fed as [B, H, 1, 1, 1], the way coremltools writes it."""
    w = {name: parts[0] for name, parts in weights(1).items()}
    big = X * 40  # so that the bound of 50 is met
    inputs = {"x": big, "h": H.reshape(BATCH, HIDDEN, 1, 1, 1)}
    document = document_of(
        lambda nn: nn.add_simple_rnn(
            "r", w["W_h"], w["W_x"], w["b"], HIDDEN, INPUT, kind, ["x", "h"], ["y", "hn"], True, reverse
        ),
        inputs, ["y", "hn"],
    )  # fmt: skip
    y, made = H[0, ..., 0, 0].astype(np.float64), []
    for now in steps(big, reverse):
        y = ACTIVATIONS[kind](bound(now @ w["W_x"].T + y @ w["W_h"].T + w["b"]))
        made.append(y)
    compare(run(document, inputs), [five(np.stack(made)), five(y)[None]], 1e-4, 1e-4)


def test_other_activations_are_refused() -> None:
    def add(nn: Any) -> None:
        w = {name: parts[0] for name, parts in weights(1).items()}
        layer = nn.add_simple_rnn("r", w["W_h"], w["W_x"], w["b"], HIDDEN, INPUT, "TANH", ["x"], ["y"])
        layer.simpleRecurrent.activation.softsign.MergeFromString(b"")

    with pytest.raises(ConversionError, match="'softsign' inside a recurrent layer is not supported"):
        document_of(add, {"x": X}, ["y"]).hub()


def test_the_parameters_of_a_layer_are_counted() -> None:
    document = document_of(
        lambda nn: nn.add_unilstm("l", **weights(4), hidden_size=HIDDEN, input_size=INPUT, input_names=["x"],
                                  output_names=["y"]),
        {"x": X}, ["y"],
    )  # fmt: skip
    (layer,) = document.layers
    assert layer.parameters == 4 * (HIDDEN * INPUT + HIDDEN * HIDDEN + HIDDEN)
    assert "weightParams" not in layer.attributes
