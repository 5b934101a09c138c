"""Element-wise operations (NNEF 1.0.5, section 4.2) and activations (4.6)."""

from __future__ import annotations

import math

import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import TABLE, NnefNode, aligned, rank_of, scalar_const, shape_of, with_rank
from workbench.hub import Emitter

_UNARY = {
    "neg": "Neg",
    "rcp": "Reciprocal",
    "exp": "Exp",
    "log": "Log",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tanh": "Tanh",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sqrt": "Sqrt",
    "not": "Not",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "copy": "Identity",
}
BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "min": "Min",
    "max": "Max",
    "lt": "Less",
    "gt": "Greater",
    "le": "LessOrEqual",
    "ge": "GreaterOrEqual",
    "eq": "Equal",
    "and": "And",
    "or": "Or",
}
"""Operations of two tensors → ONNX's, which are the same."""


@TABLE.lowers(*_UNARY)
def unary(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = f(x)``."""
    return e.op(_UNARY[node.name], node.tensor("x"))


@TABLE.lowers(*BINARY)
def binary(node: NnefNode, e: Emitter) -> ir.Value:
    """``z = f(x, y)``, shapes aligned on the left."""
    return e.op(BINARY[node.name], *aligned(e, node.tensor("x"), node.tensor("y")))


@TABLE.lowers("ne")
def ne(node: NnefNode, e: Emitter) -> ir.Value:
    """``z = x != y``."""
    return e.op("Not", e.op("Equal", *aligned(e, node.tensor("x"), node.tensor("y"))))


@TABLE.lowers("sqr")
def sqr(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = x ^ 2``."""
    return e.op("Mul", node.tensor("x"), node.tensor("x"))


@TABLE.lowers("rsqr")
def rsqr(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = x ^ -2``."""
    return e.op("Reciprocal", e.op("Mul", node.tensor("x"), node.tensor("x")))


@TABLE.lowers("rsqrt")
def rsqrt(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = x ^ -0.5``."""
    return e.op("Reciprocal", e.op("Sqrt", node.tensor("x")))


@TABLE.lowers("log2")
def log2(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = log(x) / log(2)``."""
    return e.op("Div", e.op("Log", node.tensor("x")), scalar_const(node, e, math.log(2.0)))


@TABLE.lowers("select")
def select(node: NnefNode, e: Emitter) -> ir.Value:
    """``condition ? true_value : false_value``."""
    return e.op("Where", *aligned(e, node.tensor("condition"), node.tensor("true_value"), node.tensor("false_value")))


@TABLE.lowers("clamp")
def clamp(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = max(min(x, b), a)``."""
    low, high = node.number("a"), node.number("b")
    if low is not None and high is not None and low <= high:
        return e.op("Clip", node.tensor("x"), scalar_const(node, e, low), scalar_const(node, e, high))
    x, a, b = aligned(e, node.tensor("x"), node.tensor("a"), node.tensor("b"))
    return e.op("Max", e.op("Min", x, b), a)


@TABLE.lowers("add_n")
def add_n(node: NnefNode, e: Emitter) -> ir.Value:
    """The sum of all tensors."""
    return e.op("Sum", *aligned(e, *node.tensors("x")))


@TABLE.lowers("copy_n")
def copy_n(node: NnefNode, e: Emitter) -> list[list[ir.Value]]:
    """The tensor ``times`` times."""
    return [[e.op("Identity", node.tensor("x")) for _ in range(node.attr("times"))]]


@TABLE.lowers("cast")
def cast(node: NnefNode, e: Emitter) -> ir.Value:
    """Another type; a scalar is truncated on its way to integer."""
    to = node.dtype(node.operation.dtype)
    return e.op("Cast", node.tensor("input"), to=_onnx_type(to))


def _onnx_type(dtype: str) -> int:
    from workbench.hub import dtype_named

    return int(dtype_named(dtype).value)


# activations


@TABLE.lowers("softabs")
def softabs(node: NnefNode, e: Emitter) -> ir.Value:
    """``y = sqrt(x ^ 2 + epsilon)``."""
    x = node.tensor("x")
    return e.op("Sqrt", e.op("Add", e.op("Mul", x, x), scalar_const(node, e, node.attr("epsilon"))))


@TABLE.lowers("softmax")
def softmax(node: NnefNode, e: Emitter) -> ir.Value:
    """``exp(x - max) / sum(exp(x - max))`` over the axes together."""
    x, axes = node.tensor("x"), node.attr("axes")
    if len(axes) == 1:
        return e.op("Softmax", x, axis=axes[0])
    if not axes:
        return e.op("Div", x, x)
    over = e.const(axes)
    exponentials = e.op("Exp", e.op("Sub", x, e.op("ReduceMax", x, over, keepdims=1)))
    return e.op("Div", exponentials, e.op("ReduceSum", exponentials, over, keepdims=1))


@TABLE.lowers("elu")
def elu(node: NnefNode, e: Emitter) -> ir.Value:
    """``x < 0 ? alpha * (exp(x) - 1) : x``."""
    return e.op("Elu", node.tensor("x"), alpha=float(node.attr("alpha")))


@TABLE.lowers("selu")
def selu(node: NnefNode, e: Emitter) -> ir.Value:
    """``lambda * elu(x, alpha)``."""
    return e.op("Selu", node.tensor("x"), alpha=float(node.attr("alpha")), gamma=float(node.attr("lambda")))


@TABLE.lowers("gelu")
def gelu(node: NnefNode, e: Emitter) -> ir.Value:
    """``x * sigmoid(1.702 * x)``, as the standard library defines it (the exact function is up to 0.02 away)."""
    x = node.tensor("x")
    return e.op("Mul", x, e.op("Sigmoid", e.op("Mul", x, scalar_const(node, e, 1.702))))


@TABLE.lowers("silu")
def silu(node: NnefNode, e: Emitter) -> ir.Value:
    """``x * sigmoid(x)``."""
    return e.op("Mul", node.tensor("x"), e.op("Sigmoid", node.tensor("x")))


@TABLE.lowers("leaky_relu")
def leaky_relu(node: NnefNode, e: Emitter) -> ir.Value:
    """``x < 0 ? alpha * x : x``."""
    return e.op("LeakyRelu", node.tensor("x"), alpha=float(node.attr("alpha")))


@TABLE.lowers("prelu")
def prelu(node: NnefNode, e: Emitter) -> ir.Value:
    """``x < 0 ? alpha * x : x``, one alpha for each channel."""
    x, alpha = node.tensor("x"), node.tensor("alpha")
    if rank_of(alpha) <= rank_of(x) and all(
        extent in (1, other) for extent, other in zip(shape_of(alpha), shape_of(x), strict=False)
    ):
        return e.op("PRelu", x, with_rank(e, alpha, rank_of(x)))
    x, alpha = aligned(e, x, alpha)
    return e.op("Where", e.op("Less", x, scalar_const(node, e, 0.0)), e.op("Mul", alpha, x), x)
