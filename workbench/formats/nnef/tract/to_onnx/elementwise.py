"""Element-wise operations: dtypes are brought together as tract brings them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.elementwise import BINARY
from workbench.formats.nnef.to_onnx.node import aligned, rank_of
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast, datum_type, dtype_of
from workbench.hub import Emitter
from workbench.lowering import Refused

_BINARY = {
    **BINARY,
    "tract_core_xor": "Xor",
    "tract_core_bitand": "BitwiseAnd",
    "tract_core_bitor": "BitwiseOr",
    "tract_core_bitxor": "BitwiseXor",
}
_LOGICAL = ("and", "or", "tract_core_xor")
_BITWISE = {"tract_core_bitand": "And", "tract_core_bitor": "Or", "tract_core_bitxor": "Xor"}


def _is_one(value: ir.Value) -> bool:
    return value.shape is not None and all(dim == 1 for dim in value.shape)


def together(e: Emitter, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Both in the dtype that tract computes in: a constant takes the other's, else the wider one.

    Raises:
        Refused: no dtype holds the values of both.
    """
    a, b = dtype_of(x), dtype_of(y)
    if a == b:
        return x, y
    for own, other in ((x, y), (y, x)):
        if own.const_value is not None and (_is_one(own) or other.const_value is None):
            moved = cast(e, own, dtype_of(other))
            return (moved, y) if own is x else (x, moved)
    if a[0] == "f" != b[0] or a[0] != "f" == b[0]:
        raise Refused(f"tract has no dtype for {a} together with {b}")
    wide = np.promote_types(a, b).name
    return cast(e, x, wide), cast(e, y, wide)


def _pair(node: TractNode, e: Emitter) -> list[ir.Value]:
    return aligned(e, *together(e, node.tensor("x"), node.tensor("y")))


@TABLE.lowers(*_BINARY)
def binary(node: TractNode, e: Emitter) -> ir.Value:
    """``z = f(x, y)``, shapes aligned on the left."""
    x, y = _pair(node, e)
    if node.name in _LOGICAL:
        x, y = cast(e, x, "bool"), cast(e, y, "bool")
    operator = _BINARY[node.name]
    if node.name in _BITWISE and dtype_of(x) == "bool":
        operator = _BITWISE[node.name]
    return e.op(operator, x, y)


@TABLE.lowers("ne")
def ne(node: TractNode, e: Emitter) -> ir.Value:
    """``z = x != y``."""
    return e.op("Not", e.op("Equal", *_pair(node, e)))


@TABLE.lowers("tract_shl", "tract_shr")
def shift(node: TractNode, e: Emitter) -> ir.Value:
    """The bits moved; of signed numbers by a product, or a division that rounds down."""
    x, y = _pair(node, e)
    left = node.name == "tract_shl"
    if dtype_of(x).startswith("uint"):
        return e.op("BitShift", x, y, direction="LEFT" if left else "RIGHT")
    wide = cast(e, x, "int64")
    factor = cast(e, e.op("Pow", e.const(np.asarray(2.0), "float64"), cast(e, y, "float64")), "int64")
    if left:
        return cast(e, e.op("Mul", wide, factor), dtype_of(x))
    rest = e.op("Mod", wide, factor)
    return cast(e, e.op("Div", e.op("Sub", wide, rest), factor), dtype_of(x))


@TABLE.lowers("select")
def select(node: TractNode, e: Emitter) -> ir.Value:
    """``output = condition ? true_value : false_value``."""
    true, false = together(e, node.tensor("true_value"), node.tensor("false_value"))
    condition = cast(e, node.tensor("condition"), "bool")
    return e.op("Where", *aligned(e, condition, true, false))


@TABLE.lowers("clamp")
def clamp(node: TractNode, e: Emitter) -> ir.Value:
    """``max(min(x, b), a)``."""
    x, high = together(e, node.tensor("x"), node.tensor("b"))
    low, _ = together(e, node.tensor("a"), x)
    x, low, high = aligned(e, x, low, high)
    return e.op("Max", e.op("Min", x, high), low)


@TABLE.lowers("tract_core_cast")
def cast_to(node: TractNode, e: Emitter) -> ir.Value:
    """Another dtype; floats are truncated on their way to integers."""
    x = node.tensor("input")
    to = datum_type(node.attr("to"))
    return x if dtype_of(x) == to else cast(e, x, to)


@TABLE.lowers("copy")
def copy(node: TractNode, e: Emitter) -> ir.Value:
    """The same tensor."""
    return e.op("Identity", node.tensor("x"))


@TABLE.lowers("not", "tract_core_bitnot")
def negated(node: TractNode, e: Emitter) -> ir.Value:
    """Negation, of the truth or of every bit."""
    x = node.tensor("x")
    return e.op("Not" if dtype_of(x) == "bool" else "BitwiseNot", x)


@TABLE.lowers("relu")
def relu(node: TractNode, e: Emitter) -> ir.Value:
    """``max(x, 0)``."""
    return e.op("Relu", node.tensor("x"))


@TABLE.lowers("round")
def rounded(node: TractNode, e: Emitter) -> ir.Value:
    """To the nearest integer, halves away from zero."""
    x = node.tensor("x")
    size = e.op("Abs", x)
    down = e.op("Floor", size)
    half = e.const(np.asarray(0.5), node.scalar)
    more = e.op("GreaterOrEqual", e.op("Sub", size, down), half)
    return e.op("Mul", e.op("Sign", x), e.op("Add", down, cast(e, more, node.scalar)))


@TABLE.lowers("square")
def square(node: TractNode, e: Emitter) -> ir.Value:
    """``x · x``."""
    return e.op("Mul", node.tensor("x"), node.tensor("x"))


@TABLE.lowers("recip")
def recip(node: TractNode, e: Emitter) -> ir.Value:
    """``1 / x``."""
    return e.op("Reciprocal", node.tensor("x"))


@TABLE.lowers("tract_core_round_even")
def round_even(node: TractNode, e: Emitter) -> ir.Value:
    """To the nearest integer, halves to the even one."""
    return e.op("Round", node.tensor("x"))


@TABLE.lowers("tract_core_erf")
def erf(node: TractNode, e: Emitter) -> ir.Value:
    """The error function."""
    return e.op("Erf", node.tensor("x"))


@TABLE.lowers("tract_core_hard_swish")
def hard_swish(node: TractNode, e: Emitter) -> ir.Value:
    """``x · max(0, min(1, x / 6 + 1 / 2))``."""
    return e.op("HardSwish", node.tensor("x"))


@TABLE.lowers("tract_core_silu", "tract_transformers_silu")
def silu(node: TractNode, e: Emitter) -> ir.Value:
    """``x · sigmoid(x)``."""
    x = node.tensor("x")
    return e.op("Mul", x, e.op("Sigmoid", x))


@TABLE.lowers("tract_core_gelu_approx", "tract_transformers_gelu_approx")
def gelu_approx(node: TractNode, e: Emitter) -> ir.Value:
    """``x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x^p)))``, p = 3, or 2 in the fast form."""
    x = node.tensor("input")
    if not node.attr("fast_impl"):
        return e.op("Gelu", x, approximate="tanh")
    number = node.scalar
    inner = e.op("Add", x, e.op("Mul", e.op("Mul", x, x), e.const(np.asarray(0.044715), number)))
    bent = e.op("Tanh", e.op("Mul", inner, e.const(np.asarray(math.sqrt(2.0 / math.pi)), number)))
    half = e.op("Mul", x, e.const(np.asarray(0.5), number))
    return e.op("Mul", half, e.op("Add", bent, e.const(np.asarray(1.0), number)))


@TABLE.lowers("tract_core_pow_const")
def pow_const(node: TractNode, e: Emitter) -> ir.Value:
    """``x ^ exponent``."""
    x = node.tensor("input")
    return e.op("Pow", x, e.const(np.asarray(node.attr("exponent")), node.scalar))


@TABLE.lowers("tract_core_is_nan", "tract_onnx_is_nan")
def is_nan(node: TractNode, e: Emitter) -> ir.Value:
    """Whether it is not a number."""
    return e.op("IsNaN", node.tensor("x"))


@TABLE.lowers("tract_core_is_inf", "tract_onnx_isinf")
def is_inf(node: TractNode, e: Emitter) -> ir.Value:
    """Whether it is infinite, of the signs that are asked for."""
    signs: dict[str, Any] = {f"detect_{sign}": int(node.attr(f"detect_{sign}")) for sign in ("positive", "negative")}
    return e.op("IsInf", node.tensor("input"), **signs)


@TABLE.lowers("prelu")
def prelu(node: TractNode, e: Emitter) -> ir.Value:
    """``x < 0 ? alpha · x : x``."""
    x, alpha = together(e, node.tensor("x"), node.tensor("alpha"))
    if rank_of(alpha) == 0:
        return e.op("PRelu", x, alpha)
    x, alpha = aligned(e, x, alpha)
    zero = e.const(np.asarray(0.0), dtype_of(x))
    return e.op("Where", e.op("Less", x, zero), e.op("Mul", alpha, x), x)
