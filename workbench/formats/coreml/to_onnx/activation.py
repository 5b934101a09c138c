"""Activation functions.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.activation
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.tensors import like
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused


@mil.lowers("relu")
def relu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``max(x, 0)``"""
    return emit.op("Relu", op.value())


@mil.lowers("sigmoid")
def sigmoid(op: MilOperation, emit: Emitter) -> ir.Value:
    """``1 / (1 + exp(-x))``"""
    return emit.op("Sigmoid", op.value())


@mil.lowers("softplus")
def softplus(op: MilOperation, emit: Emitter) -> ir.Value:
    """``log(1 + exp(x))``"""
    return emit.op("Softplus", op.value())


@mil.lowers("softsign")
def softsign(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x / (1 + |x|)``"""
    return emit.op("Softsign", op.value())


@mil.lowers("relu6")
def relu6(op: MilOperation, emit: Emitter) -> ir.Value:
    """``min(max(x, 0), 6)``"""
    x = op.value()
    return emit.op("Clip", x, like(emit, 0.0, x), like(emit, 6.0, x))


@mil.lowers("clamped_relu")
def clamped_relu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``min(beta, x if x >= 0 else alpha * x)``"""
    x = op.value()
    leaky = emit.op("LeakyRelu", x, alpha=op.number("alpha"))
    return emit.op("Min", leaky, like(emit, op.number("beta"), x))


@mil.lowers("elu")
def elu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x if x > 0 else alpha * (exp(x) - 1)``"""
    return emit.op("Elu", op.value(), alpha=op.number("alpha"))


@mil.lowers("leaky_relu")
def leaky_relu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x if x >= 0 else alpha * x``"""
    return emit.op("LeakyRelu", op.value(), alpha=op.number("alpha"))


@mil.lowers("prelu")
def prelu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x if x > 0 else alpha[c] * x``; x: [B, C, …], alpha: [C]."""
    x = op.value()
    return emit.op("PRelu", x, per_channel(op, emit, "alpha", x))


def per_channel(op: MilOperation, emit: Emitter, name: str, x: ir.Value) -> ir.Value:
    """A parameter of shape [C] (or [1]) so that it broadcasts along dimension 1 of ``x``."""
    axes = list(range(1, op.rank(x) - 1))
    value = op.value(name)
    return emit.op("Unsqueeze", value, emit.const(axes)) if axes else value


@mil.lowers("gelu")
def gelu(op: MilOperation, emit: Emitter) -> ir.Value:
    """The Gaussian error linear unit by ``erf``, by ``tanh``, or as ``x * sigmoid(1.702 x)``."""
    x, mode = op.value(), op.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return emit.op("Mul", x, emit.op("Sigmoid", emit.op("Mul", x, like(emit, 1.702, x))))
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise Refused(f"mode = {mode!r} is not known")
    return emit.op("Gelu", x, approximate="none" if mode == "EXACT" else "tanh")


@mil.lowers("linear_activation")
def linear_activation(op: MilOperation, emit: Emitter) -> ir.Value:
    """``alpha * x + beta``"""
    x = op.value()
    scaled = emit.op("Mul", x, like(emit, op.number("alpha"), x))
    return emit.op("Add", scaled, like(emit, op.number("beta"), x))


@mil.lowers("scaled_tanh")
def scaled_tanh(op: MilOperation, emit: Emitter) -> ir.Value:
    """``alpha * tanh(beta * x)``"""
    x = op.value()
    inner = emit.op("Tanh", emit.op("Mul", x, like(emit, op.number("beta"), x)))
    return emit.op("Mul", inner, like(emit, op.number("alpha"), x))


@mil.lowers("sigmoid_hard")
def sigmoid_hard(op: MilOperation, emit: Emitter) -> ir.Value:
    """``min(max(alpha * x + beta, 0), 1)``"""
    return emit.op("HardSigmoid", op.value(), alpha=op.number("alpha"), beta=op.number("beta"))


@mil.lowers("silu")
def silu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x * sigmoid(x)``"""
    x = op.value()
    return emit.op("Mul", x, emit.op("Sigmoid", x))


@mil.lowers("softplus_parametric")
def softplus_parametric(op: MilOperation, emit: Emitter) -> ir.Value:
    """``alpha[c] * log(1 + exp(beta[c] * x))``"""
    x = op.value()
    alpha, beta = per_channel(op, emit, "alpha", x), per_channel(op, emit, "beta", x)
    return emit.op("Mul", alpha, emit.op("Softplus", emit.op("Mul", beta, x)))


@mil.lowers("thresholded_relu")
def thresholded_relu(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x if x >= alpha else 0`` (ONNX's operator of that name makes 0 of ``x == alpha``)."""
    x = op.value()
    below = emit.op("Less", x, like(emit, op.number("alpha"), x))
    return emit.op("Where", below, like(emit, 0.0, x), x)


@mil.lowers("softmax")
def softmax(op: MilOperation, emit: Emitter) -> ir.Value:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    return emit.op("Softmax", op.value(), axis=op.integer("axis", -1))
