"""States, written: an input and an output of the hub become a variable and an ``update`` of it (docs/decisions/007)."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from workbench.formats.base import Source
from workbench.formats.nnef.document import carried_name
from workbench.formats.nnef.from_onnx.builder import Builder
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.formats.nnef.graph import NnefGraph
from workbench.hub import layers_of, spec_of

States = Mapping[ir.Value, ir.Value]
"""Inputs of a hub graph → its outputs with their values for the next run."""


def states_of(graph: ir.Graph, source: Source) -> States:
    """The states of the source that can be variables; none if the graph would be left without an output."""
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    found: dict[ir.Value, ir.Value] = {}
    for name, output in source.states.items():
        before, after = inputs.get(name), outputs.get(output)
        if before is None or after is None or after in found.values():
            continue
        one, other = spec_of(before), spec_of(after)
        if one.is_static and (one.dtype, one.shape) == (other.dtype, other.shape):
            found[before] = after
    return found if len(found) < len(graph.outputs) else {}


def update_states(builder: Builder, states: States) -> dict[ir.Value, Tensor]:
    """Emit the updates; called once, when everything else is emitted."""
    made: dict[ir.Value, Tensor] = {}
    for before, after in states.items():
        new = builder.as_output(builder.tensor(after), after)
        if new.hint == after.name:  # a constant; the reader gives that name to the state
            new.hint = f"{before.name}_new"
        tensor = builder.op("update", builder.values[before], new)
        tensor.hint = f"{before.name}_updated"
        producer = after.producer()
        builder.emitted[-1].layers = layers_of(producer) if producer is not None else ()
        made[after] = tensor
        for copy in [after, *_copies(after)]:  # the last is what the source's own update makes
            builder.values.pop(copy, None)
            builder.values[copy] = tensor
    return made


def copies_for(states: States) -> set[ir.Value]:
    """The outputs with new values, and the copies that they are of: their names are not those of the tensors."""
    return {copy for after in states.values() for copy in _copies(after)}


def _copies(value: ir.Value) -> list[ir.Value]:
    """The value and what it is a copy of, as far as that is a copy itself."""
    found: list[ir.Value] = []
    copied: ir.Value | None = value
    while copied is not None:
        producer = copied.producer()
        if producer is None or producer.op_type != "Identity" or producer.domain:
            break
        found.append(copied)
        copied = producer.inputs[0]
    return found


def carried_names(graph: NnefGraph) -> dict[str, str]:
    """Variables that are updated → what the reader calls their values after a run."""
    taken = {name for operation in graph.operations for name in operation.outputs}
    found: dict[str, str] = {}
    for operation in graph.operations:
        if operation.name == "update":
            name = operation.inputs[0]
            found[name] = carried_name(name, {*taken, *found.values()})
    return found
