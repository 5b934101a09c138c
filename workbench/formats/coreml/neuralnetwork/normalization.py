"""Normalisations."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, batched, network
from workbench.formats.coreml.tensors import bounded, like
from workbench.formats.coreml.to_onnx.normalization import across_channels
from workbench.hub import Emitter
from workbench.lowering import Refused


@network.lowers("batchnorm")
def batchnorm(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """By channel (dimension -3): with stored statistics, each example's (``instanceNormalization``), or the batch's."""
    count, epsilon = bounded(layer.integer("channels"), "the channels"), layer.number("epsilon", 1e-5)
    gamma = layer.weights(emit, "gamma", [count]) if layer.has("gamma") else emit.const(np.ones(count, np.float32))
    beta = layer.weights(emit, "beta", [count]) if layer.has("beta") else emit.const(np.zeros(count, np.float32))
    if layer.flag("computeMeanVar"):
        layer.ignore("mean", "variance")
        if not layer.flag("instanceNormalization"):
            return batched(emit, layer.x(), lambda x: _over_batch(emit, x, gamma, beta, epsilon))
        return batched(emit, layer.x(), lambda x: emit.op("InstanceNormalization", x, gamma, beta, epsilon=epsilon))
    layer.ignore("instanceNormalization")
    mean, variance = layer.weights(emit, "mean", [count]), layer.weights(emit, "variance", [count])
    return batched(
        emit, layer.x(), lambda x: emit.op("BatchNormalization", x, gamma, beta, mean, variance, epsilon=epsilon)
    )


def _over_batch(emit: Emitter, x: ir.Value, gamma: ir.Value, beta: ir.Value, epsilon: float) -> ir.Value:
    """x: [N, C, H, W] by the mean and the variance that each channel has over all examples."""
    axes, behind = emit.const([0, 2, 3]), emit.const([1, 2])
    centred = emit.op("Sub", x, emit.op("ReduceMean", x, axes, keepdims=1))
    variance = emit.op("ReduceMean", emit.op("Mul", centred, centred), axes, keepdims=1)
    y = emit.op("Div", centred, emit.op("Sqrt", emit.op("Add", variance, like(emit, epsilon, x))))
    y = emit.op("Mul", y, emit.op("Unsqueeze", gamma, behind))
    return emit.op("Add", y, emit.op("Unsqueeze", beta, behind))


@network.lowers("mvn")
def mvn(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``(x - mean) / sqrt(variance + epsilon)`` over the last two dimensions, or the last three."""
    x, epsilon = layer.x(), layer.number("epsilon", 1e-6)
    axes = emit.const([-3, -2, -1] if layer.flag("acrossChannels") else [-2, -1])
    centred = emit.op("Sub", x, emit.op("ReduceMean", x, axes, keepdims=1))
    if not layer.flag("normalizeVariance"):
        return centred
    variance = emit.op("ReduceMean", emit.op("Mul", centred, centred), axes, keepdims=1)
    return emit.op("Div", centred, emit.op("Sqrt", emit.op("Add", variance, like(emit, epsilon, x))))


@network.lowers("l2normalize")
def l2normalize(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``x / sqrt(sum(x ** 2) + epsilon)`` over the last three dimensions."""
    x = layer.x()
    squares = emit.op("ReduceSumSquare", x, emit.const([-3, -2, -1]), keepdims=1)
    return emit.op("Div", x, emit.op("Sqrt", emit.op("Add", squares, like(emit, layer.number("epsilon", 1e-6), x))))


@network.lowers("lrn")
def lrn(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``x / (k + alpha / size * sum(x ** 2)) ** beta`` over neighbouring channels.

    Of an even number one more lies before than behind, by coremltools' tests.
    """
    size = layer.integer("localSize")
    alpha, beta, k = layer.number("alpha"), layer.number("beta"), layer.number("k", 1.0)
    return batched(emit, layer.x(), lambda x: across_channels(emit, x, size, (alpha, beta, k)))


@network.lowers("layerNormalization")
def layer_normalization(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Over the last dimensions, those of ``normalizedShape``."""
    shape = layer.ints("normalizedShape")
    if math.prod(shape) <= 0:
        raise Refused(f"normalizedShape = {shape}")
    gamma, beta = layer.weights(emit, "gamma", shape), layer.weights(emit, "beta", shape)
    return emit.op("LayerNormalization", layer.x(), gamma, beta, axis=-len(shape), epsilon=layer.number("eps"))
