"""Control flow: operations with blocks of their own become nodes with subgraphs.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.control_flow
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.tensors import own_outputs
from workbench.formats.coreml.to_onnx.scope import Scope
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.values import held_spec
from workbench.hub import Emitter, set_type
from workbench.lowering import Refused


def _number(emit: Emitter, value: ir.Value) -> ir.Value:
    """A truth value without dimensions: Core ML's may be of shape [1]."""
    return (
        value
        if value.shape is not None and len(value.shape) == 0
        else emit.op("Reshape", value, emit.const([], "int64"))
    )


def _results(block: Any, scope: Scope) -> list[ir.Value]:
    """The outputs of a block."""
    return own_outputs(scope.emitter, map(scope.raw, block.outputs))


def _typed(op: MilOperation, values: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """Outputs of a node with subgraphs have the declared types: onnx infers none for them."""
    if len(values) != len(op.outputs):
        raise ModelError(f"{len(op.outputs)} outputs are declared, the blocks have {len(values)}.")
    return [set_type(value, spec.dtype, spec.shape) for value, spec in zip(values, op.outputs, strict=True)]


@mil.lowers("cond")
def cond(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """``pred`` chooses between two blocks without inputs."""
    chosen = _number(emit, op.value("pred"))
    branches = []
    for index, name in enumerate(("then_branch", "else_branch")):
        block, scope, lower = op.lower_block(index, Emitter(f"{op.outputs[0].name}/{name}"))
        lower()
        branches.append(ir.AttrGraph(name, scope.emitter.finish(_results(block, scope)).graph))
    then_branch, else_branch = branches
    made = emit.ops("If", chosen, outputs=len(op.outputs), then_branch=then_branch, else_branch=else_branch)
    return _typed(op, made)


@mil.lowers("while_loop")
def while_loop(op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """The second block makes new loop variables as long as the first says so of the present ones."""
    for block in op.blocks:
        _refuse_random(block)
    start, layer = op.raws("loop_vars"), op.outputs[0].name
    first = _number(emit, _condition(op, emit, start, "/first"))
    body, inner, lower = op.lower_block(1, Emitter(f"{layer}/body"))
    inner.emitter.input(f"{layer}/iteration", "int64", [])
    inner.emitter.input(f"{layer}/condition", "bool", [])
    for named in body.inputs:
        inner.input(held_spec(named, layer))
    lower()
    with inner.emitter.layer([layer], hint=f"{layer}/body"):
        results = _results(body, inner)
        going_on = _number(inner.emitter, _condition(op, inner.emitter, results, "/next"))
        outputs = [inner.emitter.op("Identity", going_on), *results]
    graph = ir.AttrGraph("body", inner.emitter.finish(outputs).graph)
    return _typed(op, emit.ops("Loop", None, first, *start, outputs=len(op.outputs), body=graph))


def _refuse_random(block: Any) -> None:
    """Random numbers follow from an operation's seed or name: every iteration would draw the same."""
    for operation in block.operations:
        if operation.type.startswith("random_"):
            raise Refused(f"{operation.type} inside a loop would draw the same numbers in every iteration")
        for inner in operation.blocks:
            _refuse_random(inner)


def _condition(op: MilOperation, emit: Emitter, values: Sequence[ir.Value], suffix: str) -> ir.Value:
    """What the first block says of the loop variables."""
    block, scope, lower = op.lower_block(0, emit, suffix)
    for named, value in zip(block.inputs, values, strict=True):
        scope.adopt(named.name, value)
    lower()
    return scope.raw(block.outputs[0])
