"""Normalisations.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.normalization
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.tensors import bounded, like
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


def _channels(x: ir.Value) -> int:
    dims = dims_of(x)
    if dims is None or len(dims) < 2 or not isinstance(dims[1], int):
        raise Refused(f"the number of channels of {x.name!r} is only known at run time")
    return dims[1]


@mil.lowers("batch_norm")
def batch_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` by channel; x: [N, C, …]."""
    mean, variance = op.value("mean"), op.value("variance")
    gamma, beta = _scale_and_shift(op, emit, op.shape(mean)[0])
    return emit.op("BatchNormalization", op.value(), gamma, beta, mean, variance, epsilon=op.number("epsilon", 1e-5))


@mil.lowers("instance_norm")
def instance_norm(op: MilOperation, emit: Emitter) -> ir.Value:
    """Each channel of each example normalised by its own mean and variance; x: [N, C, …]."""
    x = op.value()
    gamma, beta = _scale_and_shift(op, emit, _channels(x))
    return emit.op("InstanceNormalization", x, gamma, beta, epsilon=op.number("epsilon", 1e-5))


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
    over = emit.const(axes)
    centred = emit.op("Sub", x, emit.op("ReduceMean", x, over, keepdims=1))
    variance = emit.op("ReduceMean", emit.op("Mul", centred, centred), over, keepdims=1)
    result = emit.op("Div", centred, emit.op("Sqrt", emit.op("Add", variance, like(emit, epsilon, x))))
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
    """``x / (k + alpha / size * sum(x ** 2)) ** beta``, the sum over ``size`` neighbouring channels."""
    size = op.integer("size")
    if size % 2 == 0:
        raise Refused(f"size = {size}: which of an even number of neighbours count is not specified")
    return emit.op(
        "LRN",
        op.value(),
        size=size,
        alpha=op.number("alpha", 1e-4),
        beta=op.number("beta", 0.75),
        bias=op.number("k", 1.0),
    )
