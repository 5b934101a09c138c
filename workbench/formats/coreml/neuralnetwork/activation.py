"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, network
from workbench.formats.coreml.neuralnetwork.weights import weight_array, weight_count
from workbench.formats.coreml.tensors import like
from workbench.hub import Emitter
from workbench.lowering import Refused


def _channel_vector(emit: Emitter, message: Any, name: str) -> ir.Value:
    """Weights of length C (or 1) as [C, 1, 1], which broadcasts along dimension -3."""
    return emit.const(weight_array(message, [weight_count(message), 1, 1], name))


def _linear(emit: Emitter, x: ir.Value, given: Any) -> ir.Value:
    """``alpha * x + beta``"""
    scaled = emit.op("Mul", x, like(emit, given.alpha, x))
    return scaled if given.beta == 0 else emit.op("Add", scaled, like(emit, given.beta, x))


def _thresholded(emit: Emitter, x: ir.Value, given: Any) -> ir.Value:
    """``x if x >= alpha else 0``"""
    return emit.op("Where", emit.op("Less", x, like(emit, given.alpha, x)), like(emit, 0.0, x), x)


def _scaled_tanh(emit: Emitter, x: ir.Value, given: Any) -> ir.Value:
    """``alpha * tanh(beta * x)``"""
    return emit.op("Mul", emit.op("Tanh", emit.op("Mul", x, like(emit, given.beta, x))), like(emit, given.alpha, x))


def _parametric_softplus(emit: Emitter, x: ir.Value, given: Any) -> ir.Value:
    """``alpha[c] * log(1 + exp(beta[c] * x))``"""
    alpha, beta = (_channel_vector(emit, getattr(given, name), name) for name in ("alpha", "beta"))
    return emit.op("Mul", alpha, emit.op("Softplus", emit.op("Mul", beta, x)))


_FUNCTIONS: dict[str, Callable[[Emitter, ir.Value, Any], ir.Value]] = {
    "linear": _linear,
    "ReLU": lambda emit, x, given: emit.op("Relu", x),
    "leakyReLU": lambda emit, x, given: emit.op("LeakyRelu", x, alpha=given.alpha),
    "thresholdedReLU": _thresholded,
    "PReLU": lambda emit, x, given: emit.op("PRelu", x, _channel_vector(emit, given.alpha, "alpha")),
    "tanh": lambda emit, x, given: emit.op("Tanh", x),
    "scaledTanh": _scaled_tanh,
    "sigmoid": lambda emit, x, given: emit.op("Sigmoid", x),
    "sigmoidHard": lambda emit, x, given: emit.op("HardSigmoid", x, alpha=given.alpha, beta=given.beta),
    "ELU": lambda emit, x, given: emit.op("Elu", x, alpha=given.alpha),
    "softsign": lambda emit, x, given: emit.op("Softsign", x),
    "softplus": lambda emit, x, given: emit.op("Softplus", x),
    "parametricSoftplus": _parametric_softplus,
}


_RECURRENT_PARAMETERS: dict[str, dict[str, float]] = {
    "linear": {"alpha": 1.0, "beta": 0.0},
    "scaledTanh": {"alpha": 1.0, "beta": 1.0},
    "sigmoidHard": {"alpha": 0.2, "beta": 0.5},
}
"""What unset parameters stand for inside recurrent layers, by the tests of coremltools."""


@network.lowers("activation")
def activation(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """One of the thirteen functions of ``ActivationParams``."""
    kind = layer.which("NonlinearityType")
    if kind not in _FUNCTIONS:
        raise ModelError("the activation says of no function which it is.")
    return _FUNCTIONS[kind](emit, layer.x(), layer.get(kind))


@network.lowers("clampedReLU")
def clamped_relu(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``min(beta, x if x >= 0 else alpha * x)``"""
    leaky = emit.op("LeakyRelu", layer.x(), alpha=layer.number("alpha"))
    return emit.op("Min", leaky, like(emit, layer.number("beta"), leaky))


@network.lowers("clip")
def clip(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``min(max(x, minVal), maxVal)``"""
    x = layer.x()
    return emit.op("Clip", x, like(emit, layer.number("minVal"), x), like(emit, layer.number("maxVal"), x))


@network.lowers("gelu")
def gelu(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The Gaussian error linear unit by ``erf``, by ``tanh``, or as ``x * sigmoid(1.702 x)``."""
    x, mode = layer.x(), layer.choice("mode")
    if mode == "SIGMOID_APPROXIMATION":
        return emit.op("Mul", x, emit.op("Sigmoid", emit.op("Mul", x, like(emit, 1.702, x))))
    return emit.op("Gelu", x, approximate="none" if mode == "EXACT" else "tanh")


@network.lowers("softmax")
def softmax(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Along dimension -3."""
    return emit.op("Softmax", layer.x(), axis=-3)


@network.lowers("softmaxND")
def softmax_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Along any dimension."""
    return emit.op("Softmax", layer.x(), axis=layer.integer("axis"))


def recurrent_activation(message: Any) -> tuple[str, Callable[[Emitter, ir.Value], ir.Value]]:
    """The kind of an activation inside a recurrent layer, and what emits it.

    Their parameters are usually left unset, and stand for :data:`_RECURRENT_PARAMETERS` then.
    """
    kind = message.WhichOneof("NonlinearityType") or ""
    known = ("sigmoid", "tanh", "ReLU", *_RECURRENT_PARAMETERS)
    if kind not in known:
        raise Refused(f"the activation {kind!r} inside a recurrent layer is not supported, only {', '.join(known)}")
    given = getattr(message, kind)
    if kind in _RECURRENT_PARAMETERS and not (given.alpha or given.beta):
        given = SimpleNamespace(**_RECURRENT_PARAMETERS[kind])
    return kind, lambda emit, x: _FUNCTIONS[kind](emit, x, given)
