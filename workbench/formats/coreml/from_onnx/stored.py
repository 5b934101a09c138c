"""Constants held as integers, written as the ``constexpr_*`` operators that have just this arithmetic.

iOS16 and iOS17 have ``constexpr_affine_dequantize``: bytes, with one scale or one for each place of an axis. iOS18 has
``constexpr_blockwise_shift_scale``: bytes and half bytes, with a scale for each block.
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.formats.coreml.from_onnx.carrier import MAX_RANK
from workbench.hub import Grid

IOS16, IOS18 = 7, 9
"""Specification versions."""

Emit = Callable[..., Any]
"""Operator and arguments → the program's value."""


def written(grid: Grid, specification: int, emit: Emit) -> Any:
    """The constant as the operator that keeps it as it is held; ``None`` where the target has none."""
    if grid.data.ndim > MAX_RANK:
        return None
    if specification >= IOS18:
        return _blockwise(grid, emit)
    return _affine(grid, emit) if specification >= IOS16 else None


def _blockwise(grid: Grid, emit: Emit) -> Any:
    """Two bits are held as four, the fewest that Core ML packs."""
    types = toolkit.mil().types
    wide = {"int2": "int4", "uint2": "uint4"}.get(grid.kind, grid.kind)
    kind = {"int4": types.np_int4_dtype, "uint4": types.np_uint4_dtype}.get(wide, np.dtype(grid.data.dtype))
    offset = {} if grid.offset is None else {"offset": np.ascontiguousarray(grid.offset).astype(kind)}
    return emit(
        "constexpr_blockwise_shift_scale",
        data=grid.data.astype(kind),
        scale=np.ascontiguousarray(grid.scale),
        **offset,
    )


def _affine(grid: Grid, emit: Emit) -> Any:
    shape = grid.data.shape
    varied = [axis for axis, count in enumerate(grid.scale.shape) if count > 1]
    if len(varied) > 1 or any(grid.scale.shape[axis] != shape[axis] for axis in varied):
        return None
    zeros = np.zeros(grid.scale.shape, grid.data.dtype) if grid.offset is None else grid.offset
    scale, points = (array.reshape(-1) if varied else array.reshape(-1)[0] for array in (grid.scale, zeros))
    axis = np.int32(varied[0] if varied else 0)
    return emit("constexpr_affine_dequantize", quantized_data=grid.data, zero_point=points, scale=scale, axis=axis)
