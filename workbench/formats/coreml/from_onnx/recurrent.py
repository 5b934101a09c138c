"""LSTM, GRU, RNN. MIL: ``recurrent``.

ONNX's data are [steps, batch, features] (``layout`` 0) and its results [steps, directions, batch, hidden]; MIL knows no
axis of directions. Each direction becomes an operation of its own that runs forward; the reverse one gets its steps
reversed and gives its results reversed, so that nothing depends on the order in which MIL's ``reverse`` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import Array
from workbench.formats.coreml.from_onnx.slicing import entire, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import OpenSize, Size, same
from workbench.lowering import Refused

_ACTIVATIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_MOST_STEPS = 256
"""Steps up to which a GRU is written out."""


@dataclass(frozen=True)
class Recurrence:
    """What the three operators share, as read from the node."""

    x: Var
    """[steps, batch, features]"""
    directions: int
    reversed_first: bool
    hidden: int
    batch_first: bool
    activations: tuple[str, ...]

    def backward(self, direction: int) -> bool:
        return self.reversed_first or direction == 1


def recurrence(node: HubNode, t: ProgramTarget) -> Recurrence:
    """Read what the three operators share.

    Raises:
        Refused: clipping, sequences of several lengths, activations beyond sigmoid, tanh and relu.
    """
    for name in ("activation_alpha", "activation_beta"):
        if node.has(name):
            raise Refused(f"{name!r} asks for activations that Core ML's recurrent operators do not have")
    if node.has("clip"):
        raise Refused("Core ML clips the state, ONNX the inputs of the activations")
    x, batch_first = t.var(node.value(0)), bool(node.attr_int("layout"))
    x = t.transpose(x, (1, 0, 2)) if batch_first else x
    lengths = node.constant_or(4, np.empty(0, np.int64))
    if any(length != t.shape(x)[0] for length in lengths):
        raise Refused("sequences of several lengths in one batch", "run them one by one")
    direction = node.attr_string("direction")
    directions = 2 if direction == "bidirectional" else 1
    given = node.attr_strings("activations") or _DEFAULTS[node.operator] * directions
    unknown = [name for name in given if name not in _ACTIVATIONS]
    if unknown:
        raise Refused(f"the activation {unknown[0]!r} is none of {', '.join(_ACTIVATIONS)}")
    hidden = node.attr_int("hidden_size", None) or node.shape(node.value(2))[2]
    return Recurrence(x, directions, direction == "reverse", hidden, batch_first, tuple(given))


def _parameters(node: HubNode, index: int, direction: int) -> Array | None:
    """One direction's share of a constant input; ``None`` if the input is omitted."""
    return None if node.input(index) is None else node.require_constant(index)[direction]


def _gates(array: Array, hidden: int, order: Sequence[int]) -> Array:
    """Gates that are stacked along the first axis, in another order."""
    return np.concatenate([array[gate * hidden : (gate + 1) * hidden] for gate in order])


def _initial(node: HubNode, t: ProgramTarget, index: int, direction: int, shared: Recurrence) -> Var:
    """[batch, hidden]: one direction's initial state, zero if it is omitted."""
    batch = t.shape(shared.x)[1]
    if node.input(index) is None:
        kind = np.float16 if t.kind(shared.x) == "fp16" else np.float32
        if isinstance(batch, Size):
            return t.filled((batch, shared.hidden), kind(0))
        return t.const(np.zeros((batch, shared.hidden), kind), "initial")
    states = t.var(node.value(index))
    states = t.transpose(states, (1, 0, 2)) if shared.batch_first else states
    if shared.directions == 2:
        states = sliced(t, states, [range(direction, direction + 1), entire(batch), range(shared.hidden)])
    return t.reshape(states, (batch, shared.hidden))


def _bias(node: HubNode, direction: int, gates: int, hidden: int) -> tuple[Array, Array]:
    """The biases of the inputs and of the state, [gates · hidden] each."""
    both = _parameters(node, 3, direction)
    if both is None:
        zero = np.zeros(gates * hidden, node.require_constant(1).dtype)
        return zero, zero
    return both[: gates * hidden], both[gates * hidden :]


def _turned(t: ProgramTarget, x: Var, shared: Recurrence, direction: int) -> Var:
    return t.op("reverse", x=x, axes=[0]) if shared.backward(direction) and not same(t.shape(x)[0], 1) else x


def _results(
    node: HubNode, t: ProgramTarget, shared: Recurrence, sequences: list[Var], states: list[list[Var]]
) -> list[Var | None]:
    """Put the directions together: Y [steps, directions, batch, hidden] and last states [directions, batch, hidden].

    With ``layout`` 1 the batch comes first in all of them.
    """
    joined = []
    for parts, axis in ((sequences, 1), *((state, 0) for state in states)):
        grown = [t.op("expand_dims", x=part, axes=[axis]) for part in parts]
        whole = t.op("concat", values=grown, axis=axis) if len(grown) > 1 else grown[0]
        if shared.batch_first:
            whole = t.transpose(whole, (2, 0, 1, 3) if axis == 1 else (1, 0, 2))
        joined.append(whole)
    return list(joined[: len(node.outputs)])


@lowers("LSTM", since=22)
def lstm_22(node: HubNode, t: ProgramTarget) -> Any:
    """ONNX stacks the gates i o f c, MIL i f o c; ONNX's two biases are added."""
    shared = recurrence(node, t)
    if node.attr_int("input_forget"):
        raise Refused("coupled input and forget gates are not in Core ML's LSTM")
    sequences, hiddens, cells = [], [], []
    for direction in range(shared.directions):
        bias = np.add(*_bias(node, direction, 4, shared.hidden))
        peephole = _parameters(node, 7, direction)
        recurrent, cell, output = shared.activations[3 * direction : 3 * direction + 3]
        order, hidden = (0, 2, 1, 3), shared.hidden
        weight, state_weight = (node.require_constant(index)[direction] for index in (1, 2))
        sequence, last, memory = t.op(
            "lstm",
            x=_turned(t, shared.x, shared, direction),
            initial_h=_initial(node, t, 5, direction, shared),
            initial_c=_initial(node, t, 6, direction, shared),
            weight_ih=_gates(weight, hidden, order),
            weight_hh=_gates(state_weight, hidden, order),
            bias=_gates(bias, hidden, order),
            peephole=None if peephole is None else _gates(peephole, hidden, (0, 2, 1)),
            direction="forward",
            output_sequence=True,
            recurrent_activation=_ACTIVATIONS[recurrent],
            cell_activation=_ACTIVATIONS[cell],
            activation=_ACTIVATIONS[output],
        )
        sequences.append(_turned(t, sequence, shared, direction))
        hiddens.append(last)
        cells.append(memory)
    return _results(node, t, shared, sequences, [hiddens, cells])


@lowers("RNN", since=22)
def rnn_22(node: HubNode, t: ProgramTarget) -> Any:
    shared = recurrence(node, t)
    sequences, hiddens = [], []
    for direction in range(shared.directions):
        sequence, last = t.op(
            "rnn",
            x=_turned(t, shared.x, shared, direction),
            initial_h=_initial(node, t, 5, direction, shared),
            weight_ih=node.require_constant(1)[direction],
            weight_hh=node.require_constant(2)[direction],
            bias=np.add(*_bias(node, direction, 1, shared.hidden)),
            direction="forward",
            output_sequence=True,
            activation=_ACTIVATIONS[shared.activations[direction]],
        )
        sequences.append(_turned(t, sequence, shared, direction))
        hiddens.append(last)
    return _results(node, t, shared, sequences, [hiddens])


@lowers("GRU", since=22)
def gru_22(node: HubNode, t: ProgramTarget) -> Any:
    """Written out step by step: MIL's ``gru`` has one bias a gate and one place of the reset, ONNX has more forms."""
    shared, after = recurrence(node, t), bool(node.attr_int("linear_before_reset"))
    steps: Any = t.shape(shared.x)[0]
    if isinstance(steps, Size):
        raise OpenSize(steps, "a GRU is written out step by step")
    if t.shape(shared.x)[0] * shared.directions > _MOST_STEPS:
        raise Refused(
            f"{t.shape(shared.x)[0]} steps; a GRU is written out for at most {_MOST_STEPS}", "shorten the sequence"
        )
    sequences, hiddens = [], []
    for direction in range(shared.directions):
        steps = _gru_steps(node, t, shared, direction, after)
        rows = [t.op("expand_dims", x=step, axes=[0]) for step in steps]
        sequence = t.op("concat", values=rows, axis=0) if len(rows) > 1 else rows[0]
        sequences.append(_turned(t, sequence, shared, direction))
        hiddens.append(steps[-1])
    return _results(node, t, shared, sequences, [hiddens])


def _gru_steps(node: HubNode, t: ProgramTarget, shared: Recurrence, direction: int, after: bool) -> list[Var]:
    """The hidden states, [batch, hidden] each, in the order of processing.

    z = f(X Wz + H Rz + b), r = f(X Wr + H Rr + b), H′ = (1 − z) · h + z · H with h = g(X Wh + (r · H) Rh + Rb + Wb), or
    g(X Wh + r · (H Rh + Rb) + Wb) where the reset comes after the product.
    """
    hidden, batch = shared.hidden, t.shape(shared.x)[1]
    weight, state_weight = (node.require_constant(index)[direction] for index in (1, 2))
    input_bias, state_bias = _bias(node, direction, 3, hidden)
    gate, new = (_ACTIVATIONS[name] for name in shared.activations[2 * direction : 2 * direction + 2])
    x = _turned(t, shared.x, shared, direction)
    early = input_bias + state_bias
    if after:  # the new gate's bias of the state goes inside the reset
        early = np.concatenate([early[: 2 * hidden], input_bias[2 * hidden :]])
    projected = t.op("linear", x=x, weight=weight, bias=early)  # [steps, batch, 3 · hidden]
    gates_weight, new_weight = state_weight[: 2 * hidden], state_weight[2 * hidden :]
    state, states = _initial(node, t, 5, direction, shared), []
    for step in range(t.shape(x)[0]):
        row = sliced(t, projected, [range(step, step + 1), entire(batch), range(3 * hidden)])
        row = t.reshape(row, (batch, 3 * hidden))
        both = t.op("add", x=sliced(t, row, [entire(batch), range(2 * hidden)]),
                    y=t.op("linear", x=state, weight=gates_weight))  # fmt: skip
        update, reset = t.op("split", x=t.op(gate, x=both), num_splits=2, axis=1)
        if after:
            inner = t.op("linear", x=state, weight=new_weight, bias=state_bias[2 * hidden :])
            inner = t.op("mul", x=reset, y=inner)
        else:
            inner = t.op("linear", x=t.op("mul", x=reset, y=state), weight=new_weight)
        fresh = t.op(new, x=t.op("add", x=sliced(t, row, [entire(batch), range(2 * hidden, 3 * hidden)]), y=inner))
        kept = t.op("mul", x=update, y=state)
        state = t.op("add", x=t.op("mul", x=t.op("sub", x=t.scalar(1, update), y=update), y=fresh), y=kept)
        states.append(state)
    return states
