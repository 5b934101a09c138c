"""Shapes of values of a program under construction, whether their sizes are fixed or open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.from_onnx.carrier import check_filled, held_shape
from workbench.formats.coreml.from_onnx.dimensions import Dimensions
from workbench.hub.sizes import Size, is_open, same_shape
from workbench.lowering import Refused

Var = Any


class Shaping(ABC):
    """What a program target does with shapes."""

    dimensions: Dimensions
    """What is known of open sizes."""

    _hint: str

    @abstractmethod
    def op(self, operator: str, **arguments: Any) -> Any:
        """Emit one operation."""

    @abstractmethod
    def const(self, array: Any, name: str = "const") -> Var:
        """A constant of an array."""

    @abstractmethod
    def scalar(self, number: float, like: Var) -> Any:
        """The number in the dtype of ``like``."""

    @abstractmethod
    def kind(self, var: Var) -> str:
        """MIL's name of the value's dtype."""

    @abstractmethod
    def cast(self, var: Var, kind: str) -> Var:
        """The value in another dtype."""

    def shape(self, var: Var) -> tuple[int, ...]:
        """The value's shape, numbers and open sizes (which behave as numbers do, or refuse)."""
        return self.dimensions.shape(var)

    def reshape(self, var: Var, shape: Iterable[int]) -> Var:
        """The value in another shape; itself if it has that already."""
        sizes = held_shape(tuple(size if isinstance(size, Size) else int(size) for size in shape))
        check_filled(self._hint, sizes)
        if same_shape(self.shape(var), sizes):
            return var
        if is_open(sizes):
            return self._reshaped(var, sizes)
        if not sizes:
            return self.op("squeeze", x=self.reshape(var, (1,)))
        if not var.shape:  # reshape takes no scalar
            return self.reshape(self.op("expand_dims", x=var, axes=[0]), sizes)
        if max(sizes) > np.iinfo(np.int32).max:
            raise Refused(f"the size {max(sizes):,} is beyond 32 bits, which is all that Core ML has")
        return self.op("reshape", x=var, shape=np.asarray(sizes, dtype=np.int32))

    def _reshaped(self, var: Var, sizes: Sequence[int]) -> Var:
        """The value in a shape with open sizes; one of them follows from the others."""
        if not var.shape:
            return self._reshaped(self.op("expand_dims", x=var, axes=[0]), sizes)
        opened = [axis for axis, size in enumerate(sizes) if isinstance(size, Size)]
        rest = max(opened, key=lambda axis: len(str(sizes[axis])))
        wanted = [-1 if axis == rest else size for axis, size in enumerate(sizes)]
        found = self.op("reshape", x=var, shape=self.dimensions.vector(wanted))
        return self.dimensions.typed(found, sizes)

    def transpose(self, var: Var, perm: Sequence[int]) -> Var:
        """The value with its dimensions permuted; itself if that changes nothing."""
        order = [int(axis) for axis in perm]
        return var if order == list(range(len(order))) else self.op("transpose", x=var, perm=order)

    def select(self, condition: Var, chosen: Any, other: Any, shape: Sequence[int]) -> Var:
        """``chosen`` where the condition holds, else ``other``, in the shape that the three broadcast to.

        coremltools infers the result's shape from the two alone, so one of them is given the whole of it.
        """
        sizes = tuple(shape)
        for value in (chosen, other):
            if same_shape(self._own_shape(value), sizes):
                return self.op("select", cond=condition, a=chosen, b=other)
        return self.op("select", cond=condition, a=self.broadcast(chosen, sizes), b=other)

    def broadcast(self, value: Any, shape: Sequence[int]) -> Var:
        """The value, or number, repeated along its axes of size 1 until it has the shape; itself if it has it."""
        own = self._own_shape(value)
        constant = getattr(value, "val", value)
        if same_shape(own, shape):
            return value
        if is_open((*own, *shape)):
            return self._repeated(value, shape)
        if constant is not None:
            return self.const(np.broadcast_to(np.asarray(constant), tuple(shape)), f"{self._hint}_broadcast")
        aligned = (1,) * (len(shape) - len(own)) + own
        repeats = [size // old for size, old in zip(shape, aligned, strict=True)]
        found = self.reshape(value, aligned)
        return self.op("tile", x=found, reps=np.asarray(repeats, np.int32)) if max(repeats) > 1 else found

    def _own_shape(self, value: Any) -> tuple[int, ...]:
        return self.shape(value) if isinstance(value, toolkit.mil().Var) else tuple(getattr(value, "shape", ()))

    def _repeated(self, value: Any, shape: Sequence[int]) -> Var:
        """The value repeated to a shape with open sizes, whichever of its axes are 1: by a product with ones."""
        var = value if isinstance(value, toolkit.mil().Var) else self.const(value, f"{self._hint}_number")
        kind = self.kind(var)
        number = self.cast(var, "int32") if kind == "bool" else var
        found = self.op("mul", x=number, y=self.filled(shape, self.scalar(1, number)))
        return self.cast(self.dimensions.typed(found, shape), kind)

    def counted(self, size: int, shape: Sequence[int] | None = None) -> Var:
        """0, 1, 2, … up to before the size, which may be open; in a shape other than a row if one is given."""
        if not isinstance(size, Size):
            return self.const(np.arange(size, dtype=np.int32).reshape(shape or (size,)), "positions")
        end = self.dimensions.scalar(size)
        row = self.dimensions.typed(self.op("range_1d", start=np.int32(0), end=end, step=np.int32(1)), (size,))
        return self.reshape(row, shape or (size,))

    def filled(self, shape: Sequence[int], number: Any) -> Var:
        """A tensor of the shape, which may have open sizes, whose elements all are the number."""
        return self.dimensions.typed(self.op("fill", shape=self.dimensions.vector(shape), value=number), shape)
