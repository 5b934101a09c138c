"""Element-wise operators: https://onnx.ai/onnx/operators/."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.from_onnx.builder import EXACT_INTEGERS, TABLE, Builder, Tensor, kind_of
from workbench.hub import HubNode, dtype_named
from workbench.lowering import Refused

_UNARY = {
    "Neg": "neg",
    "Reciprocal": "rcp",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Tanh": "tanh",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
    "Abs": "abs",
    "Sign": "sign",
    "Floor": "floor",
    "Ceil": "ceil",
    "Sqrt": "sqrt",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
}
_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul", "Pow": "pow"}
_COMPARISONS = {"Equal": "eq", "Less": "lt", "Greater": "gt", "LessOrEqual": "le", "GreaterOrEqual": "ge"}
_VARIADIC = {"Sum": "add", "Mean": "add", "Max": "max", "Min": "min"}
_NARROW = ("int8", "uint8", "int16", "uint16", "uint32")


def operand(node: HubNode, b: Builder, value: ir.Value) -> Tensor:
    """An operand of arithmetic as scalar; integers are declared to be exact up to 2^24 only."""
    x = b.tensor(value)
    if x.kind != "scalar" or kind_of(node.dtype(value)) == "integer":
        if kind_of(node.dtype(value)) == "integer" and EXACT_INTEGERS not in node.approximations:
            node.approximate(EXACT_INTEGERS)
        return b.scalar(x)
    return x


def _refuse_wrapping(node: HubNode) -> None:
    """Arithmetic on narrow integers wraps around, which scalars do not."""
    if node.dtype(node.outputs[0]) in _NARROW:
        raise Refused(f"arithmetic on {node.dtype(node.outputs[0])} wraps around; NNEF computes with scalars")


@TABLE.lowers(*_UNARY)
def unary(node: HubNode, b: Builder) -> Tensor:
    """``y = f(x)``."""
    if kind_of(node.dtype(node.value(0))) == "integer":
        _refuse_wrapping(node)
    return b.op(_UNARY[node.operator], operand(node, b, node.value(0)))


@TABLE.lowers("Round")
def round_11(node: HubNode, b: Builder) -> Tensor:
    """To the nearest integer; NNEF leaves the case of two nearest open."""
    node.approximate("values halfway between two integers: other readers may round them away from zero")
    return b.op("round", b.tensor(node.value(0)))


@TABLE.lowers("Not")
def not_1(node: HubNode, b: Builder) -> Tensor:
    """Negation."""
    return b.op("not", b.logical(b.tensor(node.value(0))))


@TABLE.lowers("Identity")
def identity(node: HubNode, b: Builder) -> Tensor:
    """The same tensor."""
    return b.tensor(node.value(0))


@TABLE.lowers("Dropout")
def dropout_13(node: HubNode, b: Builder) -> list[Tensor | None]:
    """Nothing at inference."""
    node.ignore("seed")
    if node.input(2) is not None and bool(node.require_constant(2).item()):
        raise Refused("training_mode is true", "export the model for inference")
    return [b.tensor(node.value(0)), None]


@TABLE.lowers(*_ARITHMETIC)
def arithmetic(node: HubNode, b: Builder) -> Tensor:
    """``z = f(x, y)`` with broadcasting."""
    _refuse_wrapping(node)
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    return b.op(_ARITHMETIC[node.operator], x, y)


@TABLE.lowers("Div")
def div_14(node: HubNode, b: Builder) -> Tensor:
    """Quotient; that of integers is truncated."""
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    quotient = b.op("div", x, y)
    if kind_of(node.dtype(node.outputs[0])) == "scalar":
        return quotient
    return b.op("mul", b.op("sign", quotient), b.op("floor", b.op("abs", quotient)))


@TABLE.lowers("Mod")
def mod_13(node: HubNode, b: Builder) -> Tensor:
    """Remainder of integers, with the sign of the divisor."""
    if node.attr_int("fmod") or kind_of(node.dtype(node.outputs[0])) != "integer":
        raise Refused("the remainder of scalars is not exact when computed by a division")
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    return b.op("sub", x, b.op("mul", y, b.op("floor", b.op("div", x, y))))


@TABLE.lowers(*_COMPARISONS)
def comparison(node: HubNode, b: Builder) -> Tensor:
    """A logical tensor."""
    if node.dtype(node.value(0)) == "bool":
        return b.op("not", _xor(b, *_logical_pair(node, b)))
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    return b.op(_COMPARISONS[node.operator], x, y)


def _logical_pair(node: HubNode, b: Builder) -> list[Tensor]:
    return b.aligned(b.logical(b.tensor(node.value(0))), b.logical(b.tensor(node.value(1))))


def _xor(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    return b.op("or", b.op("and", x, b.op("not", y)), b.op("and", b.op("not", x), y))


@TABLE.lowers("And", "Or")
def logical(node: HubNode, b: Builder) -> Tensor:
    """Conjunction, disjunction."""
    return b.op(node.operator.lower(), *_logical_pair(node, b))


@TABLE.lowers("Xor")
def xor_7(node: HubNode, b: Builder) -> Tensor:
    """Exclusive or, by and, or and not."""
    return _xor(b, *_logical_pair(node, b))


@TABLE.lowers(*_VARIADIC)
def variadic(node: HubNode, b: Builder) -> Tensor:
    """A chain of the operation with two operands; Mean divides in the end."""
    values = [value for value in node.inputs if value is not None]
    result, *rest = [operand(node, b, value) for value in values]
    for other in rest:
        result = b.op(_VARIADIC[node.operator], *b.aligned(result, other))
    return b.op("div", result, b.number(float(len(values)))) if node.operator == "Mean" else result


@TABLE.lowers("Where")
def where_16(node: HubNode, b: Builder) -> Tensor:
    """Selection."""
    x, y = b.tensor(node.value(1)), b.tensor(node.value(2))
    if x.kind != y.kind:
        x, y = b.scalar(x), b.scalar(y)
    condition, x, y = b.aligned(b.logical(b.tensor(node.value(0))), x, y)
    return b.op("select", condition, x, y)


@TABLE.lowers("Clip")
def clip_13(node: HubNode, b: Builder) -> Tensor:
    """Bounds, either of which may be absent."""
    x = operand(node, b, node.value(0))
    bounds = [None if node.input(i) is None else operand(node, b, node.value(i)) for i in (1, 2)]
    low, high = (None if bound is None else b.aligned(x, b.reshape(bound, ()))[1] for bound in bounds)
    known = [bound.array for bound in (low, high) if bound is not None and bound.array is not None]
    if low is not None and high is not None and len(known) == 2 and known[0].item() <= known[1].item():
        return b.op("clamp", x, low, high)
    if low is not None:
        x = b.op("max", x, low)
    return x if high is None else b.op("min", x, high)


@TABLE.lowers("Cast")
def cast_24(node: HubNode, b: Builder) -> Tensor:
    """Between scalar, integer and logical."""
    node.ignore("saturate", "round_mode")  # of the float8 types, which are refused
    node.attr_int("to")  # repeated in the output's type
    return converted(node, b, b.tensor(node.value(0)))


@TABLE.lowers("CastLike")
def castlike_19(node: HubNode, b: Builder) -> Tensor:
    """As Cast, to the type of the second input."""
    node.ignore("saturate", "round_mode")
    return converted(node, b, b.tensor(node.value(0)))


def converted(node: HubNode, b: Builder, x: Tensor) -> Tensor:
    """``x`` in the kind of the node's output."""
    source, target = node.dtype(node.value(0)), node.dtype(node.outputs[0])
    if kind_of(source) == kind_of(target) == "scalar" and source != target:
        raise Refused(f"from {source} to {target}: NNEF's scalar has one precision in a graph")
    if kind_of(target) == "integer" and kind_of(source) != "logical" and _narrows(source, target):
        node.approximate(f"values beyond the range of {target} do not wrap around")
    return b.like(x, node.outputs[0])


def _narrows(source: str, target: str) -> bool:
    if kind_of(source) == "scalar":
        return target != "int64"
    wide, narrow = np.iinfo(source), np.iinfo(target)
    return bool(wide.min < narrow.min or wide.max > narrow.max)


@TABLE.lowers("IsNaN")
def isnan_20(node: HubNode, b: Builder) -> Tensor:
    """What differs from itself."""
    x = b.tensor(node.value(0))
    return b.op("ne", x, x)


@TABLE.lowers("IsInf")
def isinf_20(node: HubNode, b: Builder) -> Tensor:
    """What lies beyond the largest finite number."""
    x = b.tensor(node.value(0))
    largest = float(np.finfo(dtype_named(b.scalar_dtype).numpy()).max)
    positive, negative = node.attr_int("detect_positive"), node.attr_int("detect_negative")
    above, below = b.op("gt", x, b.number(largest)), b.op("lt", x, b.number(-largest))
    if positive and negative:
        return b.op("or", above, below)
    if positive or negative:
        return above if positive else below
    return b.op("and", above, below)  # neither is looked for: false everywhere


@TABLE.lowers("Erf")
def erf_13(node: HubNode, b: Builder) -> Tensor:
    """Abramowitz and Stegun 7.1.26."""
    return erf(node, b, b.tensor(node.value(0)))


def erf(node: HubNode, b: Builder, x: Tensor) -> Tensor:
    """The error function by a rational approximation; declared as approximate."""
    node.approximate("erf within 5e-7 absolute")
    size = b.op("abs", x)
    t = b.op("rcp", b.op("add", b.op("mul", size, b.number(0.3275911)), b.number(1.0)))
    series: Tensor = b.number(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = b.op("add", b.op("mul", t, series), b.number(coefficient))
    tail = b.op("mul", b.op("mul", series, t), b.op("exp", b.op("neg", b.op("mul", x, x))))
    return b.op("mul", b.op("sign", x), b.op("sub", b.number(1.0), tail))


# activations


@TABLE.lowers("Gelu")
def gelu_20(node: HubNode, b: Builder) -> Tensor:
    """``x · Φ(x)``, by erf or by tanh."""
    x = b.tensor(node.value(0))
    if node.attr_string("approximate") == "tanh":
        cube = b.op("mul", b.op("mul", x, x), x)
        inner = b.op("add", x, b.op("mul", cube, b.number(0.044715)))
        bent = b.op("tanh", b.op("mul", inner, b.number(math.sqrt(2.0 / math.pi))))
    else:
        bent = erf(node, b, b.op("mul", x, b.number(math.sqrt(0.5))))
    return b.op("mul", b.op("mul", x, b.number(0.5)), b.op("add", bent, b.number(1.0)))


@TABLE.lowers("HardSigmoid")
def hardsigmoid_6(node: HubNode, b: Builder) -> Tensor:
    """``max(0, min(1, alpha · x + beta))``."""
    scaled = b.op("mul", b.tensor(node.value(0)), b.number(node.attr_float("alpha")))
    return b.op("clamp", b.op("add", scaled, b.number(node.attr_float("beta"))), b.number(0.0), b.number(1.0))


@TABLE.lowers("HardSwish")
def hardswish_14(node: HubNode, b: Builder) -> Tensor:
    """``x · max(0, min(1, x / 6 + 0.5))``."""
    x = b.tensor(node.value(0))
    gate = b.op("add", b.op("mul", x, b.number(1.0 / 6.0)), b.number(0.5))
    return b.op("mul", x, b.op("clamp", gate, b.number(0.0), b.number(1.0)))


@TABLE.lowers("Elu")
def elu_6(node: HubNode, b: Builder) -> Tensor:
    """``x < 0 ? alpha · (exp(x) - 1) : x``."""
    return b.op("elu", b.tensor(node.value(0)), alpha=node.attr_float("alpha"))


@TABLE.lowers("Selu")
def selu_22(node: HubNode, b: Builder) -> Tensor:
    """``gamma · (x < 0 ? alpha · (exp(x) - 1) : x)``."""
    gamma = b.number(node.attr_float("gamma"))
    return b.op("mul", b.op("elu", b.tensor(node.value(0)), alpha=node.attr_float("alpha")), gamma)


@TABLE.lowers("Celu")
def celu_12(node: HubNode, b: Builder) -> Tensor:
    """``max(0, x) + min(0, alpha · (exp(x / alpha) - 1))``."""
    x, alpha = b.tensor(node.value(0)), node.attr_float("alpha")
    bent = b.op("sub", b.op("exp", b.op("div", x, b.number(alpha))), b.number(1.0))
    return b.op("add", b.op("relu", x), b.op("min", b.op("mul", bent, b.number(alpha)), b.number(0.0)))


@TABLE.lowers("LeakyRelu")
def leakyrelu_16(node: HubNode, b: Builder) -> Tensor:
    """``x < 0 ? alpha · x : x``."""
    return b.op("leaky_relu", b.tensor(node.value(0)), alpha=node.attr_float("alpha"))


@TABLE.lowers("PRelu")
def prelu_16(node: HubNode, b: Builder) -> Tensor:
    """``x < 0 ? slope · x : x``; the slope broadcasts to x."""
    x = b.tensor(node.value(0))
    slope = b.with_rank(b.tensor(node.value(1)), x.rank)
    while slope.rank > 2 and slope.shape[-1] == 1 and slope.array is not None:
        slope = b.reshape(slope, slope.shape[:-1])  # [1, channels], the usual form
    return b.op("prelu", x, slope)


@TABLE.lowers("ThresholdedRelu")
def thresholdedrelu_10(node: HubNode, b: Builder) -> Tensor:
    """``x > alpha ? x : 0``."""
    x = b.tensor(node.value(0))
    return b.op("select", b.op("gt", x, b.number(node.attr_float("alpha"))), x, b.number(0.0))


@TABLE.lowers("Swish")
def swish_24(node: HubNode, b: Builder) -> Tensor:
    """``x · sigmoid(alpha · x)``."""
    x, alpha = b.tensor(node.value(0)), node.attr_float("alpha")
    return b.op("mul", x, b.op("sigmoid", x if alpha == 1.0 else b.op("mul", x, b.number(alpha))))


@TABLE.lowers("Softsign")
def softsign_1(node: HubNode, b: Builder) -> Tensor:
    """``x / (1 + |x|)``."""
    x = b.tensor(node.value(0))
    return b.op("div", x, b.op("add", b.op("abs", x), b.number(1.0)))


@TABLE.lowers("Mish")
def mish_18(node: HubNode, b: Builder) -> Tensor:
    """``x · tanh(softplus(x))``."""
    x = b.tensor(node.value(0))
    return b.op("mul", x, b.op("tanh", b.op("softplus", x)))


@TABLE.lowers("Shrink")
def shrink_9(node: HubNode, b: Builder) -> Tensor:
    """``x < -lambd ? x + bias : x > lambd ? x - bias : 0``."""
    x, bias, edge = operand(node, b, node.value(0)), node.attr_float("bias"), node.attr_float("lambd")
    above = b.op("select", b.op("gt", x, b.number(edge)), b.op("sub", x, b.number(bias)), b.number(0.0))
    return b.op("select", b.op("lt", x, b.number(-edge)), b.op("add", x, b.number(bias)), above)


@TABLE.lowers("Softmax")
def softmax_13(node: HubNode, b: Builder) -> Tensor:
    """Along one axis."""
    return b.op("softmax", b.tensor(node.value(0)), axes=[node.axis()])


@TABLE.lowers("LogSoftmax")
def logsoftmax_13(node: HubNode, b: Builder) -> Tensor:
    """``x - max - log(sum(exp(x - max)))``."""
    x, axes = b.tensor(node.value(0)), [node.axis()]
    centred = b.op("sub", x, b.op("max_reduce", x, axes=axes))
    return b.op("sub", centred, b.op("log", b.op("sum_reduce", b.op("exp", centred), axes=axes)))


@TABLE.lowers("Hardmax")
def hardmax_13(node: HubNode, b: Builder) -> Tensor:
    """One at the first maximum along an axis, zeros elsewhere."""
    x, axis = b.tensor(node.value(0)), node.axis()
    first = b.scalar(b.op("argmax_reduce", x, axes=[axis]))
    positions = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.rank)])
    return b.op("select", b.op("eq", first, b.const(positions)), b.number(1.0), b.number(0.0))
