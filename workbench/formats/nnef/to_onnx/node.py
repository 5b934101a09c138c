"""An NNEF operation as a ``to_onnx`` lowering sees it, and the table the lowerings register in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.formats.nnef.graph import NnefOperation, TensorRef
from workbench.hub import Emitter
from workbench.lowering import Refused, Table

Lowering = Callable[["NnefNode", Emitter], Any]
TABLE: Table[Lowering] = Table("nnef", "onnx")

INTEGER = "int64"
"""The hub's dtype of NNEF's ``integer``; ``logical`` is bool, ``scalar`` is a choice of the document."""


class NnefNode:
    """One operation with its tensors as hub values."""

    def __init__(self, operation: NnefOperation, values: Mapping[str, ir.Value], emitter: Emitter, scalar: str) -> None:
        self.operation = operation
        self.scalar = scalar
        self._values = values
        self._emitter = emitter

    @property
    def name(self) -> str:
        """Name of the operation."""
        return self.operation.name

    def dtype(self, kind: str | None) -> str:
        """numpy's name of ``scalar``, ``integer`` or ``logical``."""
        return {"integer": INTEGER, "logical": "bool"}.get(kind or "scalar", self.scalar)

    def with_arguments(self, **arguments: Any) -> NnefNode:
        """The node with further arguments."""
        operation = replace(self.operation, arguments={**self.operation.arguments, **arguments})
        return NnefNode(operation, self._values, self._emitter, self.scalar)

    def attr(self, name: str) -> Any:
        """An attribute's value."""
        return self.operation.arguments[name]

    def tensor(self, name: str) -> ir.Value:
        """A tensor argument; a number becomes a constant of rank 0."""
        return self._value(self.operation.arguments[name])

    def tensors(self, name: str) -> list[ir.Value]:
        """An argument that is an array of tensors."""
        return [self._value(item) for item in self.operation.arguments[name]]

    def number(self, name: str) -> bool | int | float | None:
        """The number that was given for a tensor, or the value of a constant tensor of one element; else ``None``."""
        argument = self.operation.arguments[name]
        if not isinstance(argument, TensorRef):
            return None if isinstance(argument, list | tuple | str) else argument
        known = self._emitter.known(self._values[argument.name]) if _is_small(self._values[argument.name]) else None
        return None if known is None or known.size != 1 else known.item()

    def _value(self, argument: Any) -> ir.Value:
        if isinstance(argument, TensorRef):
            return self._values[argument.name]
        kind = {bool: "bool", int: INTEGER}.get(type(argument), self.scalar)
        return self._emitter.const(np.asarray(argument), kind)


def _is_small(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) and dim == 1 for dim in value.shape)


def shape_of(value: ir.Value, begin: int = 0, end: int | None = None) -> tuple[int, ...]:
    """The static shape, or that of some axes; refused if a dimension of them is not known."""
    dims = None if value.shape is None else tuple(value.shape)[begin:end]
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        raise Refused(f"the shape of {value.name!r} is not fixed", "give the external a shape without 0")
    return tuple(int(dim) for dim in dims)  # type: ignore[arg-type]  # checked above


def filled(e: Emitter, shape: Sequence[int], value: float, dtype: str) -> ir.Value:
    """A constant of one value, if it is not larger than what is worth writing out."""
    limits.check("folded_elements", math.prod(shape), "elements of a constant that an operation stands for")
    return e.const(np.full(tuple(shape), value), dtype)


def rank_of(value: ir.Value) -> int:
    """The rank; refused if it is not known."""
    if value.shape is None:
        raise Refused(f"the rank of {value.name!r} is not known")
    return len(value.shape)


def reshape(e: Emitter, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """The value in another (static) shape; a parameter is reshaped at once and takes its name along."""
    array = e.known(value) if value.const_value is not None else None
    if array is not None and -1 not in shape and 0 not in shape:
        assert value.const_value is not None
        label = value.const_value.name
        data = ir.Tensor(array.reshape(tuple(shape)), name=label)
        moved = e.tensor(data, value.name)
        moved.name, value.name = value.name, moved.name
        data.name = label  # renaming a value has renamed its tensor
        return moved
    return e.op("Reshape", value, e.const(np.asarray(shape, np.int64)))


def with_rank(e: Emitter, value: ir.Value, rank: int) -> ir.Value:
    """Append axes of extent 1 (NNEF aligns on the left, ONNX on the right); rank 0 broadcasts as it is."""
    own = rank_of(value)
    if own in (0, rank):
        return value
    return e.op("Unsqueeze", value, e.const(np.arange(own, rank)))


def aligned(e: Emitter, *values: ir.Value) -> list[ir.Value]:
    """The values with their ranks made equal, so that ONNX broadcasts them as NNEF does."""
    rank = max(rank_of(value) for value in values)
    return [with_rank(e, value, rank) for value in values]


def scalar_const(node: NnefNode, e: Emitter, value: float) -> ir.Value:
    """A number in the document's scalar type."""
    return e.const(np.asarray(value), node.scalar)
