"""Constants that are held as few bits: integers in blocks that share a scale, and what they mean.

A specialisation computes what follows from constants. Of quantised weights the result is a float array several times
their size; what is known of it is kept instead (:class:`Stored`), through the operators that exporters write quantised
weights with: ``DequantizeLinear``, or ``Cast``, ``Sub`` and ``Mul``, and those that move elements. To everybody who
asks for the array, a stored constant is a constant like any other; a writer whose format has such constants writes it
as it is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.values import constant_of, dtype_name, dtype_named

Array = np.ndarray[Any, Any]

SMALLEST = 256
"""Constants of fewer elements are computed: nothing is to be gained by holding them otherwise."""

_SHARED = 8
"""Elements that share a scale, on average, at least; else the scales take the room that the integers save."""

_KINDS = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255)}
"""What may be held so, and its range."""


@dataclass(frozen=True, eq=False)
class Grid:
    """``(data − offset) · scale``, computed in float32 and rounded to ``dtype``: the very bits of DequantizeLinear.

    Attributes:
        data: the integers, int8 or uint8; any rank but 0.
        kind: how many bits they need and whether they are signed: ``int4``, ``uint8``, ….
        scale: in ``dtype``, of the data's rank; each of its sizes divides the data's: so long is a block.
        offset: integers in the form of the scale; ``None`` for zeros.
        dtype: ``float32`` or ``float16``.
        layers: the source layers that the constant was computed by.
    """

    data: Array
    kind: str
    scale: Array
    offset: Array | None
    dtype: str
    layers: tuple[str, ...] = ()

    def array(self) -> Array:
        """The values as ``dtype``."""
        blocked = [(count, size // count) for size, count in zip(self.data.shape, self.scale.shape, strict=True)]
        whole = tuple(itertools.chain.from_iterable(blocked))
        shared = tuple(itertools.chain.from_iterable((count, 1) for count, _ in blocked))
        values = self.data.reshape(whole).astype(np.float32)
        if self.offset is not None:
            values -= self.offset.reshape(shared).astype(np.float32)
        values *= self.scale.reshape(shared).astype(np.float32)
        with np.errstate(over="ignore"):  # beyond float16: infinite, as the operator has it
            found: Array = values.reshape(self.data.shape).astype(self.dtype, copy=False)
        return found

    def transposed(self, perm: Sequence[int] | None = None) -> Grid:
        """The grid with its axes in another order; reversed by default."""
        data, scale = np.ascontiguousarray(self.data.transpose(perm)), self.scale.transpose(perm)
        return replace(
            self, data=data, scale=scale, offset=None if self.offset is None else self.offset.transpose(perm)
        )


class Stored(ir.LazyTensor):
    """An onnx-ir tensor of a :class:`Grid`; its array is computed each time that it is asked for."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(
            lambda: ir.tensor(grid.array()), dtype=dtype_named(grid.dtype), shape=ir.Shape(grid.data.shape)
        )
        self.grid = grid


def stored_of(value: ir.Value | None) -> Grid | None:
    """How the constant is held, if as integers; ``None`` for every other value."""
    if value is None or value.is_graph_input() or not isinstance(value.const_value, Stored):
        return None
    return value.const_value.grid


def grid_of(
    data: Array, scale: Array, offset: Array | None, axis: int = 0, block: int = 0, kind: str = ""
) -> Grid | None:
    """The grid of a DequantizeLinear: one scale, one for each place of the axis, or one for each block along it.

    Args:
        data: integers, of a dtype that numpy or ml_dtypes has.
        block: the length of a block; 0 for none.
        kind: of the data, if it needs fewer bits than its dtype has.

    Returns:
        ``None`` where the constant is not worth it or has no such form.
    """
    kind, dtype, rank = kind or data.dtype.name, scale.dtype.name, data.ndim
    if kind not in _KINDS or dtype not in ("float32", "float16") or data.size < SMALLEST:
        return None
    sizes = scale.shape if block else [1] * rank
    if not block and scale.size > 1:
        sizes = [data.shape[place] if place == axis % rank else 1 for place in range(rank)]
    fits = len(sizes) == rank and all(size % count == 0 for size, count in zip(data.shape, sizes, strict=True))
    if not fits or int(np.prod(sizes)) != scale.size or scale.size * _SHARED > data.size:
        return None
    if block and data.shape[axis % rank] != sizes[axis % rank] * block:
        return None
    held = np.int8 if kind.startswith("i") else np.uint8
    points = None if offset is None or not offset.any() else offset.astype(held).reshape(sizes)
    return Grid(data.astype(held, copy=False), kind, scale.reshape(sizes), points, dtype)


# -- what nodes make of them ----------------------------------------------------------------------------------------

_Keeper = Callable[[ir.Node, Sequence[ir.Value | None]], "Grid | None"]


def kept(node: ir.Node) -> Grid | None:
    """What the node makes of constants, held as integers; ``None`` where it has to be computed."""
    keeper = None if node.domain else _KEEPERS.get(node.op_type)
    if keeper is None or len(node.outputs) != 1:
        return None
    return keeper(node, node.inputs)


def _dequantized(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    first, second, third = (*inputs, None)[:3]
    if first is None or second is None or node.outputs[0].dtype is not second.dtype:
        return None
    if dtype_name(first.dtype) not in _KINDS or not all(map(_is_constant, filter(None, (first, second, third)))):
        return None
    data, scale, offset = constant_of(first), constant_of(second), constant_of(third)
    if data is None or scale is None or not data.ndim:
        return None
    return grid_of(data, scale, offset, _integer(node, "axis", 1), _integer(node, "block_size", 0))


def _cast(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    """Integers become floats: a scale of one, until a Mul says another."""
    made = dtype_name(node.outputs[0].dtype)
    if inputs[0] is None or dtype_name(inputs[0].dtype) not in _KINDS or made not in ("float32", "float16"):
        return None
    data = constant_of(inputs[0])
    return None if data is None or not data.ndim else grid_of(data, np.ones(1, made), None)


def _shifted(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    """A zero point of the integers' own range is subtracted from what is not scaled yet."""
    grid, other = stored_of(inputs[0]), constant_of(inputs[1])
    if grid is None or other is None or grid.offset is not None or not (grid.scale == 1).all():
        return None
    low, high = _KINDS[grid.kind]
    sizes = _fitted(grid, other)
    if sizes is None or not ((other >= low) & (other <= high) & (other == np.rint(other))).all():
        return None
    points = other.reshape(sizes).astype(grid.data.dtype)
    return replace(grid, offset=points, scale=np.ones(sizes, grid.dtype))


def _scaled(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    """A scale for what has none yet (a second one would round a second time)."""
    for one, two in (inputs, reversed(inputs)):
        grid = stored_of(one)
        other = None if grid is None or stored_of(two) is not None else constant_of(two)
        sizes = None if grid is None or other is None else _fitted(grid, other)
        if grid is None or other is None or sizes is None or not (grid.scale == 1).all():
            continue
        scale = other.reshape(sizes)
        if grid.offset is None:
            return replace(grid, scale=scale)
        shape = np.broadcast_shapes(scale.shape, grid.offset.shape)
        if all(size % count == 0 for size, count in zip(grid.data.shape, shape, strict=True)):
            return replace(
                grid, scale=np.broadcast_to(scale, shape).copy(), offset=np.broadcast_to(grid.offset, shape).copy()
            )
    return None


def _fitted(grid: Grid, other: Array) -> tuple[int, ...] | None:
    """The shape of numbers that broadcast against the data, if few enough of them are shared by all the data."""
    rank = grid.data.ndim
    if other.ndim > rank or other.dtype.name != grid.dtype or other.size * _SHARED > grid.data.size:
        return None
    sizes = (1,) * (rank - other.ndim) + other.shape
    fits = all(count in (1, size) for count, size in zip(sizes, grid.data.shape, strict=True))
    return sizes if fits else None


def _transposed(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    grid = stored_of(inputs[0])
    if grid is None:
        return None
    perm = node.attributes.get("perm")
    return grid.transposed(None if perm is None else perm.as_ints())


def _reshaped(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Grid | None:
    """Another shape: any where all share one scale; else one that differs in axes of size 1 only."""
    grid, shape = stored_of(inputs[0]), node.outputs[0].shape
    if grid is None or shape is None or not shape.is_static() or not len(shape):
        return None
    sizes = [int(size) for size in shape.numpy()]
    if grid.scale.size == 1:
        counts = [1] * len(sizes)
    elif [size for size in sizes if size != 1] == [size for size in grid.data.shape if size != 1]:
        left = iter(count for count, size in zip(grid.scale.shape, grid.data.shape, strict=True) if size != 1)
        counts = [1 if size == 1 else next(left) for size in sizes]
    else:
        return None
    offset = None if grid.offset is None else grid.offset.reshape(counts)
    return replace(grid, data=grid.data.reshape(sizes), scale=grid.scale.reshape(counts), offset=offset)


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _is_constant(value: ir.Value) -> bool:
    """Whether there is an array; an omitted input without a name has none, and does not need one."""
    return not value.name or (value.const_value is not None and not value.is_graph_input())


_KEEPERS: dict[str, _Keeper] = {
    "Cast": _cast,
    "DequantizeLinear": _dequantized,
    "Flatten": _reshaped,
    "Identity": lambda node, inputs: stored_of(inputs[0]),
    "Mul": _scaled,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Sub": _shifted,
    "Transpose": _transposed,
    "Unsqueeze": _reshaped,
}
