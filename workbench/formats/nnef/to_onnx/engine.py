"""Flat NNEF graph → hub graph: every operation, all refusals at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ConversionError, ModelError, Refusal, WorkbenchError
from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef
from workbench.formats.nnef.quantization import Quantization
from workbench.formats.nnef.to_onnx.node import INTEGER, TABLE, NnefNode
from workbench.hub import Emitter, dtype_name
from workbench.lowering import Refused

DECLARATIONS = ("external", "variable", "constant")
"""Operations that are no layers: they state what is there already."""


def lower_to_hub(
    graph: NnefGraph,
    tensors: Mapping[str, ir.TensorProtocol],
    quantization: Mapping[str, Quantization],
    scalar: str,
    subject: str,
    states: Mapping[str, str] | None = None,
) -> ir.Model:
    """Lower a graph.

    Args:
        graph: the flat graph.
        tensors: variable (its name in the graph, not its label) → its data, of the dtype that the hub shall have.
        quantization: tensor → how it is quantised; variables among them are in ``tensors`` as real numbers already.
        scalar: numpy's name of the dtype that ``scalar`` stands for.
        subject: what messages call the model.
        states: variables that are updated, which become inputs → the outputs with their new values.

    Raises:
        ConversionError: with all refusals.
        ModelError: the graph contradicts itself.
    """
    engine = Engine(graph, tensors, quantization, scalar, subject, states)
    engine.run()
    if engine.refusals:
        raise ConversionError(engine.refusals, subject)
    return engine.emitter.finish([engine.values[name] for name in (*graph.outputs, *engine.states.values())])


class Engine:
    """Lowers one graph; the tract dialect has an heir of its own."""

    table = TABLE

    def __init__(
        self,
        graph: NnefGraph,
        tensors: Mapping[str, ir.TensorProtocol],
        quantization: Mapping[str, Quantization],
        scalar: str,
        subject: str,
        states: Mapping[str, str] | None = None,
    ) -> None:
        self.graph = graph
        self.states = states or {}
        self.tensors = tensors
        self.quantization = quantization
        self.scalar = scalar
        self.subject = subject
        self.emitter = Emitter(graph.name)
        self.values: dict[str, ir.Value] = {}
        self.refusals: list[Refusal] = []

    def run(self) -> None:
        declared = {op.outputs[0]: op for op in self.graph.operations if op.name in ("external", "variable")}
        for name in (*self.graph.inputs, *self.states):  # the order of the interface, which need not be the body's
            self.values[name] = self._input(declared[name])
        computed = [op for op in self.graph.operations if op.name not in ("external", "variable")]
        self.emitter.reserve((*(name for op in computed for name in op.outputs), *self.states.values()))
        for operation in self.graph.operations:
            if operation.name == "variable":
                name = operation.outputs[0]
                if name not in self.states:
                    self.values[name] = self.emitter.tensor(self.tensors[name], name)
            elif operation.name != "external":
                self._lower(operation)
            for name in operation.outputs:
                self._quantize(operation, name)
            if operation.name == "update":
                self._carry(operation)

    def _carry(self, operation: NnefOperation) -> None:
        """What a variable holds after the run: an output beside the update's result, which may be one as well."""
        variable, result = operation.inputs[0], operation.outputs[0]
        if result in self.values:
            with self.emitter.layer([result], hint=result):
                carried = self.emitter.op("Identity", self.values[result])
            self.values[self.states[variable]] = self.emitter.rename(carried, self.states[variable])

    def _input(self, operation: NnefOperation) -> ir.Value:
        dims = [extent or None for extent in operation.arguments["shape"]]
        return self.emitter.input(operation.outputs[0], self._dtype(operation.dtype), dims)

    def _node(self, operation: NnefOperation) -> NnefNode:
        return NnefNode(operation, self.values, self.emitter, self.scalar)

    def _dtype(self, kind: str | None) -> str:
        return {"integer": INTEGER, "logical": "bool"}.get(kind or "scalar", self.scalar)

    def _lower(self, operation: NnefOperation) -> None:
        layer = operation.outputs[0]
        lowering = self.table.find(operation.name)
        if lowering is None:
            self._refuse(operation, f"{operation.name} is no standard operation", "declare its fragment with a body")
            return
        if not all(name in self.values for name in operation.inputs):
            return  # what it reads was refused; that is said already
        try:
            with self.emitter.layer([layer], hint=layer):
                results = lowering(self._node(operation), self.emitter)
                self._bind(operation, results if len(operation.results) > 1 else [_single(results)])
        except Refused as refused:
            self._refuse(operation, refused.cause, refused.way_out)
        except ModelError as error:
            raise type(error)(f"{self._place(operation)}: {error}") from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # where an external's extents are unknown, no shape was checked against the attributes before
            raise ModelError(f"{self._place(operation)}: its attributes do not fit its inputs ({error}).") from error

    def _place(self, operation: NnefOperation) -> str:
        line = f"line {operation.position.line}: " if operation.position.line else ""
        return f"{self.subject}: {line}nnef {operation.name} {operation.outputs[0]!r}"

    def _bind(self, operation: NnefOperation, results: Any) -> None:
        for wanted, value in _pairs(list(operation.results.values()), results):
            self.values[wanted.name] = self.emitter.rename(value, wanted.name)

    def _refuse(self, operation: NnefOperation, cause: str, way_out: str = "") -> None:
        self.refusals.append(Refusal("nnef", "onnx", operation.name, operation.outputs[0], cause, way_out))

    def _quantize(self, operation: NnefOperation, name: str) -> None:
        """Round a tensor to the values that its quantisation can hold (a quantised variable holds them already)."""
        entry = self.quantization.get(name)
        if entry is None or name not in self.values or operation.name in DECLARATIONS[:2]:
            return
        if operation.name == entry.operation and all(operation.arguments[k] == v for k, v in entry.arguments.items()):
            return  # it is of these values already
        lowering = TABLE.find(entry.operation)
        assert lowering is not None, entry.operation
        exact = self.values[name]
        exact.name = self.emitter.name + "/" + name
        arguments = {"x": TensorRef(name), **entry.arguments}
        rounding = NnefOperation(entry.operation, arguments, {"y": TensorRef(name)})
        with self.emitter.layer([operation.outputs[0]], hint=name):
            rounded = lowering(NnefNode(rounding, self.values, self.emitter, self.scalar), self.emitter)
        rounded.name = name
        self.values[name] = rounded


def _single(results: Any) -> Any:
    """A lowering of one result returns the value, or a list of one list for a result of array type."""
    if isinstance(results, list | tuple) and len(results) == 1:
        return results[0]
    return results


def _pairs(wanted: list[Any], values: Any) -> Iterator[tuple[TensorRef, ir.Value]]:
    for target, value in zip(wanted, values, strict=True):
        if isinstance(target, list):
            yield from _pairs(target, value)
        else:
            yield target, value


def as_hub_tensor(tensor: ir.TensorProtocol, dtype: str, name: str) -> ir.TensorProtocol:
    """The tensor in the hub's dtype: itself if it has it (and stays memory-mapped), else converted.

    Raises:
        WorkbenchError: a value would change.
    """
    if dtype_name(tensor.dtype) == dtype:
        return tensor
    array = tensor.numpy()
    converted = array.astype(dtype)
    if not np.array_equal(converted.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"):
        raise WorkbenchError(f"{name}: {array.dtype} values do not fit {dtype}")
    return ir.Tensor(converted, name=tensor.name)
