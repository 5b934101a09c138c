"""Quantised weights: between ``graph.quant`` with its tensor files, and constants that the hub holds as integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench.formats.nnef.graph import Value
from workbench.formats.nnef.quantization import Quantization
from workbench.hub.stored import Grid, Stored

OPERATION = "zero_point_linear_quantize"


def spread(value: Value, rank: int) -> NDArray[Any]:
    """A number of ``graph.quant``, or an array of them along the leading axes, in the rank of the tensor."""
    array = np.asarray(value)
    return array.reshape(*array.shape, *[1] * (rank - array.ndim)) if array.ndim <= rank else array


def stored(levels: ir.TensorProtocol, entry: Quantization, scalar: str, label: str) -> Stored | None:
    """A quantised variable as the hub's constant: levels of eight bits.

    Returns:
        ``None`` where the hub has no such constant (other operations, wider levels, rank 0).
    """
    array, given = levels.numpy(), entry.arguments
    if entry.operation != OPERATION or array.dtype.name not in ("int8", "uint8") or not array.ndim or not array.size:
        return None
    bounds, point, scale = np.iinfo(array.dtype), *(spread(given[name], array.ndim) for name in ("zero_point", "scale"))
    if scalar not in ("float32", "float16") or point.min() < bounds.min or point.max() > bounds.max:
        return None
    shape = np.broadcast_shapes(point.shape, scale.shape)
    if any(extent not in (1, size) for extent, size in zip(shape, array.shape, strict=True)):
        return None
    kind = f"{'u' if array.dtype.kind == 'u' else ''}int{given['bits']}"
    if given["bits"] not in (2, 4) or not _holds(kind, array):
        kind = array.dtype.name
    offset = np.broadcast_to(point, shape).astype(array.dtype) if point.any() else None
    made = Stored(Grid(array, kind, np.broadcast_to(scale, shape).astype(scalar), offset, scalar))
    made.name = label
    return made


def _holds(kind: str, array: NDArray[Any]) -> bool:
    bits = int(kind[-1])
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return bool(low <= array.min() and array.max() <= high)


def quantization_of(tensor: ir.TensorProtocol | None) -> Quantization | None:
    """What ``graph.quant`` says of a constant that is held as integers; ``None`` if it is not, or in blocks."""
    if not isinstance(tensor, Stored):
        return None
    grid = tensor.grid
    if any(count not in (1, size) for count, size in zip(grid.scale.shape, grid.data.shape, strict=True)):
        return None
    return linear(
        bits=int(grid.kind.rpartition("int")[2]),
        signed=not grid.kind.startswith("u"),
        scale=_leading(grid.scale),
        zero_point=0 if grid.offset is None else _leading(grid.offset),
    )


def _leading(array: NDArray[Any]) -> Any:
    """A number, or numbers along the axes up to the last that has several."""
    several = [axis for axis, extent in enumerate(array.shape) if extent > 1]
    kept = array.reshape(array.shape[: several[-1] + 1] if several else ())
    return _shortest(kept.tolist()) if kept.dtype.kind == "f" else kept.tolist()


def _shortest(value: Any) -> Any:
    """Numbers whose shortest text reads back as the same float32."""
    return [_shortest(item) for item in value] if isinstance(value, list) else float(str(np.float32(value)))


def reshaped(grid: Grid, shape: tuple[int, ...]) -> Grid:
    """The same levels, which share one scale, in another shape."""
    one = (1,) * len(shape)
    offset = None if grid.offset is None else grid.offset.reshape(one)
    return replace(grid, data=grid.data.reshape(shape), scale=grid.scale.reshape(one), offset=offset)


def linear(*, bits: int, signed: bool, scale: Any, zero_point: Any) -> Quantization:
    """Levels that all numbers of the bits are, which is how ONNX quantises too."""
    arguments = {"zero_point": zero_point, "scale": _shortest(scale), "bits": bits, "signed": signed}
    return Quantization(OPERATION, {**arguments, "symmetric": False})
