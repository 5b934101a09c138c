"""The end of a lowering: tensors get names, what nothing needs is dropped, inputs and variables are declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from workbench.formats.nnef.from_onnx.builder import Builder
from workbench.formats.nnef.from_onnx.tensor import Emitted, Tensor, declaration, tensors_in
from workbench.formats.nnef.graph import NnefOperation, TensorRef, Value
from workbench.formats.nnef.labels import Names
from workbench.formats.nnef.levels import quantization_of
from workbench.formats.nnef.quantization import Quantization


@dataclass(eq=False)
class Finished:
    """The finished operations with what is known of their tensors."""

    operations: list[NnefOperation]
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    variables: dict[str, ir.TensorProtocol] = field(default_factory=dict)
    quantization: dict[str, Quantization] = field(default_factory=dict)
    levels: set[str] = field(default_factory=set)


def finish(b: Builder, outputs: Sequence[Tensor], updates: Sequence[Tensor] = ()) -> Finished:
    """Name the tensors, declare inputs and variables, drop what no output and no state needs.

    Args:
        updates: the results of what updates the states.
    """
    emitted = _live(b.emitted, [*outputs, *updates])
    names, finished = Names(), Finished([])
    for _, tensor in b.inputs:
        tensor.name = names.identifier(tensor.hint)
    finished.operations += [b.external(tensor) for _, tensor in b.inputs if tensor not in b.states]
    for tensor in outputs:
        tensor.name = tensor.name or names.identifier(tensor.hint)
    for tensor, start in b.states.items():
        _declare(b, tensor, start, names, finished)
    constants = [t for op in emitted for t in tensors_in(op.arguments)] + list(outputs)
    for tensor in dict.fromkeys(constants):
        if tensor.data is not None:
            _declare(b, tensor, tensor.data, names, finished)
    for operation in emitted:
        for tensor in tensors_in(operation.results):
            tensor.name = tensor.name or names.identifier(tensor.hint)
        arguments = {key: _references(value) for key, value in operation.arguments.items()}
        results = {key: _references(value) for key, value in operation.results.items()}
        done = NnefOperation(operation.name, arguments, results, operation.dtype)
        finished.operations.append(done)
        finished.layers[done.outputs[0]] = operation.layers
    for tensor, entry in b.quantized.items():
        if tensor.name:
            finished.quantization[tensor.name] = entry
    return finished


def _declare(b: Builder, tensor: Tensor, data: ir.TensorProtocol, names: Names, finished: Finished) -> None:
    """A variable for the tensor, with a label for its data."""
    tensor.name = tensor.name or names.identifier(tensor.hint)
    label = names.label(data.name or tensor.hint or tensor.name)
    finished.variables[label] = data
    entry = quantization_of(data) if b.quantizes else None
    if entry is not None:
        finished.quantization[tensor.name] = entry
        finished.levels.add(label)
    finished.operations.append(declaration("variable", tensor, shape=list(tensor.shape), label=label))


def _live(emitted: Sequence[Emitted], outputs: Sequence[Tensor]) -> list[Emitted]:
    """The operations that the outputs need."""
    needed = set(outputs)
    kept: list[Emitted] = []
    for operation in reversed(emitted):
        if any(tensor in needed for tensor in tensors_in(operation.results)):
            kept.append(operation)
            needed.update(tensors_in(operation.arguments))
    return kept[::-1]


def _references(value: Any) -> Value:
    if isinstance(value, Tensor):
        return TensorRef(value.name)
    if isinstance(value, list):
        return [_references(item) for item in value]
    return value
