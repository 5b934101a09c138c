"""Weights of few bits in blocks that share a scale: they are taken apart here, once and for all, and stay held so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Array, Kit, dtype, integer
from workbench.hub.compositions.table import CONTRIB, composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.hub.stored import Stored, grid_of
from workbench.lowering import Refused


@composes("MatMulNBits", domain=CONTRIB)
def matmulnbits(node: HubNode, emit: Emitter) -> Any:
    """A @ Bᵀ with B [N, K] stored in blocks along K, the lowest bits first."""
    k, x = Kit(emit), node.value(0)
    node.ignore("accuracy_level", "weight_prepacked")  # how precisely onnxruntime computes at least; how it stores
    if node.input(4) is not None:
        raise Refused("its weights are reordered by 'g_idx'")
    rows, columns = node.attr_int("N"), node.attr_int("K")
    bits, size = integer(node, "bits", 4), node.attr_int("block_size")
    blocks = -(-columns // size)
    data = _fields(node.require_constant(1).reshape(rows, blocks, -1), bits)[..., :size].reshape(rows, -1)
    scale = node.require_constant(2).reshape(rows, blocks)
    weights = _constant(emit, data[:, :columns], scale, _points(node, (rows, blocks), bits), bits, size, dtype(x))
    made = k("MatMul", x, k("Transpose", weights, perm=[1, 0]))
    return made if node.input(5) is None else k("Add", made, node.value(5))


@composes("GatherBlockQuantized", domain=CONTRIB)
def gatherblockquantized(node: HubNode, emit: Emitter) -> Any:
    """Gather of what is stored in blocks along an axis; bytes hold several numbers, the lowest bits first."""
    data, scale = node.require_constant(0), node.require_constant(2)
    bits, size = integer(node, "bits", 4), integer(node, "block_size", 128)
    packed = data.dtype == np.uint8
    if packed:
        data = _fields(data, bits)
    axis = integer(node, "quantize_axis", 1) % data.ndim
    if packed:
        points = _points(node, scale.shape, bits)
    else:
        bits = 4
        given = node.constant(3) if node.input(3) is None else node.require_constant(3)
        points = np.zeros(scale.shape, np.float32) if given is None else given.astype(np.float32)
    weights = _constant(emit, data, scale, points, bits, size, scale.dtype.name, axis)
    return emit.op("Gather", weights, node.value(1), axis=integer(node, "gather_axis", 0))


def _points(node: HubNode, shape: Sequence[int], bits: int) -> Array:
    """The zero points, the input 3, in float32: the middle of the range where they are omitted."""
    if node.input(3) is None:
        return np.full(shape, 2.0 ** (bits - 1), np.float32)
    given = node.require_constant(3)
    if given.dtype == np.uint8:
        given = _fields(given.reshape(*shape[:-1], -1), bits)[..., : shape[-1]]
    return given.reshape(shape).astype(np.float32)


def _constant(
    emit: Emitter, data: Array, scale: Array, points: Array, bits: int, size: int, kind: str, axis: int = 1
) -> ir.Value:
    """(data − points) · scale in the dtype ``kind``, a scale for each block along the axis; held as it is, or computed.

    Zero points that are all in the middle are taken off beforehand: then the integers are signed.
    """
    middle = 2 ** (bits - 1)
    if data.dtype == np.uint8 and (points == middle).all():
        data, points = (data.astype(np.int16) - middle).astype(np.int8), np.zeros_like(points)
    signed = data.dtype.name.startswith("int")
    low = -middle if signed else 0
    if scale.dtype.name == kind and ((points == np.rint(points)) & (points >= low) & (points < low + 2**bits)).all():
        grid = grid_of(data, scale, points, axis, size, f"{'' if signed else 'u'}int{bits}")
        if grid is not None:
            return emit.tensor(Stored(replace(grid, layers=emit.layers)))
    whole = [
        np.repeat(array.astype(np.float32), size, axis).take(range(data.shape[axis]), axis) for array in (points, scale)
    ]
    return emit.const(((data.astype(np.float32) - whole[0]) * whole[1]).astype(kind))


def _fields(packed: Array, bits: int) -> Array:
    """The last dimension's bytes taken apart."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields: Array = (packed.astype(np.uint8)[..., None] >> shifts) & np.uint8(2**bits - 1)
    return fields.reshape(*packed.shape[:-1], -1)
