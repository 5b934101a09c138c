"""States in ONNX, which has none: an input, an output, and a record that they are the two ends of one.

What a state begins with is the default value of its input (https://onnx.ai/onnx/repo-docs/IR.html: an initializer of
the same name), so that others who run the model need not feed it. A document holds the model without these defaults:
nothing may take the value of a state for a constant.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping

import onnx_ir as ir

from workbench.formats.base import Source
from workbench.hub import spec_of
from workbench.hub.stored import Stored

STATES = "workbench.states"
"""Key of the record in the model's ``metadata_props``: state → its output, and what it was trained under."""

Starts = Mapping[str, ir.TensorProtocol]
"""States → what they begin with, where it is not zeros."""


def give_states(model: ir.Model, source: Source) -> None:
    """Write the states of the source that the model still has both ends of into it: as a record, and as defaults."""
    states = _true(model.graph, source.states)
    if not states:
        return
    starts = {name: _plain(source.starts[name]) for name in states if name in source.starts}
    record = {name: [output, starts[name].name if name in starts else None] for name, output in states.items()}
    model.metadata_props[STATES] = json.dumps(record, separators=(",", ":"))
    put_starts(model.graph, starts)


def take_states(model: ir.Model) -> tuple[dict[str, str], Starts]:
    """The states that the record names, as far as it is true, and the defaults of their inputs, which are taken out."""
    record = _recorded(model.metadata_props.get(STATES, ""))
    states = _true(model.graph, {name: output for name, (output, _) in record.items()})
    starts: dict[str, ir.TensorProtocol] = {}
    for name in list(states):
        default = model.graph.initializers.get(name)
        if default is None or default.const_value is None:
            continue
        if not _fits(default.const_value, default):
            del states[name]  # it stays a constant, as every input with a default
            continue
        del model.graph.initializers[name]
        starts[name] = _called(default.const_value, record[name][1] or name)
        default.const_value = None
    return states, starts


def _fits(start: ir.TensorProtocol, value: ir.Value) -> bool:
    spec = spec_of(value)
    return start.dtype == value.dtype and tuple(start.shape.numpy()) == spec.shape


def put_starts(graph: ir.Graph, starts: Starts) -> None:
    """Give inputs their defaults."""
    inputs = {value.name: value for value in graph.inputs}
    for name, start in starts.items():
        inputs[name].const_value = _called(start, name)
        graph.initializers[name] = inputs[name]


def _true(graph: ir.Graph, states: Mapping[str, str]) -> dict[str, str]:
    """Those of the pairs that are an input and an output of one dtype and one fixed shape; each output once."""
    inputs = {value.name: value for value in graph.inputs if value.name in states}
    wanted = {states[name] for name in inputs if name}
    outputs = {value.name: value for value in graph.outputs if value.name in wanted}
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name, output in states.items():
        one, other = inputs.get(name), outputs.get(output)
        if one is None or other is None or output in taken:
            continue
        if not all(isinstance(value.type, ir.TensorType) for value in (one, other)):
            continue
        before, after = spec_of(one), spec_of(other)
        if before.is_static and (before.dtype, before.shape) == (after.dtype, after.shape):
            found[name] = output
            taken.add(output)
    return found


def _recorded(text: str) -> dict[str, tuple[str, str | None]]:
    """What the record says; nothing, if it is none (it is a help, never a reason to fail)."""
    try:
        found = json.loads(text)
        return {
            str(name): (str(output), None if label is None else str(label)) for name, (output, label) in found.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _plain(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor as one that an initializer can hold."""
    return ir.Tensor(tensor.numpy(), name=tensor.name) if isinstance(tensor, Stored) else tensor


def _called(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The same data under another name; the tensor itself is shared, and keeps its own."""
    found = copy.copy(tensor)
    found.name = name
    return found
