"""Recurrent layers. x: [S, B, I], states: [B, D H]; D is 2 where both directions run, else 1.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.recurrent
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from workbench.formats.coreml.tensors import filled_with
from workbench.formats.coreml.to_onnx.clipped_lstm import Activations, Direction, steps
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused

_ACTIVATIONS = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "scaled_tanh": "Tanh", "linear": "Affine",
    "hard_sigmoid": "HardSigmoid", "sigmoid_hard": "HardSigmoid",
}  # fmt: skip
"""Without parameters of their own, a scaled tanh is not scaled (coremltools' tests say so)."""
_PARAMETERS = {"Affine": (1.0, 0.0), "HardSigmoid": (0.2, 0.5)}
"""The alpha and beta of those that have them."""
_LSTM_GATES = (0, 2, 1, 3)  # Core ML: input, forget, output, cell; ONNX: input, output, forget, cell
_PEEPHOLES = (0, 2, 1)
_GRU_GATES = (2, 0, 1)  # Core ML: reset, output, update; ONNX: update, reset, output


def _gates(emit: Emitter, value: ir.Value, order: Sequence[int]) -> ir.Value:
    """Reorder the gates, stacked along dimension 0, and put the direction's dimension before them."""
    parts = emit.ops("Split", value, outputs=len(order), axis=0, num_outputs=len(order)) if len(order) > 1 else [value]
    joined = emit.op("Concat", *(parts[index] for index in order), axis=0) if len(order) > 1 else value
    return emit.op("Unsqueeze", joined, emit.const([0]))


def _directions(emit: Emitter, values: Sequence[ir.Value]) -> ir.Value:
    return values[0] if len(values) == 1 else emit.op("Concat", *values, axis=0)


def _bias(emit: Emitter, op: MilOperation, names: Sequence[str], order: Sequence[int]) -> ir.Value | None:
    """ONNX's [D, 2 G H]: the whole bias as that of the input, zeros as that of the state."""
    if not any(op.has(name) for name in names):
        return None
    given = [_gates(emit, op.value(name), order) if op.has(name) else None for name in names]
    first = next(row for row in given if row is not None)
    zeros = emit.op("Sub", first, first)  # for the direction that has no bias, too
    rows = [emit.op("Concat", zeros if row is None else row, zeros, axis=1) for row in given]
    return _directions(emit, rows)


def _initial(emit: Emitter, op: MilOperation, name: str, count: int) -> ir.Value:
    """An initial state [B, D H], in the size of the batch if it is one number everywhere.

    coremltools takes the length of the first packed sequence for the size of the batch.
    """
    value = op.value(name)
    number = filled_with(emit, value)
    if number is None:
        return value
    batch = emit.op("Shape", op.value(), start=1, end=2)
    sizes = emit.op("Concat", batch, emit.const([count * op.shape(op.value("weight_hh"))[1]]), axis=0)
    return emit.op("Expand", number, sizes)


def _state(emit: Emitter, op: MilOperation, name: str, count: int) -> ir.Value:
    """An initial state: [B, D H] → [D, B, H]"""
    value = _initial(emit, op, name, count)
    if count == 1:
        return emit.op("Unsqueeze", value, emit.const([0]))
    halves = emit.ops("Split", value, outputs=2, axis=1, num_outputs=2)
    return emit.op("Concat", *(emit.op("Unsqueeze", half, emit.const([0])) for half in halves), axis=0)


def _final(emit: Emitter, value: ir.Value, count: int) -> ir.Value:
    """[D, B, H] → [B, D H]"""
    if count == 1:
        return emit.op("Squeeze", value, emit.const([0]))
    halves = emit.ops("Split", value, outputs=2, axis=0, num_outputs=2)
    return emit.op("Concat", *(emit.op("Squeeze", half, emit.const([0])) for half in halves), axis=1)


def _sequence(op: MilOperation, emit: Emitter, y: ir.Value, final: ir.Value, direction: str) -> ir.Value:
    """[S, D, B, H] → [S, B, D H], or the final state alone: [1, B, D H].

    A single reverse direction leaves its outputs in the order they were made in, from the last step to the first.
    """
    if not op.flag("output_sequence", False):
        return emit.op("Unsqueeze", final, emit.const([0]))
    moved = emit.op("Transpose", y, perm=[0, 2, 1, 3])
    joined = emit.op("Reshape", moved, emit.const([0, 0, -1]))
    if direction != "reverse":
        return joined
    backwards = (emit.const([-1]), emit.const([-(2**62)]), emit.const([0]), emit.const([-1]))
    return emit.op("Slice", joined, *backwards)


def _functions(op: MilOperation, **defaults: str) -> list[str]:
    """ONNX's names of the activations that the parameters name."""
    names = []
    for parameter, default in defaults.items():
        text = op.text(parameter, default).lower()
        if text not in _ACTIVATIONS:
            raise Refused(f"{parameter} = {text!r} is not supported, only {', '.join(_ACTIVATIONS)}")
        names.append(_ACTIVATIONS[text])
    return names


def _activations(functions: Sequence[str], count: int = 1) -> dict[str, Any]:
    """The attributes that say them; each alpha and beta belongs to the next function that has one."""
    pairs = [_PARAMETERS[name] for name in functions if name in _PARAMETERS] * count
    return {
        "activations": [*functions] * count,
        "activation_alpha": [alpha for alpha, _ in pairs] or None,
        "activation_beta": [beta for _, beta in pairs] or None,
    }


@mil.lowers("lstm")
def lstm(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """Outputs: the hidden states, the last hidden state, the last cell state."""
    direction = op.text("direction", "forward")
    suffixes = ("", "_back") if direction == "bidirectional" else ("",)
    count = len(suffixes)
    if count == 1:
        op.ignore("weight_ih_back", "weight_hh_back", "bias_back", "peephole_back")
    functions = _functions(op, recurrent_activation="sigmoid", cell_activation="tanh", activation="tanh")
    if op.has("clip"):
        return _clipped_lstm(op, emit, suffixes, functions)
    weights, recurrences = (
        _directions(emit, [_gates(emit, op.value(name + suffix), _LSTM_GATES) for suffix in suffixes])
        for name in ("weight_ih", "weight_hh")
    )
    peephole = None
    if op.has("peephole"):
        peephole = _directions(emit, [_gates(emit, op.value("peephole" + suffix), _PEEPHOLES) for suffix in suffixes])
    y, hidden, cell = emit.ops(
        "LSTM", op.value(), weights, recurrences,
        _bias(emit, op, ["bias" + suffix for suffix in suffixes], _LSTM_GATES), None,
        _state(emit, op, "initial_h", count), _state(emit, op, "initial_c", count), peephole,
        outputs=3, direction=direction, hidden_size=op.shape(op.value("weight_hh"))[1],
        **_activations(functions, count),
    )  # fmt: skip
    final = _final(emit, hidden, count)
    return [_sequence(op, emit, y, final, direction), final, _final(emit, cell, count)]


def _clipped_lstm(op: MilOperation, emit: Emitter, suffixes: Sequence[str], functions: Sequence[str]) -> list[ir.Value]:
    """``c = clip(f c + i z, -clip, clip)``, behind which ONNX's operator has no place for a bound.

    What is bounded follows from the reference that coremltools' tests calculate; the operator's says "cell gate".
    """
    x, count = op.value(), len(suffixes)
    activations = Activations(functions[0], functions[1], functions[2], _PARAMETERS)
    firsts = [
        emit.ops("Split", value, outputs=count, axis=1, num_outputs=count) if count > 1 else [value]
        for value in (_initial(emit, op, name, count) for name in ("initial_h", "initial_c"))
    ]
    clip, found = op.number("clip"), []
    for suffix, hidden, cell in zip(suffixes, *firsts, strict=True):
        names = [name + suffix for name in ("weight_ih", "weight_hh", "bias", "peephole")]
        weights = Direction(op.value(names[0]), op.value(names[1]), op.optional(names[2]), op.optional(names[3]))
        backwards = suffix == "_back" or op.text("direction", "forward") == "reverse"
        name = f"{op.outputs[0].name}/steps{suffix}"
        found.append(
            steps(emit, name, x, (hidden, cell), weights, activations, clip, backwards=backwards, restore=count > 1)
        )
    y, final, memory = (
        parts[0] if count == 1 else emit.op("Concat", *parts, axis=-1) for parts in zip(*found, strict=True)
    )
    sequence = y if op.flag("output_sequence", False) else emit.op("Unsqueeze", final, emit.const([0]))
    return [sequence, final, memory]


@mil.lowers("gru")
def gru(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """Outputs: the hidden states, the last one. ``reset_after`` (iOS 18): the reset gate works behind the product."""
    direction, after = op.text("direction", "forward"), op.flag("reset_after", False)
    bias = _gru_bias(op, emit)
    functions = _functions(op, recurrent_activation="sigmoid", activation="tanh")
    y, hidden = emit.ops(
        "GRU", op.value(), _gates(emit, op.value("weight_ih"), _GRU_GATES),
        _gates(emit, op.value("weight_hh"), _GRU_GATES), bias, None, _state(emit, op, "initial_h", 1),
        outputs=2, direction=direction, hidden_size=op.shape(op.value("weight_hh"))[1],
        linear_before_reset=int(after), **_activations(functions),
    )  # fmt: skip
    final = _final(emit, hidden, 1)
    return [_sequence(op, emit, y, final, direction), final]


def _gru_bias(op: MilOperation, emit: Emitter) -> ir.Value | None:
    """[1, 6 H]: the input's (iOS 18) and the state's bias."""
    if not op.has("bias") and not op.has("input_bias"):
        op.ignore("bias", "input_bias")
        return None
    given = {name: _gates(emit, op.value(name), _GRU_GATES) for name in ("input_bias", "bias") if op.has(name)}
    op.ignore("bias", "input_bias")
    some = next(iter(given.values()))
    zeros = emit.op("Sub", some, some)
    return emit.op("Concat", given.get("input_bias", zeros), given.get("bias", zeros), axis=1)


@mil.lowers("rnn")
def rnn(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """``h = activation(W x + R h + b)``; outputs: the hidden states, the last one."""
    direction = op.text("direction", "forward")
    y, hidden = emit.ops(
        "RNN", op.value(), _gates(emit, op.value("weight_ih"), (0,)), _gates(emit, op.value("weight_hh"), (0,)),
        _bias(emit, op, ["bias"], (0,)), None, _state(emit, op, "initial_h", 1), outputs=2, direction=direction,
        hidden_size=op.shape(op.value("weight_hh"))[1], **_activations(_functions(op, activation="tanh")),
    )  # fmt: skip
    final = _final(emit, hidden, 1)
    return [_sequence(op, emit, y, final, direction), final]
