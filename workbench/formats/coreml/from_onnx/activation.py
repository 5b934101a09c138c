"""Activations. MIL: ``activation``, and compositions where MIL's definition differs at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.narrow import refuse_narrow
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget
from workbench.hub import HubNode


@lowers("Relu", since=14)
def relu_14(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    return t.op("relu", x=x) if t.is_float(x) else t.op("maximum", x=x, y=np.int32(0))


@lowers("LeakyRelu", since=16)
def leakyrelu_16(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    return t.op("leaky_relu", x=x, alpha=t.scalar(node.attr_float("alpha"), x))


@lowers("Elu", since=22)
def elu_22(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    return t.op("elu", x=x, alpha=t.scalar(node.attr_float("alpha"), x))


@lowers("Selu", since=22)
def selu_22(node: HubNode, t: ProgramTarget) -> Any:
    """gamma · elu(x, alpha)"""
    x = t.var(node.value(0))
    bent = t.op("elu", x=x, alpha=t.scalar(node.attr_float("alpha"), x))
    return t.op("mul", x=bent, y=t.scalar(node.attr_float("gamma"), x))


@lowers("Celu", since=12)
def celu_12(node: HubNode, t: ProgramTarget) -> Any:
    """max(0, x) + min(0, alpha · (exp(x / alpha) − 1))"""
    x, alpha = t.var(node.value(0)), node.attr_float("alpha")
    grown = t.op("sub", x=t.op("exp", x=t.op("real_div", x=x, y=t.scalar(alpha, x))), y=t.scalar(1, x))
    below = t.op("minimum", x=t.op("mul", x=grown, y=t.scalar(alpha, x)), y=t.scalar(0, x))
    return t.op("add", x=t.op("relu", x=x), y=below)


@lowers("Gelu", since=20)
def gelu_20(node: HubNode, t: ProgramTarget) -> Any:
    mode = "TANH_APPROXIMATION" if node.attr_string("approximate") == "tanh" else "EXACT"
    return t.op("gelu", x=t.var(node.value(0)), mode=mode)


@lowers("HardSigmoid", since=22)
def hardsigmoid_22(node: HubNode, t: ProgramTarget) -> Any:
    """min(max(alpha · x + beta, 0), 1)"""
    x = t.var(node.value(0))
    alpha, beta = t.scalar(node.attr_float("alpha"), x), t.scalar(node.attr_float("beta"), x)
    return t.op("sigmoid_hard", x=x, alpha=alpha, beta=beta)


@lowers("HardSwish", since=22)
def hardswish_22(node: HubNode, t: ProgramTarget) -> Any:
    """x · min(max(x / 6 + 1/2, 0), 1)"""
    x = t.var(node.value(0))
    gate = t.op("sigmoid_hard", x=x, alpha=t.scalar(1 / 6, x), beta=t.scalar(0.5, x))
    return t.op("mul", x=x, y=gate)


@lowers("Mish", since=22)
def mish_22(node: HubNode, t: ProgramTarget) -> Any:
    """x · tanh(log(1 + exp x))"""
    x = t.var(node.value(0))
    return t.op("mul", x=x, y=t.op("tanh", x=t.op("softplus", x=x)))


@lowers("Swish", since=24)
def swish_24(node: HubNode, t: ProgramTarget) -> Any:
    """x · sigmoid(alpha · x)"""
    x, alpha = t.var(node.value(0)), node.attr_float("alpha")
    gate = t.op("sigmoid", x=x if alpha == 1 else t.op("mul", x=x, y=t.scalar(alpha, x)))
    return t.op("mul", x=x, y=gate)


@lowers("Softplus", "Softsign", since=22)
def soft_22(node: HubNode, t: ProgramTarget) -> Any:
    return t.op(node.operator.lower(), x=t.var(node.value(0)))


@lowers("ThresholdedRelu", since=22)
def thresholdedrelu_22(node: HubNode, t: ProgramTarget) -> Any:
    """x above alpha, else 0. MIL's ``thresholded_relu`` also keeps x = alpha, which ONNX does not."""
    x = t.var(node.value(0))
    above = t.op("greater", x=x, y=t.scalar(node.attr_float("alpha"), x))
    return t.op("select", cond=above, a=x, b=t.scalar(0, x))


@lowers("Shrink", since=9)
def shrink_9(node: HubNode, t: ProgramTarget) -> Any:
    """x + bias below −lambd, x − bias above lambd, else 0."""
    refuse_narrow(node)
    x, bias, bound = t.var(node.value(0)), node.attr_float("bias"), node.attr_float("lambd")
    high = t.op("select", cond=t.op("greater", x=x, y=t.scalar(bound, x)),
                a=t.op("sub", x=x, y=t.scalar(bias, x)), b=t.scalar(0, x))  # fmt: skip
    low = t.op("less", x=x, y=t.scalar(-bound, x))
    return t.op("select", cond=low, a=t.op("add", x=x, y=t.scalar(bias, x)), b=high)


@lowers("Clip", since=13)
def clip_13(node: HubNode, t: ProgramTarget) -> Any:
    """min(max(x, low), high). MIL's ``clip`` needs both bounds as constants and floating-point data."""
    x = t.var(node.value(0))
    low, high = node.constant(1), node.constant(2)
    if t.is_float(x) and low is not None and high is not None and low <= high:
        return t.op("clip", x=x, alpha=t.scalar(low.item(), x), beta=t.scalar(high.item(), x))
    result = x
    if node.input(1) is not None:
        result = t.op("maximum", x=result, y=t.var(node.value(1)))
    if node.input(2) is not None:
        result = t.op("minimum", x=result, y=t.var(node.value(2)))
    return t.op("identity", x=x) if result is x else result


@lowers("Softmax", since=13)
def softmax_13(node: HubNode, t: ProgramTarget) -> Any:
    return t.op("softmax", x=t.var(node.value(0)), axis=node.axis())


@lowers("LogSoftmax", since=13)
def logsoftmax_13(node: HubNode, t: ProgramTarget) -> Any:
    """(x − max) − log Σ exp(x − max)"""
    x, axes = t.var(node.value(0)), [node.axis()]
    shifted = t.op("sub", x=x, y=t.op("reduce_max", x=x, axes=axes, keep_dims=True))
    total = t.op("reduce_sum", x=t.op("exp", x=shifted), axes=axes, keep_dims=True)
    return t.op("sub", x=shifted, y=t.op("log", x=total, epsilon=t.scalar(0, x)))


@lowers("Hardmax", since=13)
def hardmax_13(node: HubNode, t: ProgramTarget) -> Any:
    """One at the first maximum along the axis, else 0."""
    x, axis = t.var(node.value(0)), node.axis()
    first = t.op("reduce_argmax", x=x, axis=axis, keep_dims=True)
    steps, size = [1] * len(x.shape), t.shape(x)[axis]
    steps[axis] = size
    positions = t.counted(size, steps)
    return t.cast(t.op("equal", x=positions, y=first), t.kind(x))
