"""Recurrent layers, unrolled over the (static) sequence: https://onnx.ai/onnx/operators/onnx__LSTM.html."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.movement import sliced
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused

_LONGEST = 2000
State = list[Tensor]
Step = Callable[[Tensor, State], State]


@dataclass
class _Direction:
    """The parameters of one direction: gates of the input ``[time, batch, gates · hidden]``, recurrence, biases.

    ``peepholes`` are the weights by which an LSTM's gates see the cell, ``[1, 3 · hidden]``.
    """

    x: Tensor
    recurrence: Tensor
    bias: Tensor | None
    peepholes: Tensor | None = None


def _part(b: Builder, x: Tensor, axis: int, begin: int, end: int) -> Tensor:
    return sliced(b, x, [axis], [begin], [end], [1])


def _one(b: Builder, value: Tensor, index: int) -> Tensor:
    """One entry of the leading axis, which is removed."""
    if value.array is not None:
        name = value.data.name if value.data is not None else None
        part = b.const(value.array[index], value.kind)
        if part.data is not None:
            part.data.name = f"{name}/{index}" if name else None
        return part
    return b.op("squeeze", _part(b, value, 0, index, index + 1), axes=[0])


def _rows(b: Builder, x: Tensor, begin: int, end: int) -> Tensor:
    """Some rows; those of a constant are cut at once."""
    return _part(b, x, 0, begin, end) if x.array is None else b.const(x.array[begin:end])


def _check(node: HubNode, b: Builder, activations: tuple[str, ...]) -> None:
    """Refuse what the unrolled form does not say."""
    directions = node.shape(node.value(1))[0]
    given = node.attr_strings("activations")
    if (
        given is not None
        and node.has("activations")
        and tuple(name.lower() for name in given) != activations * directions
    ):
        raise Refused(f"the activations {', '.join(given)} are not the usual ones")
    if node.has("activation_alpha") or node.has("activation_beta") or node.has("clip"):
        raise Refused("clip and parameters of activations are not unrolled")
    time = node.shape(node.value(0))[1 if node.attr_int("layout") else 0]
    lengths = node.constant(4)
    if node.input(4) is not None and (lengths is None or (lengths != time).any()):
        raise Refused("'sequence_lens' cuts sequences short")
    if time > _LONGEST:
        raise Refused(f"the sequence has {time} steps, at most {_LONGEST} are unrolled")


def _unrolled(
    node: HubNode, b: Builder, gates: int, states: list[int], make: Callable[[_Direction], Step]
) -> tuple[Tensor, list[Tensor]]:
    """Run the step over time in each direction; ``Y`` and the last states, as the operator returns them."""
    hidden, way = node.attr_int("hidden_size"), node.attr_string("direction")
    x, w, r = (b.tensor(node.value(index)) for index in range(3))
    batch_first = bool(node.attr_int("layout"))
    x = b.transpose(x, (1, 0, 2)) if batch_first else x
    bias = None if node.input(3) is None else b.tensor(node.value(3))
    time, batch, size = x.shape
    flat = b.reshape(x, (time * batch, size))
    starts = {i: b.tensor(node.value(i)) for i in states if node.input(i) is not None}
    starts = {i: b.transpose(start, (1, 0, 2)) if batch_first else start for i, start in starts.items()}
    sequences: list[Tensor] = []
    last: list[list[Tensor]] = []
    for index in range(w.shape[0]):
        own = None if bias is None else _one(b, bias, index)
        inputs = b.op("matmul", flat, _one(b, w, index), transposeB=True)
        inputs = b.reshape(inputs, (time, batch, gates * hidden))
        seen = None if node.input(7) is None else _one(b, b.tensor(node.value(7)), index)
        peepholes = None if seen is None else b.reshape(seen, (1, *seen.shape))
        step = make(_Direction(inputs, _one(b, r, index), own, peepholes))
        state = [
            b.const(np.zeros((batch, hidden))) if node.input(i) is None else _one(b, starts[i], index) for i in states
        ]
        backwards = way == "reverse" or index == 1
        outputs: list[Tensor] = []
        for moment in reversed(range(time)) if backwards else range(time):
            gate = b.reshape(_part(b, inputs, 0, moment, moment + 1), (batch, gates * hidden))
            state = step(gate, state)
            outputs.append(state[0])
        sequences.append(b.op("stack", outputs[::-1] if backwards else outputs, axis=0))
        last.append(state)
    y = b.op("stack", sequences, axis=1)
    finals = [b.op("stack", [state[k] for state in last], axis=0) for k in range(len(states))]
    if batch_first:
        return b.transpose(y, (2, 0, 1, 3)), [b.transpose(final, (1, 0, 2)) for final in finals]
    return y, finals


def _gate_bias(b: Builder, bias: Tensor | None, hidden: int, gates: int) -> Tensor | None:
    """The biases of input and recurrence together, ``[1, gates · hidden]``."""
    if bias is None:
        return None
    half = gates * hidden
    if bias.array is not None:
        return b.const((bias.array[:half] + bias.array[half:]).reshape(1, half))
    return b.reshape(b.op("add", _part(b, bias, 0, 0, half), _part(b, bias, 0, half, 2 * half)), (1, half))


@TABLE.lowers("LSTM")
def lstm_22(node: HubNode, b: Builder) -> list[Tensor]:
    """Gates in the order input, output, forget, cell."""
    _check(node, b, ("sigmoid", "tanh", "tanh"))
    hidden, coupled = node.attr_int("hidden_size"), bool(node.attr_int("input_forget"))

    def make(direction: _Direction) -> Step:
        bias = _gate_bias(b, direction.bias, hidden, 4)

        def gated(gate: Tensor, index: int, cell: Tensor) -> Tensor:
            part = _part(b, gate, 1, index * hidden, (index + 1) * hidden)
            if direction.peepholes is not None:
                weight = _part(b, direction.peepholes, 1, index * hidden, (index + 1) * hidden)
                part = b.op("add", part, b.op("mul", cell, weight))
            return b.op("sigmoid", part)

        def step(gate: Tensor, state: State) -> State:
            h, c = state
            gate = b.op("add", gate, b.op("matmul", h, direction.recurrence, transposeB=True))
            gate = gate if bias is None else b.op("add", gate, bias)
            i = gated(gate, 0, c)
            f = b.op("sub", b.number(1.0), i) if coupled else gated(gate, 2, c)
            candidate = b.op("tanh", _part(b, gate, 1, 3 * hidden, 4 * hidden))
            c = b.op("add", b.op("mul", f, c), b.op("mul", i, candidate))
            return [b.op("mul", gated(gate, 1, c), b.op("tanh", c)), c]

        return step

    y, finals = _unrolled(node, b, 4, [5, 6], make)
    return [y, *finals]


@TABLE.lowers("GRU")
def gru_22(node: HubNode, b: Builder) -> list[Tensor]:
    """Gates in the order update, reset, hidden."""
    _check(node, b, ("sigmoid", "tanh"))
    hidden, before = node.attr_int("hidden_size"), bool(node.attr_int("linear_before_reset"))

    def make(direction: _Direction) -> Step:
        r_gates = _rows(b, direction.recurrence, 0, 2 * hidden)
        r_hidden = _rows(b, direction.recurrence, 2 * hidden, 3 * hidden)
        bias = direction.bias
        if bias is not None and bias.array is None:
            raise Refused("the bias is computed")
        values = np.zeros(6 * hidden) if bias is None or bias.array is None else np.asarray(bias.array, np.float64)
        of_gates = b.const((values[: 2 * hidden] + values[3 * hidden : 5 * hidden]).reshape(1, -1))
        of_input = b.const(values[2 * hidden : 3 * hidden].reshape(1, -1))
        of_hidden = b.const(values[5 * hidden :].reshape(1, -1))

        def step(gate: Tensor, state: State) -> State:
            (h,) = state
            both = b.op("add", _part(b, gate, 1, 0, 2 * hidden), b.op("matmul", h, r_gates, transposeB=True))
            both = b.op("sigmoid", b.op("add", both, of_gates))
            z, r = _part(b, both, 1, 0, hidden), _part(b, both, 1, hidden, 2 * hidden)
            own = b.op("add", _part(b, gate, 1, 2 * hidden, 3 * hidden), of_input)
            if before:
                inner = b.op("mul", r, b.op("add", b.op("matmul", h, r_hidden, transposeB=True), of_hidden))
            else:
                inner = b.op("add", b.op("matmul", b.op("mul", r, h), r_hidden, transposeB=True), of_hidden)
            candidate = b.op("tanh", b.op("add", own, inner))
            return [b.op("add", b.op("mul", b.op("sub", b.number(1.0), z), candidate), b.op("mul", z, h))]

        return step

    y, finals = _unrolled(node, b, 3, [5], make)
    return [y, *finals]


@TABLE.lowers("RNN")
def rnn_22(node: HubNode, b: Builder) -> list[Tensor]:
    """``h = tanh(x · Wᵀ + h · Rᵀ + bias)``."""
    _check(node, b, ("tanh",))
    hidden = node.attr_int("hidden_size")

    def make(direction: _Direction) -> Step:
        bias = _gate_bias(b, direction.bias, hidden, 1)

        def step(gate: Tensor, state: State) -> State:
            total = b.op("add", gate, b.op("matmul", state[0], direction.recurrence, transposeB=True))
            return [b.op("tanh", total if bias is None else b.op("add", total, bias))]

        return step

    y, finals = _unrolled(node, b, 1, [5], make)
    return [y, *finals]
