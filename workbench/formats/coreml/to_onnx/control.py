"""Control flow: operations with blocks of their own become nodes with subgraphs.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.control_flow
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.to_onnx.scope import Scope
from workbench.formats.coreml.to_onnx.table import MilOperation
from workbench.formats.coreml.values import named_spec
from workbench.hub import Emitter, set_type


class Nested(Protocol):
    """Lowers a block into a scope."""

    def __call__(self, block: Any, *, scope: Scope) -> None: ...


def _number(emit: Emitter, value: ir.Value) -> ir.Value:
    """A truth value without dimensions: Core ML's may be of shape [1]."""
    return (
        value
        if value.shape is not None and len(value.shape) == 0
        else emit.op("Reshape", value, emit.const([], "int64"))
    )


def _results(block: Any, scope: Scope) -> list[ir.Value]:
    """The outputs of a block, each made in the block's own graph and none twice."""
    results: list[ir.Value] = []
    for name in block.outputs:
        value = scope.raw(name)
        if value.producer() not in scope.emitter.nodes or value in results:
            value = scope.emitter.op("Identity", value)
        results.append(value)
    return results


def _typed(op: MilOperation, values: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """Outputs of a node with subgraphs have the declared types: onnx infers none for them."""
    if len(values) != len(op.outputs):
        raise ModelError(f"{len(op.outputs)} outputs are declared, the blocks have {len(values)}.")
    return [set_type(value, spec.dtype, spec.shape) for value, spec in zip(values, op.outputs, strict=True)]


def cond(blocks: Sequence[Any], outer: Scope, nested: Nested, op: MilOperation, emit: Emitter) -> Sequence[ir.Value]:
    """``pred`` chooses between two blocks without inputs."""
    chosen = _number(emit, op.value("pred"))
    if len(blocks) != 2:
        raise ModelError(f"{len(blocks)} blocks, two are needed.")
    branches = []
    for name, block in zip(("then_branch", "else_branch"), blocks, strict=True):
        scope = Scope(Emitter(f"{op.outputs[0].name}/{name}"), outer)
        nested(block, scope=scope)
        branches.append(ir.AttrGraph(name, scope.emitter.finish(_results(block, scope)).graph))
    then_branch, else_branch = branches
    count = len(op.outputs)
    return _typed(op, emit.ops("If", chosen, outputs=count, then_branch=then_branch, else_branch=else_branch))


def while_loop(
    blocks: Sequence[Any], outer: Scope, nested: Nested, op: MilOperation, emit: Emitter
) -> Sequence[ir.Value]:
    """The second block makes new loop variables as long as the first says so of the present ones."""
    if len(blocks) != 2:
        raise ModelError(f"{len(blocks)} blocks, two are needed.")
    condition, body = blocks
    start = op.raws("loop_vars")
    layer = op.outputs[0].name
    first = _number(emit, _condition(condition, Scope(emit, outer, suffix="/first"), start, nested))
    inner = Scope(Emitter(f"{layer}/body"), outer)
    inner.emitter.input(f"{layer}/iteration", "int64", [])
    inner.emitter.input(f"{layer}/condition", "bool", [])
    for named in body.inputs:
        inner.input(named_spec(named, layer))
    nested(body, scope=inner)
    results = _results(body, inner)
    going_on = _condition(condition, Scope(inner.emitter, outer, suffix="/next"), results, nested)
    going_on = inner.emitter.op("Identity", _number(inner.emitter, going_on))
    graph = ir.AttrGraph("body", inner.emitter.finish([going_on, *results]).graph)
    return _typed(op, emit.ops("Loop", None, first, *start, outputs=len(op.outputs), body=graph))


def _condition(block: Any, scope: Scope, values: Sequence[ir.Value], nested: Nested) -> ir.Value:
    for named, value in zip(block.inputs, values, strict=True):
        scope.adopt(named.name, value)
    nested(block, scope=scope)
    return scope.raw(block.outputs[0])


OPERATORS: dict[str, Callable[[Sequence[Any], Scope, Nested, MilOperation, Emitter], Sequence[ir.Value]]] = {
    "cond": cond,
    "while_loop": while_loop,
}
