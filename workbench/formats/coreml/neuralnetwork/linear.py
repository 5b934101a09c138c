"""Products of matrices, and look-up of rows."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, integers, network
from workbench.formats.coreml.tensors import rank_of
from workbench.formats.coreml.to_onnx.linear import swapped
from workbench.hub import Emitter
from workbench.lowering import Refused


def _with_bias(emit: Emitter, value: ir.Value, bias: ir.Value | None) -> ir.Value:
    return value if bias is None else emit.op("Add", value, bias)


@network.lowers("innerProduct")
def inner_product(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``W x + b`` over the last dimension, from rank 4 on over the last three: [*, C, H, W] → [*, C_out, 1, 1]."""
    if layer.flag("int8DynamicQuantize"):
        raise Refused("int8DynamicQuantize: how the input is quantised is not specified")
    x, inputs, outputs = layer.x(), layer.integer("inputChannels"), layer.integer("outputChannels")
    weights = emit.op("Transpose", layer.weights(emit, "weights", [outputs, inputs]), perm=[1, 0])
    bias = layer.optional_bias(emit, outputs)
    if rank_of(x) < 4:
        return _with_bias(emit, emit.op("MatMul", x, weights), bias)
    outer = emit.op("Shape", x, start=0, end=-3)
    flat = emit.op("Reshape", x, emit.op("Concat", outer, emit.const([inputs]), axis=0))
    result = _with_bias(emit, emit.op("MatMul", flat, weights), bias)
    return emit.op("Unsqueeze", result, emit.const([-2, -1]))


@network.lowers("batchedMatmul")
def batched_matmul(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``a @ b``, or ``a @ W + bias`` with W: [X1, X2] stored column by column."""
    if layer.flag("int8DynamicQuantize"):
        raise Refused("int8DynamicQuantize: how the input is quantised is not specified")
    if len(layer.inputs) > 1:
        a, b = layer.x(0), layer.x(1)
        a = swapped(emit, a) if layer.flag("transposeA") else a
        b = swapped(emit, b) if layer.flag("transposeB") else b
        layer.ignore("weightMatrixFirstDimension", "weightMatrixSecondDimension", "hasBias", "weights", "bias")
        return emit.op("MatMul", a, b)
    layer.ignore("transposeA", "transposeB")  # "ignored when there is one input"
    rows, columns = layer.integer("weightMatrixFirstDimension"), layer.integer("weightMatrixSecondDimension")
    weights = emit.op("Transpose", layer.weights(emit, "weights", [columns, rows]), perm=[1, 0])
    return _with_bias(emit, emit.op("MatMul", layer.x(), weights), layer.optional_bias(emit, columns))


def _rows(layer: NetworkLayer, emit: Emitter, indices: ir.Value, size: int, count: int) -> ir.Value:
    table = emit.op("Transpose", layer.weights(emit, "weights", [size, count]), perm=[1, 0])
    return _with_bias(emit, emit.op("Gather", table, integers(emit, indices), axis=0), layer.optional_bias(emit, size))


@network.lowers("embedding")
def embedding(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[*, 1, 1, 1] → [*, C_out, 1, 1]"""
    indices = emit.op("Squeeze", layer.x(), emit.const([-3, -2, -1]))
    rows = _rows(layer, emit, indices, layer.integer("outputChannels"), layer.integer("inputDim"))
    return emit.op("Unsqueeze", rows, emit.const([-2, -1]))


@network.lowers("embeddingND")
def embedding_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[*, 1] → [*, size]"""
    indices = emit.op("Squeeze", layer.x(), emit.const([-1]))
    return _rows(layer, emit, indices, layer.integer("embeddingSize"), layer.integer("vocabSize"))
