"""Recurrent layers. x: [S, B, I, 1, 1], states: [1, B, H, 1, 1].

Core ML bounds what goes into an activation by 50, and the cell of an LSTM by ``cellClipThreshold``. Where neither can
have an effect, a layer becomes ONNX's operator; else a Scan whose body says the layer's equations. The bound of 50
moves a sigmoid by at most 2e-22 and a tanh not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.neuralnetwork.activation import recurrent_activation
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, network
from workbench.formats.coreml.neuralnetwork.weights import weight_array
from workbench.formats.coreml.scan import Step, scanned
from workbench.formats.coreml.tensors import filled_with, rank_of
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]

_LSTM_GATES = ("inputGate", "outputGate", "forgetGate", "blockInput")  # ONNX's order
_GRU_GATES = ("updateGate", "resetGate", "outputGate")
_BOUND = 50.0
_BOUNDED = {"sigmoid": "Sigmoid", "tanh": "Tanh"}
"""Activations that have reached their last value before 50."""


@dataclass(frozen=True)
class Weights:
    """One direction: input [G H, I], state [G H, H], bias [G H]; peepholes [H] by the name of the gate."""

    input: Array
    state: Array
    bias: Array
    peepholes: dict[str, Array]


def _weights(layer: NetworkLayer, get: Callable[[str], Any], gates: Sequence[str], biased: bool) -> Weights:
    """The weights of the gates in the given order; ``get`` reads a parameter for each of them."""
    inputs, outputs = layer.integer("inputVectorSize"), layer.integer("outputVectorSize")

    def stacked(suffix: str, *shape: int) -> Array:
        names = [f"{gate}{suffix}" for gate in gates]
        return np.concatenate([weight_array(get(name), shape, name) for name in names])

    bias = stacked("BiasVector", outputs) if biased else np.zeros(len(gates) * outputs, np.float32)
    matrices = stacked("WeightMatrix", outputs, inputs), stacked("RecursionMatrix", outputs, outputs)
    return Weights(*matrices, bias, {})


def _sequence(layer: NetworkLayer, emit: Emitter, states: int) -> ir.Value:
    """The input as [S, B, I]."""
    x = layer.x()
    if rank_of(x) != 5:
        raise Refused(f"a tensor of rank {rank_of(x)}; [sequence, batch, channels, 1, 1] is specified")
    if len(layer.inputs) not in (1, 1 + states):
        raise ModelError(f"the layer has {len(layer.inputs)} inputs, 1 or {1 + states} are possible.")
    return emit.op("Squeeze", x, emit.const([3, 4]))


def _state(layer: NetworkLayer, emit: Emitter, index: int) -> ir.Value | None:
    """An initial state as [1, B, H] (coremltools also writes [B, H, 1, 1, 1]); ``None`` stands for zeros."""
    if index >= len(layer.inputs):
        return None
    size = layer.integer("outputVectorSize")
    number = filled_with(emit, layer.x(index))
    if number is not None:  # coremltools takes the length of the first packed sequence for the size of the batch
        batch = emit.op("Shape", layer.x(), start=1, end=2)
        return emit.op("Expand", number, emit.op("Concat", emit.const([1]), batch, emit.const([size]), axis=0))
    return emit.op("Reshape", layer.x(index), emit.const([1, -1, size]))


def _blobs(
    layer: NetworkLayer, emit: Emitter, y: ir.Value, finals: Sequence[ir.Value], last: ir.Value, whole: bool
) -> list[ir.Value]:
    """The outputs of rank 5; y: [S, B, D H], the final states and the last output: [1, B, H] and [1, B, D H]."""
    values = [y if whole else last, *finals]
    return [emit.op("Unsqueeze", value, emit.const([3, 4])) for value in values[: layer.outputs]]


# -- a loop over the equations ------------------------------------------------------------------------------------


def _scan(
    layer: NetworkLayer, emit: Emitter, x: ir.Value, states: Sequence[ir.Value | None], weights: Weights, step: Step,
    part: str, *, reverse: bool, restore: bool = False,
) -> tuple[ir.Value, list[ir.Value]]:  # fmt: skip
    """Outputs [S, B, H] in the order they are made in, unless ``restore``, and final states [1, B, H]."""
    hidden = layer.integer("outputVectorSize")
    zeros = emit.op("Expand", emit.const(0.0), emit.op("Concat", emit.op("Shape", x, start=1, end=2),
                                                        emit.const([hidden]), axis=0))  # fmt: skip
    first = [zeros if state is None else emit.op("Squeeze", state, emit.const([0])) for state in states]
    prepared = emit.op(
        "Add", emit.op("MatMul", x, emit.const(np.ascontiguousarray(weights.input.T))), emit.const(weights.bias)
    )
    y, finals = scanned(
        emit, f"{layer.name}/{part}", [layer.name], prepared, first, hidden, step, backwards=reverse, restore=restore
    )
    return y, [emit.op("Unsqueeze", value, emit.const([0])) for value in finals]


def _bounded(emit: Emitter, value: ir.Value, bound: float = _BOUND) -> ir.Value:
    return emit.op("Clip", value, emit.const(-bound), emit.const(bound))


def _gates(emit: Emitter, prepared: ir.Value, state: ir.Value, matrix: Array, count: int) -> list[ir.Value]:
    """``W x + R h + b`` of each gate, [B, H]."""
    recurrent = emit.op("MatMul", state, emit.const(np.ascontiguousarray(matrix.T)))
    value = emit.op("Add", prepared, recurrent)
    return emit.ops("Split", value, outputs=count, axis=1, num_outputs=count) if count > 1 else [value]


def _reversed(emit: Emitter, y: ir.Value) -> ir.Value:
    """The steps from the last to the first."""
    return emit.op("Slice", y, emit.const([-1]), emit.const([-(2**62)]), emit.const([0]), emit.const([-1]))


def _operator(
    layer: NetworkLayer, emit: Emitter, operator: str, x: ir.Value, weights: Weights, state: ir.Value | None,
    functions: Sequence[str], *, reverse: bool,
) -> tuple[ir.Value, list[ir.Value]]:  # fmt: skip
    """ONNX's RNN or GRU; results as those of :func:`_scan`."""
    bias = np.concatenate([weights.bias, np.zeros_like(weights.bias)])
    y, final = emit.ops(
        operator, x, emit.const(weights.input[None]), emit.const(weights.state[None]), emit.const(bias[None]), None,
        state, outputs=2, direction="reverse" if reverse else "forward", activations=list(functions),
        hidden_size=layer.integer("outputVectorSize"),
    )  # fmt: skip
    joined = emit.op("Squeeze", y, emit.const([1]))
    return _reversed(emit, joined) if reverse else joined, [final]


# -- the layers ---------------------------------------------------------------------------------------------------


@network.lowers("simpleRecurrent")
def simple_recurrent(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """``y = f(clip(W x + R y + b))``; outputs: y, and the last y."""
    x, state = _sequence(layer, emit, 1), _state(layer, emit, 1)
    inputs, outputs = layer.integer("inputVectorSize"), layer.integer("outputVectorSize")
    bias: Array = np.zeros(outputs, np.float32)
    if layer.flag("hasBiasVector"):
        bias = layer.array("biasVector", [outputs])
    weights = Weights(
        layer.array("weightMatrix", [outputs, inputs]), layer.array("recursionMatrix", [outputs, outputs]), bias, {}
    )
    kind, f = recurrent_activation(layer.get("activation"))
    reverse, whole = layer.flag("reverseInput"), layer.flag("sequenceOutput")

    def step(emit: Emitter, prepared: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        return [f(emit, _bounded(emit, _gates(emit, prepared, states[0], weights.state, 1)[0]))]

    if kind in _BOUNDED:
        y, finals = _operator(layer, emit, "RNN", x, weights, state, [_BOUNDED[kind]], reverse=reverse)
    else:
        y, finals = _scan(layer, emit, x, [state], weights, step, "step", reverse=reverse)
    return _blobs(layer, emit, y, finals, finals[0], whole)


@network.lowers("gru")
def gru(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """``z, r = f(W x + R y + b)``, ``o = g(W_o x + R_o (r y) + b_o)``, ``y = (1 - z) o + z y``; outputs: y, the last y.

    Every argument of f and g is bounded by 50.
    """
    x, state = _sequence(layer, emit, 1), _state(layer, emit, 1)
    weights = _weights(layer, layer.get, _GRU_GATES, layer.flag("hasBiasVectors"))
    (kind_f, f), (kind_g, g) = _activations(layer.get("activations"), 2)
    reverse, whole = layer.flag("reverseInput"), layer.flag("sequenceOutput")
    hidden = layer.integer("outputVectorSize")

    def step(emit: Emitter, prepared: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        before = states[0]
        gates, own = emit.ops("Split", prepared, emit.const([2 * hidden, hidden]), outputs=2, axis=1)
        z, r = (f(emit, _bounded(emit, gate)) for gate in _gates(emit, gates, before, weights.state[: 2 * hidden], 2))
        reset = _gates(emit, own, emit.op("Mul", r, before), weights.state[2 * hidden :], 1)[0]
        o = g(emit, _bounded(emit, reset))
        new = emit.op("Mul", emit.op("Sub", emit.const(1.0), z), o)
        return [emit.op("Add", new, emit.op("Mul", z, before))]

    if kind_f in _BOUNDED and kind_g in _BOUNDED:
        functions = [_BOUNDED[kind_f], _BOUNDED[kind_g]]
        y, finals = _operator(layer, emit, "GRU", x, weights, state, functions, reverse=reverse)
    else:
        y, finals = _scan(layer, emit, x, [state], weights, step, "step", reverse=reverse)
    return _blobs(layer, emit, y, finals, finals[0], whole)


@network.lowers("uniDirectionalLSTM")
def uni_directional_lstm(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Outputs: y, the last y, the last cell. Reversed, y is in the order that it is made in: the last step's first."""
    parameters, reverse = layer.get("params"), layer.flag("reverseInput")
    x, states = _sequence(layer, emit, 2), [_state(layer, emit, index) for index in (1, 2)]
    weights = _lstm_weights(layer, layer.get("weightParams"), parameters)
    functions = _activations(layer.get("activations"), 3)
    if _inert(emit, x, states[1:], functions, parameters):
        y, finals = _lstm_operator(layer, emit, x, states, [weights], functions, "reverse" if reverse else "forward")
        y = _reversed(emit, y) if reverse else y
    else:
        step = _lstm_step(weights, functions, parameters)
        y, finals = _scan(layer, emit, x, states, weights, step, "step", reverse=reverse)
    return _blobs(layer, emit, y, finals, finals[0], parameters.sequenceOutput)


@network.lowers("biDirectionalLSTM")
def bi_directional_lstm(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Inputs: x, h, c, h and c backwards; outputs: y (2 H channels, in the order of x), the four last states."""
    parameters, messages = layer.get("params"), layer.get("weightParams")
    if len(messages) != 2:
        raise ModelError(f"the weights of {len(messages)} directions, there are two.")
    x, states = _sequence(layer, emit, 4), [_state(layer, emit, index) for index in range(1, 5)]
    weights = [_lstm_weights(layer, message, parameters) for message in messages]
    functions, back = (_activations(layer.get(f"activations{name}LSTM"), 3) for name in ("Forward", "Backward"))
    if all(_inert(emit, x, states[1::2], given, parameters) for given in (functions, back)):
        y, finals = _lstm_operator(layer, emit, x, states, weights, [*functions, *back], "bidirectional")
    else:
        parts, finals = [], []
        for index, own in enumerate(weights):
            step = _lstm_step(own, (functions, back)[index], parameters)
            made, last = _scan(
                layer, emit, x, states[2 * index : 2 * index + 2], own, step, ("forward", "backward")[index],
                reverse=bool(index), restore=True,
            )  # fmt: skip
            parts.append(made)
            finals += last
        y = emit.op("Concat", *parts, axis=2)
    last_y = emit.op("Concat", finals[0], finals[2], axis=2)
    return _blobs(layer, emit, y, finals, last_y, parameters.sequenceOutput)


Activations = Sequence[tuple[str, Callable[[Emitter, ir.Value], ir.Value]]]


def _activations(messages: Any, count: int) -> Activations:
    if len(messages) != count:
        raise ModelError(f"{len(messages)} activations, the layer has {count}.")
    return [recurrent_activation(message) for message in messages]


def _lstm_weights(layer: NetworkLayer, message: Any, parameters: Any) -> Weights:
    """Gates in ONNX's order; without the forget gate where it is coupled to the input gate."""
    coupled = parameters.coupledInputAndForgetGate
    gates = [gate for gate in _LSTM_GATES if not (coupled and gate == "forgetGate")]
    outputs = layer.integer("outputVectorSize")
    found = _weights(layer, lambda name: getattr(message, name), gates, parameters.hasBiasVectors)
    if parameters.forgetBias and not coupled:
        found.bias[2 * outputs : 3 * outputs] += 1
    if parameters.hasPeepholeVectors:
        for gate in gates[:-1]:
            name = f"{gate}PeepholeVector"
            found.peepholes[gate] = weight_array(getattr(message, name), [outputs], name)
    return found


def _inert(
    emit: Emitter, x: ir.Value, cells: Sequence[ir.Value | None], functions: Activations, parameters: Any
) -> bool:
    """Whether no bound can have an effect: each step moves the cell by less than 1, and there are few enough of them.

    The gates of coupled cells are left to the equations too.
    """
    steps = (dims_of(x) or (None,))[0]
    if parameters.coupledInputAndForgetGate or not isinstance(steps, int):
        return False
    if functions[0][0] != "sigmoid" or any(kind not in _BOUNDED for kind, _ in functions):
        return False
    first = 0.0
    for cell in cells:
        known = np.zeros(1) if cell is None else emit.known(cell)
        if known is None:
            return False
        first = max(first, float(np.abs(known).max(initial=0.0)))
    return first + steps <= (parameters.cellClipThreshold or _BOUND)


def _lstm_operator(
    layer: NetworkLayer, emit: Emitter, x: ir.Value, states: Sequence[ir.Value | None], weights: Sequence[Weights],
    functions: Activations, direction: str,
) -> tuple[ir.Value, list[ir.Value]]:  # fmt: skip
    """ONNX's LSTM: y [S, B, D H], and the final states [1, B, H] in the order of the initial ones."""
    count = len(weights)
    first: list[ir.Value | None] = [None, None]
    if states[0] is not None:
        first = [emit.op("Concat", *states[kind::2], axis=0) if count > 1 else states[kind] for kind in (0, 1)]
    biases = [np.concatenate([own.bias, np.zeros_like(own.bias)]) for own in weights]
    peepholes = [np.concatenate(list(own.peepholes.values())) for own in weights if own.peepholes]
    y, *finals = emit.ops(
        "LSTM", x, emit.const(np.stack([own.input for own in weights])),
        emit.const(np.stack([own.state for own in weights])), emit.const(np.stack(biases)), None, *first,
        emit.const(np.stack(peepholes)) if peepholes else None, outputs=3, direction=direction,
        hidden_size=layer.integer("outputVectorSize"), activations=[_BOUNDED[kind] for kind, _ in functions],
    )  # fmt: skip
    if count == 1:
        return emit.op("Squeeze", y, emit.const([1])), finals
    joined = emit.op("Reshape", emit.op("Transpose", y, perm=[0, 2, 1, 3]), emit.const([0, 0, -1]))
    halves = [emit.ops("Split", final, outputs=2, axis=0, num_outputs=2) for final in finals]
    return joined, [half[index] for index in range(2) for half in halves]


def _lstm_step(weights: Weights, functions: Activations, parameters: Any) -> Step:
    """``c = clip(f c + i z)``, ``y = h(c) o``; every argument of an activation of a gate is bounded by 50."""
    (_, f), (_, g), (_, h) = functions
    limit = float(parameters.cellClipThreshold) or _BOUND

    def step(emit: Emitter, prepared: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        before, cell = states
        coupled = parameters.coupledInputAndForgetGate
        gates = _gates(emit, prepared, before, weights.state, 3 if coupled else 4)

        def gate(name: str, value: ir.Value, memory: ir.Value) -> ir.Value:
            if name in weights.peepholes:
                value = emit.op("Add", value, emit.op("Mul", emit.const(weights.peepholes[name]), memory))
            return f(emit, _bounded(emit, value))

        i = gate("inputGate", gates[0], cell)
        forget = emit.op("Sub", emit.const(1.0), i) if coupled else gate("forgetGate", gates[2], cell)
        z = g(emit, _bounded(emit, gates[-1]))
        new = emit.op("Add", emit.op("Mul", cell, forget), emit.op("Mul", i, z))
        new = _bounded(emit, new, limit)
        return [emit.op("Mul", h(emit, new), gate("outputGate", gates[1], new)), new]

    return step
