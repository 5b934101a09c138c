"""Normalisations.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.normalization
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded, like, rank_of
from workbench.formats.coreml.to_onnx.activation import per_channel
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused


def _scale_and_shift(op: MilOperation, emit: Emitter, count: int) -> tuple[ir.Value, ir.Value]:
    """``gamma`` and ``beta`` of shape [count], ones and zeros by default."""
    gamma, beta = op.optional("gamma"), op.optional("beta")
    bounded(count, "the channels of a normalisation")
    return (
        emit.const(np.ones(count, dtype=np.float32)) if gamma is None else gamma,
        emit.const(np.zeros(count, dtype=np.float32)) if beta is None else beta,
    )


@mil.lowers("batch_norm")
def batch_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` by channel; x: [N, C, …]."""
    mean, variance = op.value("mean"), op.value("variance")
    gamma, beta = _scale_and_shift(op, emit, op.shape(mean)[0])
    return emit.op("BatchNormalization", op.value(), gamma, beta, mean, variance, epsilon=op.number("epsilon", 1e-5))


@mil.lowers("instance_norm")
def instance_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """Each channel of each example normalised by its own mean and variance; x: [N, C, …]."""
    x, epsilon = op.value(), op.number("epsilon", 1e-5)
    channels = (dims_of(x) or (None, None))[1]
    if isinstance(channels, int):
        return emit.op("InstanceNormalization", x, *_scale_and_shift(op, emit, channels), epsilon=epsilon)
    result = _normalised(emit, x, emit.const(list(range(2, op.rank(x)))), epsilon)
    for name, operator in (("gamma", "Mul"), ("beta", "Add")):
        if op.has(name):
            result = emit.op(operator, result, per_channel(op, emit, name, x))
        op.ignore(name)
    return result


def _normalised(emit: Emitter, x: ir.Value, axes: ir.Value, epsilon: float) -> ir.Value:
    """``(x - mean) / sqrt(variance + epsilon)`` over the axes."""
    centred = emit.op("Sub", x, emit.op("ReduceMean", x, axes, keepdims=1))
    variance = emit.op("ReduceMean", emit.op("Mul", centred, centred), axes, keepdims=1)
    return emit.op("Div", centred, emit.op("Sqrt", emit.op("Add", variance, like(emit, epsilon, x))))


@mil.lowers("layer_norm")
def layer_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """``gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta`` over ``axes``; gamma and beta: x.shape[axes]."""
    x = op.value()
    rank = op.rank(x)
    axes = sorted(axis % rank for axis in op.ints("axes", range(rank)))
    epsilon = op.number("epsilon", 1e-5)
    gamma, beta = op.optional("gamma"), op.optional("beta")
    if gamma is not None and axes == list(range(axes[0], rank)):
        return emit.op("LayerNormalization", x, gamma, beta, axis=axes[0], epsilon=epsilon)
    result = _normalised(emit, x, emit.const(axes), epsilon)
    missing = emit.const([axis for axis in range(rank) if axis not in axes])
    if gamma is not None:
        result = emit.op("Mul", result, emit.op("Unsqueeze", gamma, missing))
    return result if beta is None else emit.op("Add", result, emit.op("Unsqueeze", beta, missing))


@mil.lowers("l2_norm")
def l2_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x / sqrt(sum(x ** 2) + epsilon)``, the sum over the last three dimensions."""
    x = op.value()
    squares = emit.op("ReduceSumSquare", x, emit.const([-3, -2, -1]), keepdims=1)
    shifted = emit.op("Add", squares, like(emit, op.number("epsilon", 1e-6), x))
    return emit.op("Div", x, emit.op("Sqrt", shifted))


@mil.lowers("local_response_norm")
def local_response_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x / (k + alpha / size * sum(x ** 2)) ** beta``, the sum over ``size`` neighbouring channels.

    Of an even number one more lies before than behind, as in PyTorch, coremltools' reference. The channels are the last
    but two dimension, what is before them is batch: its test with a tensor of rank 3 expects what that gives, and
    NeuralNetwork.proto says so of the layer that coremltools makes of the operator, although the operator's reference
    writes [n, C, *D] of rank 3 too. onnxruntime's LRN takes rank 4.
    """
    x, size = op.value(), op.integer("size")
    alpha, beta, k = op.number("alpha", 1e-4), op.number("beta", 0.75), op.number("k", 1.0)
    return across_channels(emit, x, size, (alpha, beta, k))


def across_channels(emit: Emitter, x: ir.Value, size: int, numbers: tuple[float, float, float]) -> ir.Value:
    """That formula for [*, C, H, W]; the numbers are alpha, beta and k.

    The mean of the squares of ``size`` channels is that of a pool over [N, 1, C, H W].
    """
    alpha, beta, k = numbers
    if size < 1:
        raise Refused(f"a window of {size} channels")
    if rank_of(x) < 3:
        raise Refused(f"a tensor of rank {rank_of(x)} has no channels, height and width")
    if rank_of(x) == 4 and size % 2:
        return emit.op("LRN", x, size=size, alpha=alpha, beta=beta, bias=k)
    squares = emit.op("Reshape", emit.op("Mul", x, x), emit.op("Concat", *_as_rows(emit, x), axis=0))
    pads = [0, 0, size // 2, 0, 0, 0, (size - 1) // 2, 0]
    padded = emit.op("Pad", squares, emit.const(pads))
    mean = emit.op("AveragePool", padded, kernel_shape=[size, 1], strides=[1, 1])
    base = emit.op("Add", emit.op("Mul", mean, like(emit, alpha, x)), like(emit, k, x))
    return emit.op("Div", x, emit.op("Reshape", emit.op("Pow", base, like(emit, beta, x)), emit.op("Shape", x)))


def _as_rows(emit: Emitter, x: ir.Value) -> list[ir.Value]:
    """The shape [N, 1, C, H W] of x: [*, C, H, W], in parts."""
    channels, size = emit.op("Shape", x, start=-3, end=-2), emit.op("Shape", x, start=-2)
    return [emit.const([-1]), emit.const([1]), channels, emit.op("ReduceProd", size, keepdims=1)]
