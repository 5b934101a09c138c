"""Lowers an ML program to the hub: every operation, all refusals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import TensorSpec
from workbench.errors import ConversionError, ExecutionError, LimitError, ModelError, Refusal
from workbench.formats.coreml.program import Program, is_attribute, layer_name
from workbench.formats.coreml.to_onnx import constexpr
from workbench.formats.coreml.to_onnx.scope import Scope
from workbench.formats.coreml.to_onnx.table import MilOperation, Nested, mil
from workbench.formats.coreml.values import Constant, held_spec, named_spec
from workbench.hub import Emitter, dtype_name
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]

_CONTRADICTIONS = (
    ModelError, ExecutionError, ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError
)  # fmt: skip
"""What a lowering raises where a damaged model's parameters do not fit together."""


def lower_program(
    program: Program,
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    states: Mapping[str, str],
    hub_names: Mapping[str, str],
) -> ir.Model:
    """The hub graph of a program.

    Args:
        program: the function to lower.
        name: the graph's name.
        inputs: the model's inputs, by name those of the function.
        outputs: the model's outputs, by their names in the hub.
        states: inputs that are states → the output, not among ``outputs``, with the state's value after the run.
        hub_names: tensors that the hub calls otherwise than the program: those that take the name of an input.

    Raises:
        ConversionError: with all refusals.
        ModelError: the program contradicts itself.
    """
    emitter = Emitter(name)
    scope = Scope(emitter, hub_names=hub_names)
    for spec in inputs:
        scope.input(spec)
    refusals: list[Refusal] = []
    lower_block(program.block, program, scope, refusals)
    if refusals:
        raise ConversionError(refusals, name)
    own = {other: name for name, other in hub_names.items()}
    results = [_output(scope, own.get(spec.name, spec.name), program.package.label) for spec in outputs]
    return emitter.finish([*results, *(_after(scope, state, output) for state, output in states.items())])


def program_weights(program: Program) -> dict[str, Constant]:
    """The function's weights by name, compressed ones as they are calculated with."""
    scope = Scope(Emitter("weights"))
    for operation in program.block.operations:
        if operation.type == "const":
            scope.declare(operation.outputs[0].name, program.constant(operation))
        elif constexpr.compressed.knows(operation.type):
            _declare_decompressed(operation, program, scope)
    return {name: constant for name, constant in scope.constants.items() if not is_attribute(constant)}


def lower_block(block: Any, program: Program, scope: Scope, refusals: list[Refusal], depth: int = 0) -> None:
    """Lower every operation of a block; what is refused is added to ``refusals``."""
    limits.check("nesting", depth, program.package.label)
    for operation in block.operations:

        def nested(inner: Any, inner_scope: Scope) -> None:
            lower_block(inner, program, inner_scope, refusals, depth + 1)

        refusal = _lower(operation, program, scope, nested)
        if refusal is not None:
            refusals.append(refusal)


def _lower(operation: Any, program: Program, scope: Scope, nested: Nested) -> Refusal | None:
    """Lower one operation; its refusal, if it is refused."""
    if operation.type == "const":
        scope.declare(operation.outputs[0].name, program.constant(operation))
        return None
    if constexpr.compressed.knows(operation.type):
        _declare_decompressed(operation, program, scope)
        return None
    if operation.type == "classify":
        _classify(operation, program, scope)
        return None
    layer = layer_name(operation)
    where = f"{program.package.label}: {operation.type} {layer!r}"
    specs = tuple(held_spec(named, where) for named in operation.outputs)
    view = MilOperation(
        operation.type, program.version, program.arguments(operation), specs, scope, operation.blocks, nested
    )
    try:
        with scope.emitter.layer([layer], hint=layer + scope.suffix):
            _bind(view, scope)
    except Refused as refusal:
        for spec in specs:
            scope.stand_in(spec)
        return Refusal("coreml", "onnx", view.label, layer, refusal.cause, refusal.way_out)
    except LimitError as error:
        raise LimitError(f"{where}: {error}") from error
    except _CONTRADICTIONS as error:
        raise ModelError(f"{where}: {error}") from error
    return None


def _declare_decompressed(operation: Any, program: Program, scope: Scope) -> None:
    """Compressed weights become constants that are decompressed when they are first read."""
    where = f"{program.package.label}: {operation.type} {layer_name(operation)!r}"
    arguments = program.arguments(operation)

    @functools.lru_cache(maxsize=1)
    def results() -> Sequence[Array]:
        given = {name: scope.constant(bindings[0], where) for name, bindings in arguments.items() if bindings}
        return constexpr.decompress(operation.type, given, program.version)

    for index, named in enumerate(operation.outputs):
        spec = named_spec(named, where)
        shape = tuple(dim for dim in spec.shape or () if isinstance(dim, int))
        load = functools.partial(_result, results, index, spec.dtype, shape, where)
        scope.declare(spec.name, Constant(spec.dtype, shape, load))


def _result(
    results: Callable[[], Sequence[Array]], index: int, dtype: str, shape: tuple[int, ...], where: str
) -> Array:
    found = results()[index]
    if dtype == "float32" and found.dtype == np.float16:  # of a program that is taken for float32
        found = found.astype(np.float32)
    if found.shape != shape:
        raise ModelError(f"{where}: declared with shape {shape}, decompressed to {found.shape}.")
    return found


def _classify(operation: Any, program: Program, scope: Scope) -> None:
    """The probabilities under the name of the dictionary; labels are no tensors and are left to the document."""
    probabilities = scope.raw(program.arguments(operation)["probabilities"][0])
    with scope.emitter.layer([layer_name(operation)]):
        spec = TensorSpec(operation.outputs[-1].name, dtype_name(probabilities.dtype), None)
        scope.bind(spec, scope.emitter.op("Identity", probabilities))


def _bind(view: MilOperation, scope: Scope) -> None:
    lowering = mil.find(view.operator, view.version)
    if lowering is None:
        raise Refused("the hub has no counterpart for it in this version of the workbench")
    results = lowering(view, scope.emitter)
    if view.leftover():
        raise Refused(f"the parameters {', '.join(map(repr, view.leftover()))} are not understood")
    values = [results] if isinstance(results, ir.Value) else list(results)
    if len(values) != len(view.outputs):
        raise ModelError(f"{len(view.outputs)} outputs are declared, the operator has {len(values)}.")
    for spec, value in zip(view.outputs, values, strict=True):
        scope.bind(spec, value)


def _after(scope: Scope, state: str, name: str) -> ir.Value:
    """A state's value after the run, under the output's name."""
    return scope.emitter.rename(scope.emitter.op("Identity", scope.raw(state)), name)


def _output(scope: Scope, name: str, label: str) -> ir.Value:
    """The tensor of that name in the program."""
    try:
        return scope.raw(name)
    except ModelError as error:
        raise ModelError(f"{label}: the output: {error}") from error
