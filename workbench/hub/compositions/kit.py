"""What compositions share: operators on values and numbers alike, static shapes, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.hub.values import dtype_name, dtype_named
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]
Item = ir.Value | Array | float | Sequence[int] | None


class Kit:
    """Emits operators whose inputs may be numbers: ``k("Add", x, 1)``.

    A number becomes a scalar of the dtype of the last input that has one, a list of integers a vector of int64, an
    array stays as it is.
    """

    def __init__(self, emit: Emitter) -> None:
        self.emit = emit

    def __call__(self, operator: str, *inputs: Item, domain: str = "", **attributes: Any) -> ir.Value:
        """Emit a node with one output."""
        return self.emit.op(operator, *self.values(inputs), domain=domain, **attributes)

    def values(self, inputs: Sequence[Item]) -> list[ir.Value | None]:
        """The inputs, with constants in the place of numbers, lists and arrays."""
        known = [item for item in inputs if isinstance(item, ir.Value | np.ndarray)]
        like = "float32"
        if known:
            like = dtype_name(known[-1].dtype) if isinstance(known[-1], ir.Value) else known[-1].dtype.name
        return [item if item is None or isinstance(item, ir.Value) else self._constant(item, like) for item in inputs]

    def _constant(self, item: Any, like: str) -> ir.Value:
        if isinstance(item, np.ndarray | np.generic):
            return self.emit.const(item)
        return self.emit.const(item, like) if np.isscalar(item) else self.emit.const(list(item), "int64")

    def cast(self, x: ir.Value, dtype: str) -> ir.Value:
        """The value in the dtype (numpy's name); itself if it has it."""
        return x if dtype_name(x.dtype) == dtype else self("Cast", x, to=dtype_named(dtype).value)

    def reshape(self, x: ir.Value, shape: Sequence[int]) -> ir.Value:
        """The value in another shape; itself if it has it."""
        return x if dims(x) == tuple(shape) else self("Reshape", x, list(shape))

    def transpose(self, x: ir.Value, perm: Sequence[int]) -> ir.Value:
        """The value with its dimensions permuted."""
        return x if list(perm) == list(range(len(perm))) else self("Transpose", x, perm=list(perm))

    def moved(self, x: ir.Value, source: int, place: int) -> ir.Value:
        """The value with one axis moved to another place, the others in their order."""
        order = [axis for axis in range(len(dims(x))) if axis != source]
        order.insert(place, source)
        return self.transpose(x, order)

    def take(self, x: ir.Value, axis: int, start: int, end: int) -> ir.Value:
        """The elements from ``start`` up to ``end`` of an axis."""
        return self("Slice", x, [start], [end], [axis])

    def sum(self, parts: Sequence[ir.Value]) -> ir.Value:
        """The sum of the parts, from the left."""
        total = parts[0]
        for part in parts[1:]:
            total = self("Add", total, part)
        return total


def dims(value: ir.Value) -> tuple[int, ...]:
    """The value's static shape.

    Raises:
        Refused: a dimension is only known at run time.
    """
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        raise Refused(f"the shape of {value.name!r} depends on values at run time", "fix the input sizes")
    return tuple(int(dim) for dim in value.shape)  # type: ignore[arg-type]  # checked above


def dtype(value: ir.Value) -> str:
    """numpy's name of the value's dtype."""
    return dtype_name(value.dtype)


def integer(node: HubNode, name: str, default: int) -> int:
    """An integer attribute of an operator whose schema onnx does not have."""
    return node.attr_int(name) if node.has(name) else default


def number(node: HubNode, name: str, default: float) -> float:
    """A float attribute of an operator whose schema onnx does not have."""
    return node.attr_float(name) if node.has(name) else default


def passed_on(node: HubNode, *but: str) -> dict[str, Any]:
    """The node's attributes for an operator that has the same ones, except those named."""
    kept = {name: attribute for name, attribute in node.node.attributes.items() if name not in but}
    node.ignore(*kept)
    return kept


def wanted(node: HubNode, index: int) -> bool:
    """Whether something may read the node's output of this index."""
    return index < len(node.outputs) and bool(node.outputs[index].name)
