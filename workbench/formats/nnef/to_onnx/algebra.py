"""Matrix products (NNEF 1.0.5, section 4.5), reductions (4.3), normalisation (4.10), quantisation (4.11)."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import (
    TABLE,
    NnefNode,
    aligned,
    rank_of,
    reshape,
    scalar_const,
    shape_of,
    with_rank,
)
from workbench.formats.nnef.to_onnx.window import average
from workbench.hub import Emitter
from workbench.lowering import Refused


def _swapped(e: Emitter, value: ir.Value, swap: bool) -> ir.Value:
    """The last two axes exchanged."""
    if not swap:
        return value
    rank = rank_of(value)
    return e.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@TABLE.lowers("matmul")
def matmul(node: NnefNode, e: Emitter) -> ir.Value:
    """The product of the last two axes, the others broadcast."""
    a = _swapped(e, node.tensor("A"), node.attr("transposeA"))
    b = _swapped(e, node.tensor("B"), node.attr("transposeB"))
    return e.op("MatMul", a, b)


@TABLE.lowers("linear")
def linear(node: NnefNode, e: Emitter) -> ir.Value:
    """``input · filterᵀ + bias``."""
    bias = None if node.number("bias") == 0 else node.tensor("bias")
    return e.op("Gemm", node.tensor("input"), node.tensor("filter"), bias, transB=1)


# reductions

_REDUCTIONS = {"max_reduce": "ReduceMax", "min_reduce": "ReduceMin", "mean_reduce": "ReduceMean"}


def reduced(e: Emitter, operator: str, x: ir.Value, axes: list[int]) -> ir.Value:
    """A reduction that keeps the axes; over no axes it is the identity."""
    return e.op(operator, x, e.const(axes), keepdims=1) if axes else x


@TABLE.lowers(*_REDUCTIONS)
def reduce(node: NnefNode, e: Emitter) -> ir.Value:
    """Maximum, minimum, mean."""
    return reduced(e, _REDUCTIONS[node.name], node.tensor("input"), node.attr("axes"))


@TABLE.lowers("sum_reduce")
def sum_reduce(node: NnefNode, e: Emitter) -> ir.Value:
    """The sum, or the mean if normalised."""
    return reduced(e, "ReduceMean" if node.attr("normalize") else "ReduceSum", node.tensor("input"), node.attr("axes"))


@TABLE.lowers("any_reduce", "all_reduce")
def any_reduce(node: NnefNode, e: Emitter) -> ir.Value:
    """Whether any, or all, values are true."""
    numbers = e.op("Cast", node.tensor("input"), to=int(ir.DataType.FLOAT.value))
    found = reduced(e, "ReduceMax" if node.name == "any_reduce" else "ReduceMin", numbers, node.attr("axes"))
    return e.op("Cast", found, to=int(ir.DataType.BOOL.value))


@TABLE.lowers("argmax_reduce", "argmin_reduce")
def argmax_reduce(node: NnefNode, e: Emitter) -> ir.Value:
    """The position of the first extreme value, counted over the axes together."""
    operator = "ArgMax" if node.name == "argmax_reduce" else "ArgMin"
    x, axes = node.tensor("input"), sorted(node.attr("axes"))
    if len(axes) == 1:
        return e.op(operator, x, axis=axes[0], keepdims=1)
    shape = shape_of(x)
    if not axes or axes != list(range(axes[0], axes[0] + len(axes))):
        raise Refused(f"the axes {axes} are not neighbours, so the order in which positions count is not defined")
    flat = reshape(e, x, [*shape[: axes[0]], -1, *shape[axes[-1] + 1 :]])
    found = e.op(operator, flat, axis=axes[0], keepdims=1)
    return reshape(e, found, [1 if axis in axes else extent for axis, extent in enumerate(shape)])


@TABLE.lowers("moments")
def moments(node: NnefNode, e: Emitter) -> list[ir.Value]:
    """Mean and variance."""
    x, axes = node.tensor("input"), node.attr("axes")
    mean = reduced(e, "ReduceMean", x, axes)
    centred = e.op("Sub", x, mean)
    return [mean, reduced(e, "ReduceMean", e.op("Mul", centred, centred), axes)]


# normalisation


@TABLE.lowers("batch_normalization")
def batch_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``offset + scale * (input - mean) / sqrt(variance + epsilon)``."""
    x = node.tensor("input")
    parameters = [node.tensor(name) for name in ("scale", "offset", "mean", "variance")]
    epsilon = float(node.attr("epsilon"))
    channels = shape_of(x, 1, 2)
    if rank_of(x) >= 2 and all(shape_of(value) == (1, *channels) for value in parameters):
        flat = [reshape(e, value, channels) for value in parameters]
        return e.op("BatchNormalization", x, *flat, epsilon=epsilon)
    x, scale, offset, mean, variance = aligned(e, x, *parameters)
    deviation = e.op("Sqrt", e.op("Add", variance, scalar_const(node, e, epsilon)))
    return e.op("Add", offset, e.op("Div", e.op("Mul", scale, e.op("Sub", x, mean)), deviation))


@TABLE.lowers("local_response_normalization")
def local_response_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``input / (bias + alpha * mean(input ^ 2)) ^ beta`` with the mean over a window."""
    x, size = node.tensor("input"), node.attr("size")
    alpha, beta, bias = (float(node.attr(name)) for name in ("alpha", "beta", "bias"))
    if rank_of(x) >= 3 and all(extent == 1 for axis, extent in enumerate(size) if axis != 1):
        return e.op("LRN", x, size=size[1], alpha=alpha, beta=beta, bias=bias)
    mean = average(_window_of(node), e, e.op("Mul", x, x))
    sigma = e.op("Add", e.op("Mul", mean, scalar_const(node, e, alpha)), scalar_const(node, e, bias))
    return e.op("Div", x, e.op("Pow", sigma, scalar_const(node, e, beta)))


def _window_of(node: NnefNode) -> NnefNode:
    """The same operation, seen as the ``box`` inside it: stride 1, padded to keep the extents."""
    return node.with_arguments(padding=[], stride=[], dilation=[])


def _divided(node: NnefNode, e: Emitter, x: ir.Value, sigma: ir.Value) -> ir.Value:
    """``x / max(sigma + bias, epsilon)``."""
    sigma = e.op("Add", sigma, scalar_const(node, e, node.attr("bias")))
    return e.op("Div", x, e.op("Max", sigma, scalar_const(node, e, node.attr("epsilon"))))


def _centred(node: NnefNode, e: Emitter, x: ir.Value) -> ir.Value:
    return e.op("Sub", x, average(_window_of(node), e, x))


def _scaled(node: NnefNode, e: Emitter, x: ir.Value) -> ir.Value:
    return _divided(node, e, x, e.op("Sqrt", average(_window_of(node), e, e.op("Mul", x, x))))


@TABLE.lowers("local_mean_normalization")
def local_mean_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``input - mean`` over a window."""
    return _centred(node, e, node.tensor("input"))


@TABLE.lowers("local_variance_normalization")
def local_variance_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``input / max(rms + bias, epsilon)`` over a window."""
    return _scaled(node, e, node.tensor("input"))


@TABLE.lowers("local_contrast_normalization")
def local_contrast_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """Mean, then variance normalisation."""
    return _scaled(node, e, _centred(node, e, node.tensor("input")))


@TABLE.lowers("l1_normalization")
def l1_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``input / max(sum |input| + bias, epsilon)``."""
    x = node.tensor("input")
    return _divided(node, e, x, reduced(e, "ReduceSum", e.op("Abs", x), node.attr("axes")))


@TABLE.lowers("l2_normalization")
def l2_normalization(node: NnefNode, e: Emitter) -> ir.Value:
    """``input / max(sqrt(sum input ^ 2) + bias, epsilon)``."""
    x = node.tensor("input")
    return _divided(node, e, x, e.op("Sqrt", reduced(e, "ReduceSum", e.op("Mul", x, x), node.attr("axes"))))


# emulated quantisation


def _bits(node: NnefNode) -> int:
    bits: int = node.attr("bits")
    if not 1 <= bits <= 32:
        raise Refused(f"bits = {bits} is outside of 1 to 32")
    return bits


@TABLE.lowers("min_max_linear_quantize", "linear_quantize")
def min_max_linear_quantize(node: NnefNode, e: Emitter) -> ir.Value:
    """Rounded to one of 2^bits values between min and max."""
    full = node.name == "min_max_linear_quantize"
    signed, symmetric = (full and node.attr("signed")), (full and node.attr("symmetric"))
    steps = float(2 ** _bits(node) - 1 - int(signed and symmetric))
    x, low, high = aligned(e, node.tensor("x"), node.tensor("min"), node.tensor("max"))
    clamped = e.op("Max", e.op("Min", x, high), low)
    span = e.op("Sub", high, low)
    r = scalar_const(node, e, steps)
    level = e.op("Round", e.op("Mul", e.op("Div", e.op("Sub", clamped, low), span), r))
    return e.op("Add", e.op("Mul", e.op("Div", level, r), span), low)


@TABLE.lowers("zero_point_linear_quantize")
def zero_point_linear_quantize(node: NnefNode, e: Emitter) -> ir.Value:
    """Rounded to a multiple of scale, as far as the bits reach around the zero point."""
    bits, signed, symmetric = _bits(node), node.attr("signed"), node.attr("symmetric")
    if not (signed and symmetric) and bits in (8, 16):
        rounded = _through_levels(node, e, f"{'' if signed else 'u'}int{bits}")
        if rounded is not None:
            return rounded
    top = float(2 ** (bits - 1) - 1 if signed else 2**bits - 1)
    bottom = 0.0 if not signed else -top if symmetric else -top - 1.0
    zero = e.op("CastLike", node.tensor("zero_point"), scalar_const(node, e, 0.0))
    x, z, scale = aligned(e, node.tensor("x"), zero, node.tensor("scale"))
    level = e.op("Add", e.op("Round", e.op("Div", x, scale)), z)
    level = e.op("Clip", level, scalar_const(node, e, bottom), scalar_const(node, e, top))
    return e.op("Mul", e.op("Sub", level, z), scale)


def _through_levels(node: NnefNode, e: Emitter, dtype: str) -> ir.Value | None:
    """As ONNX writes it, by way of integers, where scale and zero point are known numbers."""
    point, scale = node.number("zero_point"), node.number("scale")
    bounds = np.iinfo(dtype)
    if node.scalar != "float32" or not isinstance(point, int) or not isinstance(scale, float):
        return None
    if not bounds.min <= point <= bounds.max or not 0.0 < scale < math.inf:
        return None
    step, zero = scalar_const(node, e, scale), e.const(np.asarray(point, dtype))
    return e.op("DequantizeLinear", e.op("QuantizeLinear", node.tensor("x"), step, zero), step, zero)


@TABLE.lowers("logarithmic_quantize")
def logarithmic_quantize(node: NnefNode, e: Emitter) -> ir.Value:
    """Rounded to a power of two."""
    x = node.tensor("x")
    top = e.op("Ceil", _log2(node, e, with_rank(e, node.tensor("max"), rank_of(x))))
    bottom = e.op("Sub", top, scalar_const(node, e, float(2 ** _bits(node) - 1)))
    exponent = e.op("Max", e.op("Min", _log2(node, e, e.op("Abs", x)), top), bottom)
    return e.op("Mul", e.op("Sign", x), e.op("Pow", scalar_const(node, e, 2.0), e.op("Round", exponent)))


def _log2(node: NnefNode, e: Emitter, x: ir.Value) -> ir.Value:
    return e.op("Div", e.op("Log", x), scalar_const(node, e, 0.6931471805599453))
