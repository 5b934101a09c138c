"""Compressed weights: the ``constexpr_*`` operators, computed when their result is first used.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS18.compression
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.errors import ModelError
from workbench.formats.coreml import blob
from workbench.lowering import Table

Array = np.ndarray[Any, Any]
Parameters = Mapping[str, Array]

Decompress = Callable[[Parameters], Sequence[Array]]


compressed: Table[Decompress] = Table("coreml", "onnx")
"""Operator → what computes its outputs from its parameters, all constants."""


def decompress(operator: str, parameters: Parameters, version: int) -> Sequence[Array]:
    """The outputs of a ``constexpr_*`` operation, as its definition of the iOS release ``version`` has them.

    Raises:
        ModelError: its parameters do not fit together, or the operator came later.
    """
    found = compressed.find(operator, version)
    if found is None:
        raise ModelError(f"{operator}: not an operator of iOS {version}.")
    try:
        return found(parameters)
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(
            f"{operator}: its parameters do not fit together ({type(error).__name__}: {error})."
        ) from error


@compressed.lowers("constexpr_affine_dequantize", since=16)
def affine_dequantize(given: Parameters) -> list[Array]:
    """``scale * (quantized_data - zero_point)``, both per element of ``axis``."""
    data, scale = given["quantized_data"], given["scale"]
    shape = [1] * data.ndim
    if scale.ndim or given["zero_point"].ndim:
        shape[int(given["axis"])] = -1
    offset = given["zero_point"].reshape(shape if given["zero_point"].ndim else ())
    result = (data.astype(np.float32) - offset.astype(np.float32)) * scale.astype(np.float32).reshape(
        shape if scale.ndim else ()
    )
    return [result.astype(scale.dtype)]


@compressed.lowers("constexpr_cast", since=16)
def cast(given: Parameters) -> list[Array]:
    """float16 stored, float32 meant."""
    return [given["source_val"].astype(np.float32)]


@compressed.lowers("constexpr_lut_to_dense", since=16)
def palette_16(given: Parameters) -> list[Array]:
    """Packed indices into one table."""
    indices, lut = given["indices"], given["lut"]
    shape = [int(size) for size in given["shape"]]
    bits = int(math.log2(lut.size))
    name = {1: "uint1", 2: "uint2", 4: "uint4", 6: "uint6"}.get(bits)
    count = math.prod(shape)
    return [lut[indices[:count] if name is None else blob.unpack(indices, name, count)].reshape(shape)]


@compressed.lowers("constexpr_lut_to_dense", since=18)
def palette_18(given: Parameters) -> list[Array]:
    """A table for each block, of numbers or of vectors."""
    return [_looked_up(given["indices"], given["lut"], given.get("vector_axis"))]


def _looked_up(indices: Array, lut: Array, vector_axis: Array | None) -> Array:
    """Indices [*d] into tables [*blocks, palettes, vector] → values, vectors laid along ``vector_axis``."""
    grid = np.indices(indices.shape, sparse=True)
    blocks = tuple(
        place // (size // count) for place, size, count in zip(grid, indices.shape, lut.shape[:-2], strict=True)
    )
    places = (*blocks, indices.astype(np.int64))
    found: Array = lut[places]
    if found.shape[-1] == 1:
        return np.asarray(found[..., 0])
    axis = int(vector_axis if vector_axis is not None else -1) % indices.ndim
    moved = np.moveaxis(found, -1, axis + 1)
    shape = list(indices.shape)
    shape[axis] *= found.shape[-1]
    return moved.reshape(shape)


@compressed.lowers("constexpr_sparse_to_dense", since=16)
def sparse_16(given: Parameters) -> list[Array]:
    """The elements whose bit is set in a packed mask, in order; zero elsewhere."""
    shape = [int(size) for size in given["shape"]]
    return [_spread(given["nonzero_data"], blob.unpack(given["mask"], "uint1", math.prod(shape)).reshape(shape))]


@compressed.lowers("constexpr_sparse_to_dense", since=18)
def sparse_18(given: Parameters) -> list[Array]:
    """The elements whose mask is set, in order; zero elsewhere."""
    return [_spread(given["nonzero_data"], given["mask"])]


def _spread(data: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, dtype=data.dtype)
    dense[mask != 0] = data.reshape(-1)
    return dense


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """``scale * (data - offset)``, each scale for a block of elements; calculated in the dtype of the scale."""
    if data.ndim != scale.ndim or any(size % count for size, count in zip(data.shape, scale.shape, strict=True)):
        raise ValueError(f"scales of shape {scale.shape} for data of shape {data.shape}")

    def repeated(array: Array) -> Array:
        for axis, (size, count) in enumerate(zip(data.shape, scale.shape, strict=True)):
            array = np.repeat(array, size // count, axis=axis)
        return array

    values = data.astype(scale.dtype)
    if offset is not None:
        values = values - repeated(offset).astype(scale.dtype)
    return np.asarray(repeated(scale) * values, dtype=scale.dtype)


@compressed.lowers("constexpr_blockwise_shift_scale", since=18)
def blockwise(given: Parameters) -> list[Array]:
    """``scale * (data - offset)``, a scale for each block."""
    return [_shift_scale(given["data"], given["scale"], given.get("offset"))]


@compressed.lowers("constexpr_sparse_blockwise_shift_scale", since=18)
def sparse_blockwise(given: Parameters) -> list[Array]:
    """Outputs: the mask, and the scaled elements."""
    mask = given["data_mask"]
    dense = _shift_scale(_spread(given["nonzero_data"], mask), given["scale"], given.get("offset"))
    return [mask, dense[mask != 0]]


@compressed.lowers("constexpr_lut_to_sparse", since=18)
def lut_to_sparse(given: Parameters) -> list[Array]:
    """Outputs: the mask, spread where the table holds vectors, and the looked-up elements."""
    mask, lut, axis = given["indices_mask"], given["lut"], given.get("vector_axis")
    dense = _looked_up(_spread(given["indices_nonzero_data"], mask), lut, axis)
    if lut.shape[-1] > 1:
        mask = np.repeat(mask, lut.shape[-1], axis=int(axis if axis is not None else -1))
    return [mask, dense[mask != 0]]
