"""An operation of the tract dialect as a lowering sees it: dtypes are those of its tensors, sizes may be symbolic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.graph import NnefOperation, TensorRef, references
from workbench.formats.nnef.to_onnx.node import INTEGER, NnefNode
from workbench.formats.nnef.to_onnx.node import TABLE as STANDARD
from workbench.formats.nnef.tract.declarations import DATUM_TYPES
from workbench.formats.nnef.tract.extents import Computed, Symbol, is_symbolic
from workbench.formats.nnef.tract.table import Overlay
from workbench.hub import Emitter, dtype_name, dtype_named
from workbench.lowering import Refused

Lowering = Callable[[Any, Emitter], Any]
TABLE: Overlay[Lowering] = Overlay(STANDARD)

_OPERATORS = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div"}


class TractNode(NnefNode):
    """See :class:`NnefNode`. ``scalar`` is the dtype of the operation's first tensor where that is of floats.

    Args:
        extents: symbol → its size, a tensor of rank 0.
    """

    def __init__(
        self,
        operation: NnefOperation,
        values: Mapping[str, ir.Value],
        emitter: Emitter,
        extents: Callable[[str], ir.Value],
    ) -> None:
        self.first = _first_dtype(operation, values)
        super().__init__(operation, values, emitter, self.first if self.first.startswith("float") else "float32")
        self._extents = extents

    def with_arguments(self, **arguments: Any) -> TractNode:
        made = super().with_arguments(**arguments)
        return TractNode(made.operation, self._values, self._emitter, self._extents)

    def attr(self, name: str) -> Any:
        """An attribute's value; refused if it depends on a symbol, or on a tensor that is not known."""
        value = self.operation.arguments[name]
        if is_symbolic(value):
            raise Refused(f"{name!r} depends on a symbol, and {self.name} is read with known sizes only")
        if isinstance(value, TensorRef) or (isinstance(value, list) and any(references(value))):
            return self._known(name, value)
        return value

    def _known(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._known(name, item) if isinstance(item, TensorRef) else item for item in value]
        array = self._emitter.known(self._values[value.name])
        if array is None:
            raise Refused(f"{name!r} is computed by {value.name!r}, {self.name} is read with known values only")
        return array.tolist()

    def given(self, name: str) -> bool:
        """Whether an optional tensor is there (``false`` stands for none)."""
        return self.operation.arguments[name] is not False

    def sizes(self, name: str) -> list[int] | ir.Value:
        """A list of sizes: numbers where all are known, else a tensor of them."""
        value = self.operation.arguments[name]
        if not is_symbolic(value) and not any(references(value)):
            return list(value)
        if isinstance(value, TensorRef):
            tensor = self._values[value.name]
            array = self._emitter.known(tensor)
            return [int(item) for item in array.reshape(-1)] if array is not None else self.as_integers(tensor)
        e = self._emitter
        rows = [e.op("Reshape", self.size(item), e.const([-1])) for item in value]
        joined = e.op("Concat", *rows, axis=0) if rows else e.const(np.zeros(0, np.int64))
        array = e.known(joined)
        return joined if array is None else [int(item) for item in array]

    def size(self, value: Any) -> ir.Value:
        """One size as an int64 tensor."""
        e = self._emitter
        if isinstance(value, Symbol):
            return self._extents(value.name)
        if isinstance(value, Computed):
            return e.op(_OPERATORS[value.operator], self.size(value.left), self.size(value.right))
        if isinstance(value, TensorRef):
            return self.as_integers(self._values[value.name])
        return e.const(np.asarray(value), INTEGER)

    def as_integers(self, value: ir.Value) -> ir.Value:
        """The tensor as int64."""
        return cast(self._emitter, value, INTEGER)

    def _value(self, argument: Any) -> ir.Value:
        if isinstance(argument, TensorRef):
            return self._values[argument.name]
        if isinstance(argument, list):
            return self.sizes_of(argument)
        if is_symbolic(argument):
            return self.size(argument)
        if isinstance(argument, bool):
            return self._emitter.const(np.asarray(argument), "bool")
        if isinstance(argument, int) and not self.first.startswith("float"):
            return self._emitter.const(np.asarray(argument), self.first if "int" in self.first else INTEGER)
        return self._emitter.const(np.asarray(argument), self.scalar)

    def sizes_of(self, items: Sequence[Any]) -> ir.Value:
        """A list that stands for a tensor, a list of lists for one of a higher rank."""
        e = self._emitter
        if not any(references(list(items))) and not is_symbolic(items):
            array = np.asarray(items)
            return e.const(array, {"f": "float32", "b": "bool"}.get(array.dtype.kind, INTEGER))
        return e.op("Concat", *(e.op("Reshape", self.size(item), e.const([-1])) for item in items), axis=0)


def _first_dtype(operation: NnefOperation, values: Mapping[str, ir.Value]) -> str:
    for ref in (ref for value in operation.arguments.values() for ref in references(value)):
        if ref.name in values and values[ref.name].dtype is not None:
            return dtype_name(values[ref.name].dtype)
    return ""


def cast(e: Emitter, value: ir.Value, dtype: str) -> ir.Value:
    """The value in a dtype (numpy's name)."""
    if value.dtype is not None and dtype_name(value.dtype) == dtype:
        return value
    return e.op("Cast", value, to=int(dtype_named(dtype).value))


def datum_type(text: str) -> str:
    """numpy's name of tract's dtype. Refused if it has none."""
    if text.lower() not in DATUM_TYPES:
        raise Refused(f"tract's dtype {text!r} has no counterpart")
    return DATUM_TYPES[text.lower()]


def dtype_of(value: ir.Value) -> str:
    """numpy's name of the value's dtype."""
    return dtype_name(value.dtype)
