"""An LSTM whose cell is bounded at every step, said by its equations in the body of a Scan.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS15.recurrent.lstm
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import onnx_ir as ir

from workbench.formats.coreml.scan import scanned
from workbench.hub import Emitter, dims_of


class Direction(NamedTuple):
    """The weights of one direction, the gates stacked: input, forget, output, cell (peepholes: the first three)."""

    input: ir.Value
    """[4 H, I]"""
    state: ir.Value
    """[4 H, H]"""
    bias: ir.Value | None
    """[4 H]"""
    peephole: ir.Value | None
    """[3 H]"""


class Activations(NamedTuple):
    """The activations, by ONNX's names, and the alpha and beta of those that have them."""

    gates: str
    cell: str
    output: str
    parameters: Mapping[str, tuple[float, float]]

    def apply(self, emit: Emitter, name: str, value: ir.Value) -> ir.Value:
        """The activation of that name. Affine is an activation of recurrent operators only; linear is the identity."""
        if name == "Affine" and self.parameters[name] == (1.0, 0.0):
            return value
        alpha, beta = self.parameters.get(name, (None, None))
        return emit.op(name, value, alpha=alpha, beta=beta)


def steps(
    emit: Emitter, name: str, x: ir.Value, first: tuple[ir.Value, ir.Value], weights: Direction,
    activations: Activations, clip: float, *, backwards: bool, restore: bool,
) -> tuple[ir.Value, ir.Value, ir.Value]:  # fmt: skip
    """One direction.

    Args:
        name: begins the names of what is inside.
        x: [S, B, I].
        first: hidden state and cell, [B, H] each.
        backwards: from the last step to the first.
        restore: put what ``backwards`` makes in the order of x, instead of leaving it in the order it is made in.

    Returns:
        hidden states [S, B, H], last hidden state [B, H], last cell [B, H].
    """
    prepared = emit.op("MatMul", x, emit.op("Transpose", weights.input, perm=[1, 0]))
    if weights.bias is not None:
        prepared = emit.op("Add", prepared, weights.bias)
    recurrence = emit.op("Transpose", weights.state, perm=[1, 0])
    peepholes = None
    if weights.peephole is not None:
        peepholes = emit.ops("Split", weights.peephole, outputs=3, axis=0, num_outputs=3)
    hidden = (dims_of(weights.state) or (None, None))[1]

    def step(body: Emitter, own: ir.Value, states: Sequence[ir.Value]) -> list[ir.Value]:
        return _step(body, own, states, recurrence, peepholes, activations, clip)

    y, (final, memory) = scanned(
        emit, name, (), prepared, first, hidden if isinstance(hidden, int) else None, step,
        backwards=backwards, restore=restore,
    )  # fmt: skip
    return y, final, memory


def _step(
    emit: Emitter, own: ir.Value, states: Sequence[ir.Value], recurrence: ir.Value, peepholes: list[ir.Value] | None,
    activations: Activations, clip: float,
) -> list[ir.Value]:  # fmt: skip
    """``c = clip(f c + i z)``, ``h = o activation(c)``; the output gate looks at the new cell through its peephole."""
    before, cell = states
    summed = emit.op("Add", own, emit.op("MatMul", before, recurrence))
    i, f, o, z = emit.ops("Split", summed, outputs=4, axis=1, num_outputs=4)

    def gate(index: int, value: ir.Value, memory: ir.Value) -> ir.Value:
        if peepholes is not None:
            value = emit.op("Add", value, emit.op("Mul", peepholes[index], memory))
        return activations.apply(emit, activations.gates, value)

    kept = emit.op("Mul", gate(1, f, cell), cell)
    added = emit.op("Mul", gate(0, i, cell), activations.apply(emit, activations.cell, z))
    new = emit.op("Clip", emit.op("Add", kept, added), emit.const(-clip), emit.const(clip))
    return [emit.op("Mul", gate(2, o, new), activations.apply(emit, activations.output, new)), new]
