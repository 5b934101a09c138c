"""Element-wise operators: https://onnx.ai/onnx/operators/."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.integers import bits_of, narrows, product_of_words, wrapped_around
from workbench.formats.nnef.from_onnx.precision import FLOATS, rounded
from workbench.formats.nnef.from_onnx.tensor import Tensor, kind_of
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
_REMAINDER = "remainders within the rounding of the dividend, a whole divisor apart where it is nearly a multiple"
_VARIADIC = {"Sum": "add", "Mean": "add", "Max": "max", "Min": "min"}


def operand(node: HubNode, b: Builder, value: ir.Value) -> Tensor:
    """An operand of arithmetic as scalar; integers are declared to be exact up to a bound only."""
    x = b.tensor(value)
    if x.kind != "scalar" or kind_of(node.dtype(value)) == "integer":
        bound = f"integers are computed as scalars: exact up to 2^{FLOATS[b.scalar_dtype].bits} in magnitude"
        if kind_of(node.dtype(value)) == "integer" and bound not in node.approximations:
            node.approximate(bound)
        return b.scalar(x)
    return x


def _wrapped(node: HubNode, b: Builder, x: Tensor) -> Tensor:
    """Arithmetic on integers wraps around: exact for those of up to sixteen bits, not done for wider ones."""
    dtype = node.dtype(node.outputs[0])
    if kind_of(dtype) != "integer" or dtype in ("int32", "int64"):
        return x
    if bits_of(dtype) <= 16:
        return wrapped_around(b, x, dtype)
    node.approximate(f"what falls out of the range of {dtype} does not wrap around")
    return x


@TABLE.lowers(*_UNARY)
def unary(node: HubNode, b: Builder) -> Tensor:
    """``y = f(x)``."""
    return _wrapped(node, b, b.op(_UNARY[node.operator], operand(node, b, node.value(0))))


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
        share = 0.5 if node.input(1) is None else float(node.require_constant(1).item())
        if share != 0.0:
            raise Refused("training_mode is true", "export the model for inference")
    x = b.tensor(node.value(0))
    return [x, b.const(np.ones(x.shape), "logical") if len(node.outputs) > 1 and node.outputs[1].name else None]


@TABLE.lowers(*_ARITHMETIC)
def arithmetic(node: HubNode, b: Builder) -> Tensor:
    """``z = f(x, y)`` with broadcasting."""
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    dtype = node.dtype(node.outputs[0])
    if kind_of(dtype) == "integer" and bits_of(dtype) <= 16:
        if node.operator == "Pow":
            raise Refused(f"powers of {dtype} wrap around; NNEF computes with scalars")
        if node.operator == "Mul" and bits_of(dtype) == 16:
            return product_of_words(b, x, y, dtype)
    return _wrapped(node, b, b.op(_ARITHMETIC[node.operator], x, y))


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
    """Remainder with the sign of the divisor, or (``fmod``) of the dividend."""
    place, volume = b.within_planes.get(b.tensor(node.value(0)), (None, 0))
    divisor = node.constant(1)
    if place is not None and divisor is not None and divisor.size == 1 and divisor.item() == volume:
        node.ignore("fmod")
        return place
    x, y = b.aligned(operand(node, b, node.value(0)), operand(node, b, node.value(1)))
    integers = kind_of(node.dtype(node.outputs[0])) == "integer"
    if not node.attr_int("fmod") and integers:
        return b.op("sub", x, b.op("mul", y, b.op("floor", b.op("div", x, y))))
    size, step = b.op("abs", x), b.op("abs", y)
    remainder = b.op("sub", size, b.op("mul", step, b.op("floor", b.op("div", size, step))))
    if not integers:
        node.approximate(_REMAINDER)
        infinite = b.op("eq", b.op("mul", step, b.number(0.5)), step)
        within = b.op("and", infinite, b.op("lt", size, step))
        remainder = b.op("select", within, size, remainder)  # of a finite number by infinity
    remainder = b.op("mul", b.op("sign", x), remainder)
    if node.attr_int("fmod"):
        return remainder
    other = b.op("lt", b.op("mul", b.op("sign", remainder), b.op("sign", y)), b.number(0.0))
    return b.op("select", other, b.op("add", remainder, y), remainder)


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
    node.attr_int("to")  # repeated in the output's type
    return converted(node, b, b.tensor(node.value(0)))


@TABLE.lowers("CastLike")
def castlike_19(node: HubNode, b: Builder) -> Tensor:
    """As Cast, to the type of the second input."""
    return converted(node, b, b.tensor(node.value(0)))


def converted(node: HubNode, b: Builder, x: Tensor) -> Tensor:
    """``x`` in the kind of the node's output."""
    source, target = node.dtype(node.value(0)), node.dtype(node.outputs[0])
    saturate = bool(node.attr_int("saturate"))
    node.ignore("round_mode")  # of float8e8m0, which is refused
    if kind_of(target) == "scalar":
        exact = source in FLOATS and FLOATS[source].within(FLOATS[target])
        return b.scalar(x) if exact or source == "bool" else rounded(b, b.scalar(x), target, saturate)
    if kind_of(target) == "integer" and kind_of(source) != "logical" and narrows(source, target):
        tiny = bits_of(target) <= 4
        if bits_of(target) > 16 or not (tiny or kind_of(source) == "integer"):
            node.approximate(f"values beyond the range of {target} do not wrap around")
        else:
            whole = operand(node, b, node.value(0)) if kind_of(source) == "integer" else b.scalar(b.integer(x))
            x = wrapped_around(b, whole, target)
    return b.like(x, node.outputs[0])


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


# x · P(x²) / Q(x²), lowest power first: fitted to erf on [-4, 4], relative error 2.5e-8. All terms are positive, so
# that nothing cancels. Beyond 4 erf is ±1 in float32.
_ERF_LIMIT = 4.0
_ERF_P = (1.128379139, 0.1935407758, 0.05310116538, 0.003883155228, 0.0002845608585, 1.986805742e-06)
_ERF_Q = (1.0, 0.5048536038, 0.1153482151, 0.01520687557, 0.001185523772, 3.742015152e-05)


@TABLE.lowers("Erf")
def erf_13(node: HubNode, b: Builder) -> Tensor:
    """The error function by a rational approximation."""
    return erf(node, b, b.tensor(node.value(0)))


def erf(node: HubNode, b: Builder, x: Tensor) -> Tensor:
    """The error function by a rational approximation, as good near zero as elsewhere; declared as approximate."""
    node.approximate("erf within 5e-7 absolute")
    inner = b.op("clamp", x, b.number(-_ERF_LIMIT), b.number(_ERF_LIMIT))
    square = b.op("mul", inner, inner)
    above, below = (_polynomial(b, square, coefficients) for coefficients in (_ERF_P, _ERF_Q))
    bent = b.op("div", b.op("mul", inner, above), below)
    flat = b.op("ge", b.op("abs", x), b.number(_ERF_LIMIT))  # exactly ±1, so that what multiplies 1 + erf(x) vanishes
    return b.op("select", flat, b.op("sign", x), bent)


def _polynomial(b: Builder, x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum of ``coefficients[k] · x^k``."""
    total = b.op("mul", x, b.number(coefficients[-1]))
    for coefficient in coefficients[-2:0:-1]:
        total = b.op("mul", b.op("add", total, b.number(coefficient)), x)
    return b.op("add", total, b.number(coefficients[0]))


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
