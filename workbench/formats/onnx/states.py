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
    ends = _ends(model.graph)
    states = {name: output for name, output in source.states.items() if (name, output) in ends}
    if not states:
        return
    starts = {name: _plain(source.starts[name]) for name in states if name in source.starts}
    record = {name: [output, starts[name].name if name in starts else None] for name, output in states.items()}
    model.metadata_props[STATES] = json.dumps(record, separators=(",", ":"))
    put_starts(model.graph, starts)


def take_states(model: ir.Model) -> tuple[dict[str, str], Starts]:
    """The states that the record names, as far as it is true, and the defaults of their inputs, which are taken out."""
    ends = _ends(model.graph)
    inputs = {value.name: value for value in model.graph.inputs}
    states: dict[str, str] = {}
    starts: dict[str, ir.TensorProtocol] = {}
    for name, (output, label) in _recorded(model.metadata_props.get(STATES, "")).items():
        if (name, output) not in ends or output in states.values():
            continue
        states[name] = output
        default = model.graph.initializers.pop(name, None)
        if default is not None and default.const_value is not None:
            starts[name] = _called(default.const_value, label or name)
            inputs[name].const_value = None
    return states, starts


def put_starts(graph: ir.Graph, starts: Starts) -> None:
    """Give inputs their defaults."""
    inputs = {value.name: value for value in graph.inputs}
    for name, start in starts.items():
        inputs[name].const_value = _called(start, name)
        graph.initializers[name] = inputs[name]


def _ends(graph: ir.Graph) -> set[tuple[str, str]]:
    """The inputs and outputs of one dtype and one fixed shape: what can be a state."""
    inputs, outputs = (
        [spec_of(value) for value in values if isinstance(value.type, ir.TensorType)]
        for values in (graph.inputs, graph.outputs)
    )
    return {
        (one.name, other.name)
        for one in inputs
        for other in outputs
        if one.is_static and (one.dtype, one.shape) == (other.dtype, other.shape)
    }


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
