"""Arithmetic on integers, which tract has, and element-wise operators that it has in one piece."""

from __future__ import annotations

import math

import numpy as np

from workbench.formats.nnef.from_onnx.elementwise import converted
from workbench.formats.nnef.from_onnx.precision import FLOATS
from workbench.formats.nnef.from_onnx.tensor import Tensor, kind_of
from workbench.formats.nnef.tract.builder import TractBuilder
from workbench.formats.nnef.tract.declarations import DATUM_NAMES
from workbench.formats.nnef.tract.from_onnx.table import TABLE
from workbench.hub import HubNode
from workbench.lowering import Refused

_UNARY = {"Neg": "neg", "Abs": "abs", "Sign": "sign"}
_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
_COMPARISONS = {"Equal": "eq", "Less": "lt", "Greater": "gt", "LessOrEqual": "le", "GreaterOrEqual": "ge"}
_VARIADIC = {"Sum": "add", "Max": "max", "Min": "min"}
_BITWISE = {"BitwiseAnd": "tract_core_bitand", "BitwiseOr": "tract_core_bitor", "BitwiseXor": "tract_core_bitxor"}


def whole(dtype: str) -> bool:
    """Whether int64 holds every value of the dtype, and arithmetic on it is the dtype's modulo its size."""
    return "int" in dtype and dtype in DATUM_NAMES and dtype != "uint64"


def standard(node: HubNode, b: TractBuilder) -> object:
    """What the standard dialect says of the node."""
    lowering = TABLE.base.find(node.operator, node.version, node.domain)
    if lowering is None:
        raise Refused("it is not said in what tract has")
    return lowering(node, b)


def wrapped(node: HubNode, b: TractBuilder, x: Tensor) -> Tensor:
    """Integers in the range of the node's output."""
    dtype = node.dtype(node.outputs[0])
    return x if dtype == "int64" else b.through(x, dtype)


def product(b: TractBuilder, x: Tensor, y: Tensor) -> Tensor:
    """Of integers; tract has no square of them, which it takes a product with itself for."""
    if x is y:
        return b.op("neg", b.op("mul", b.op("neg", x), y))
    return b.op("mul", x, y)


@TABLE.lowers(*_UNARY)
def unary(node: HubNode, b: TractBuilder) -> object:
    """``y = f(x)``; of integers in int64, then in their own range."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    return wrapped(node, b, b.op(_UNARY[node.operator], b.whole_numbers(node.value(0))))


@TABLE.lowers(*_BINARY)
def binary(node: HubNode, b: TractBuilder) -> object:
    """``z = f(x, y)``; a division of integers drops the remainder, as ONNX's does."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    x, y = (b.whole_numbers(node.value(index)) for index in range(2))
    if node.operator == "Mul":
        return wrapped(node, b, product(b, *(b.aligned(x, y) if x is not y else (x, y))))
    return wrapped(node, b, b.op(_BINARY[node.operator], *b.aligned(x, y)))


@TABLE.lowers("Mod")
def mod_13(node: HubNode, b: TractBuilder) -> object:
    """The remainder with the sign of the divisor, or of the dividend."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    x, y = b.aligned(*(b.whole_numbers(node.value(index)) for index in range(2)))
    rest = b.op("sub", x, b.op("mul", b.op("div", x, y), y))
    if node.attr_int("fmod"):
        return rest
    zero = b.const(np.zeros((), np.int64), "integer")
    other = b.op("lt", b.op("mul", b.op("sign", rest), b.op("sign", y)), zero)
    return b.op("select", other, b.op("add", rest, y), rest)


@TABLE.lowers(*_COMPARISONS)
def comparison(node: HubNode, b: TractBuilder) -> object:
    """A logical tensor."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    return b.op(_COMPARISONS[node.operator], *b.aligned(*(b.whole_numbers(node.value(index)) for index in range(2))))


@TABLE.lowers(*_VARIADIC)
def variadic(node: HubNode, b: TractBuilder) -> object:
    """A chain of the operation with two operands."""
    if not whole(node.dtype(node.outputs[0])):
        return standard(node, b)
    result, *rest = [b.whole_numbers(value) for value in node.inputs if value is not None]
    for other in rest:
        result = b.op(_VARIADIC[node.operator], *b.aligned(result, other))
    return wrapped(node, b, result) if node.operator == "Sum" else result


@TABLE.lowers("Clip")
def clip_13(node: HubNode, b: TractBuilder) -> object:
    """Bounds, either of which may be absent."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    x = b.whole_numbers(node.value(0))
    for index, name in ((1, "max"), (2, "min")):
        if node.input(index) is not None:
            x = b.op(name, x, b.reshape(b.whole_numbers(node.value(index)), ()))
    return x


@TABLE.lowers("Cast", "CastLike")
def cast_24(node: HubNode, b: TractBuilder) -> object:
    """Between the dtypes that tract has by its own casts; others as the standard dialect rounds them."""
    source, target = node.dtype(node.value(0)), node.dtype(node.outputs[0])
    if node.operator == "Cast":
        node.attr_int("to")  # repeated in the output's type
    if not (source in DATUM_NAMES and target in DATUM_NAMES) or "uint64" in (source, target):
        return converted(node, b, b.tensor(node.value(0)))
    node.ignore("saturate", "round_mode")  # of the narrow floats
    x = b.tensor(node.value(0))
    if kind_of(target) == "scalar":
        wide = source == "bool" or (source in FLOATS and FLOATS[source].within(FLOATS[target]))
        number = b.scalar(x)
        return number if wide or target == b.scalar_dtype or number.data is not None else b.through(number, target)
    if kind_of(target) == "logical":
        return b.logical(x) if x.kind != "integer" else b.op("ne", x, b.const(np.zeros((), np.int64), "integer"))
    number = b.integer(x)
    fits = target == "int64" or source == "bool" or (whole(source) and np.can_cast(source, target))
    return number if fits else b.through(number, target)


@TABLE.lowers(*_BITWISE)
def bitwise_18(node: HubNode, b: TractBuilder) -> Tensor:
    """Bit by bit."""
    return b.op(_BITWISE[node.operator], *b.aligned(*(b.whole_numbers(node.value(index)) for index in range(2))))


@TABLE.lowers("BitwiseNot")
def bitwisenot_18(node: HubNode, b: TractBuilder) -> Tensor:
    """Every bit turned."""
    return wrapped(node, b, b.op("tract_core_bitnot", b.whole_numbers(node.value(0))))


@TABLE.lowers("BitShift")
def bitshift_11(node: HubNode, b: TractBuilder) -> object:
    """Bits moved up or down."""
    dtype, left = node.dtype(node.outputs[0]), node.attr_string("direction") == "LEFT"
    if not whole(dtype):
        return standard(node, b)
    x, y = b.aligned(*(b.whole_numbers(node.value(index)) for index in range(2)))
    moved = b.op("tract_shl" if left else "tract_shr", x, y)
    return wrapped(node, b, moved) if left else moved


# in one piece


@TABLE.lowers("Round")
def round_11(node: HubNode, b: TractBuilder) -> Tensor:
    """To the nearest integer, halves to the even one."""
    return b.op("tract_core_round_even", b.tensor(node.value(0)))


@TABLE.lowers("Erf")
def erf_13(node: HubNode, b: TractBuilder) -> object:
    """The error function; tract has none of float64."""
    if b.scalar_dtype == "float64":
        return standard(node, b)
    return b.op("tract_core_erf", b.tensor(node.value(0)))


@TABLE.lowers("Gelu")
def gelu_20(node: HubNode, b: TractBuilder) -> object:
    """``x · Φ(x)``, by erf or by tanh."""
    if node.attr_string("approximate") == "tanh" or b.scalar_dtype == "float64":
        return standard(node, b)
    x = b.tensor(node.value(0))
    bent = b.op("tract_core_erf", b.op("mul", x, b.number(math.sqrt(0.5))))
    return b.op("mul", b.op("mul", x, b.number(0.5)), b.op("add", bent, b.number(1.0)))


@TABLE.lowers("IsNaN")
def isnan_20(node: HubNode, b: TractBuilder) -> Tensor:
    """Whether it is not a number."""
    return b.op("tract_core_is_nan", b.tensor(node.value(0)))


@TABLE.lowers("IsInf")
def isinf_20(node: HubNode, b: TractBuilder) -> Tensor:
    """Whether it is infinite, of the signs that are asked for."""
    positive, negative = (bool(node.attr_int(f"detect_{sign}")) for sign in ("positive", "negative"))
    return b.op("tract_core_is_inf", b.tensor(node.value(0)), detect_positive=positive, detect_negative=negative)


@TABLE.lowers("Xor")
def xor_7(node: HubNode, b: TractBuilder) -> Tensor:
    """Exclusive or."""
    return b.op("tract_core_xor", *b.aligned(*(b.logical(b.tensor(node.value(index))) for index in range(2))))
