"""Control flow: operations with blocks of their own become nodes with subgraphs.

A state that a block writes is one more output of the branches, or one more variable of the loop.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.control_flow
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.tensors import own_outputs
from workbench.formats.coreml.to_onnx.random import turn_of
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.values import held_spec
from workbench.hub import Emitter, dims_of, dtype_name, set_type


def _number(emit: Emitter, value: ir.Value) -> ir.Value:
    """A truth value without dimensions: Core ML's may be of shape [1]."""
    return (
        value
        if value.shape is not None and len(value.shape) == 0
        else emit.op("Reshape", value, emit.const([], "int64"))
    )


def _typed(op: MilOperation, values: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """Outputs of a node with subgraphs have the declared types: onnx infers none for them.

    States, if there are any, are behind the operation's own outputs.
    """
    if len(values) != len(op.outputs):
        raise ModelError(f"{len(op.outputs)} outputs are declared, the blocks have {len(values)}.")
    return [set_type(value, spec.dtype, spec.shape) for value, spec in zip(values, op.outputs, strict=True)]


@mil.lowers("cond")
def cond(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """``pred`` chooses between two blocks without inputs."""
    chosen, states = _number(emit, op.value("pred")), _written(op.blocks)
    branches = []
    for index, name in enumerate(("then_branch", "else_branch")):
        block, scope, lower = op.lower_block(index, Emitter(f"{_layer(op, states)}/{name}"))
        for state in states:
            scope.adopt(state, op.state(state))
        lower()
        results = own_outputs(scope.emitter, map(scope.raw, [*block.outputs, *states]))
        branches.append(ir.AttrGraph(name, scope.emitter.finish(results).graph))
    then_branch, else_branch = branches
    count = len(op.outputs) + len(states)
    made = emit.ops("If", chosen, outputs=count, then_branch=then_branch, else_branch=else_branch)
    return _typed(op, _carried(op, made, states))


@mil.lowers("while_loop")
def while_loop(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """The second block makes new loop variables as long as the first says so of the present ones."""
    start, states = op.raws("loop_vars") if op.has("loop_vars") else [], _written(op.blocks)
    op.ignore("loop_vars")
    layer, first = _layer(op, states), _condition(op, emit, start, [op.state(state) for state in states], "/first")
    start += first[1:]
    body, inner, lower = op.lower_block(1, Emitter(f"{layer}/body"))
    iteration = inner.emitter.input(f"{layer}/iteration", "int64", [])
    inner.emitter.input(f"{layer}/condition", "bool", [])
    for named in body.inputs:
        inner.input(held_spec(named, layer))
    for state, value in zip(states, start[len(body.inputs) :], strict=True):
        dtype = dtype_name(value.dtype)
        inner.adopt(state, inner.emitter.input(f"{layer}/in/{state}", dtype, dims_of(value)))
    with inner.emitter.layer([layer], hint=f"{layer}/body"):
        if any(map(_draws, op.blocks)):
            inner.turn = turn_of(inner.emitter, iteration, op.turn)
    lower()
    with inner.emitter.layer([layer], hint=f"{layer}/body"):
        values, held = ([inner.raw(name) for name in names] for names in (body.outputs, states))
        following = _condition(op, inner.emitter, values, held, "/next", inner.turn)
        outputs = own_outputs(inner.emitter, [following[0], *values, *following[1:]])
    graph = ir.AttrGraph("body", inner.emitter.finish(outputs).graph)
    made = emit.ops("Loop", None, first[0], *start, outputs=len(start), body=graph)
    return _typed(op, _carried(op, made, states))


def _written(blocks: Sequence[Any]) -> list[str]:
    """The states that operations of the blocks, and of the blocks inside them, write."""
    found: dict[str, None] = {}
    for operation in (operation for block in blocks for operation in block.operations):
        if operation.type == "write_state":
            found.update(dict.fromkeys(binding.name for binding in operation.inputs["input"].arguments))
        found.update(dict.fromkeys(_written(operation.blocks)))
    return list(found)


def _draws(block: Any) -> bool:
    """Whether operations of the block, or of the blocks inside it, draw random numbers."""
    return any(
        operation.type.startswith("random_") or any(map(_draws, operation.blocks)) for operation in block.operations
    )


def _carried(op: MilOperation, values: Sequence[ir.Value], states: Sequence[str]) -> Sequence[ir.Value]:
    """The values without the last ones, which the states hold behind the operation."""
    own = len(values) - len(states)
    for state, value in zip(states, values[own:], strict=True):
        before = op.state(state)
        op.set_state(state, set_type(value, dtype_name(before.dtype), dims_of(before)))
    return values[:own]


def _layer(op: MilOperation, states: Sequence[str]) -> str:
    """What names of values inside begin with: the first output, or, where there is none, the first state written."""
    return op.outputs[0].name if op.outputs else f"{op.operator}/{states[0] if states else 'empty'}"


def _condition(
    op: MilOperation, emit: Emitter, values: Sequence[ir.Value], held: Sequence[ir.Value], suffix: str,
    turn: ir.Value | None = None,
) -> list[ir.Value]:  # fmt: skip
    """What the first block says of the loop variables: a truth value; then what the states hold behind it.

    Args:
        held: what the states hold before it.
        turn: of the iteration of the body that it follows.
    """
    block, scope, lower = op.lower_block(0, emit, suffix)
    scope.turn = scope.turn if turn is None else turn
    states = _written(op.blocks)
    for name, value in zip([*(named.name for named in block.inputs), *states], [*values, *held], strict=True):
        scope.adopt(name, value)
    lower()
    return [_number(emit, scope.raw(block.outputs[0])), *map(scope.raw, states)]
