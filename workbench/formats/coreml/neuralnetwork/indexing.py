"""Gathering, scattering and triangles. Indices are floats that hold integers."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, floats, integers, network
from workbench.formats.coreml.tensors import bounded, like, rank_of
from workbench.formats.coreml.to_onnx.filling import band
from workbench.formats.coreml.to_onnx.indexing import MODES, scattered, spread_indices
from workbench.hub import Emitter
from workbench.lowering import Refused


@network.lowers("gather")
def gather(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The first input at the indices of the second, along ``axis``."""
    return emit.op("Gather", layer.x(0), integers(emit, layer.x(1)), axis=layer.integer("axis"))


@network.lowers("gatherND")
def gather_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Slices at the index tuples in the last dimension of the second input."""
    return emit.op("GatherND", layer.x(0), integers(emit, layer.x(1)))


@network.lowers("gatherAlongAxis")
def gather_along_axis(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``numpy.take_along_axis``"""
    return emit.op("GatherElements", layer.x(0), integers(emit, layer.x(1)), axis=layer.integer("axis"))


def _scatter(
    layer: NetworkLayer, emit: Emitter, updates: ir.Value, make: Callable[[ir.Value, ir.Value, str], ir.Value]
) -> ir.Value:
    mode = layer.choice("mode").removeprefix("SCATTER_").lower()
    if mode not in MODES:
        raise Refused(f"mode {mode!r} is not known")
    return scattered(emit, layer.x(0), updates, mode, make)


@network.lowers("scatter")
def scatter(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Inputs: data, indices, updates; along ``axis``."""
    axis = layer.integer("axis") % rank_of(layer.x(0))
    indices, updates = spread_indices(emit, rank_of(layer.x(0)), integers(emit, layer.x(1)), layer.x(2), axis)
    return _scatter(
        layer, emit, updates,
        lambda data, values, how: emit.op("ScatterElements", data, indices, values, axis=axis, reduction=how),
    )  # fmt: skip


@network.lowers("scatterAlongAxis")
def scatter_along_axis(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The inverse of ``gatherAlongAxis``, with a mode."""
    indices, axis = integers(emit, layer.x(1)), layer.integer("axis")
    return _scatter(
        layer, emit, layer.x(2),
        lambda data, values, how: emit.op("ScatterElements", data, indices, values, axis=axis, reduction=how),
    )  # fmt: skip


@network.lowers("scatterND")
def scatter_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The inverse of ``gatherND``, with a mode."""
    indices = integers(emit, layer.x(1))
    return _scatter(
        layer, emit, layer.x(2),
        lambda data, values, reduction: emit.op("ScatterND", data, indices, values, reduction=reduction),
    )  # fmt: skip


@network.lowers("whereNonZero")
def where_non_zero(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The index tuples of the elements that are not zero: [N, rank]."""
    return floats(emit, emit.op("Transpose", emit.op("NonZero", layer.x()), perm=[1, 0]))


@network.lowers("matrixBandPart")
def matrix_band_part(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Zeros outside ``numLower`` diagonals below and ``numUpper`` above the main one; -1 keeps a side whole."""
    return band(emit, layer.x(), layer.integer("numLower"), layer.integer("numUpper"))


@network.lowers("upperTriangular", "lowerTriangular")
def triangular(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Zeros below, or above, the diagonal number ``k``."""
    upper = int(layer.kind == "upperTriangular")
    return emit.op("Trilu", layer.x(), emit.const(layer.integer("k")), upper=upper)


@network.lowers("slidingWindows")
def sliding_windows(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """All windows along ``axis``, in a new dimension behind it."""
    x, size, step = layer.x(), bounded(layer.integer("windowSize"), "a window"), layer.integer("step", 1)
    axis = layer.integer("axis") % rank_of(x)
    length = emit.op("Squeeze", emit.op("Shape", x, start=axis, end=axis + 1))
    last = emit.op("Sub", length, emit.const(size - 1))
    starts = emit.op("Unsqueeze", emit.op("Range", emit.const(0), last, emit.const(step)), emit.const([1]))
    return emit.op("Gather", x, emit.op("Add", starts, emit.const(list(range(size)))), axis=axis)


@network.lowers("oneHot")
def one_hot(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``onValue`` where a new dimension's index is the element, ``offValue`` elsewhere; its size may be an input."""
    indices = integers(emit, layer.x())
    axis = layer.integer("axis") % (rank_of(indices) + 1)
    if len(layer.inputs) > 1:
        layer.ignore("oneHotVectorSize")
        size = emit.op("Reshape", integers(emit, layer.x(1)), emit.const([], "int64"))
        places = emit.op("Range", emit.const(0), size, emit.const(1))
    else:
        count = bounded(layer.integer("oneHotVectorSize"), "a one-hot vector")
        places = emit.const(list(range(count)), "int64")
    behind = list(range(1, rank_of(indices) + 1 - axis))
    places = emit.op("Unsqueeze", places, emit.const(behind)) if behind else places
    hit = emit.op("Equal", emit.op("Unsqueeze", indices, emit.const([axis])), places)
    on, off = (like(emit, layer.number(name), layer.x()) for name in ("onValue", "offValue"))
    return emit.op("Where", hit, on, off)
