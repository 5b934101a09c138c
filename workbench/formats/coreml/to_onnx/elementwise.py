"""Unary and binary elementwise operators, comparisons, logic, casts and selection.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.elementwise_unary
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from workbench.formats.coreml.tensors import like
from workbench.formats.coreml.to_onnx.table import Lowering, MilOperation, dtype_of, mil
from workbench.hub import Emitter, dtype_named

_UNARY = {
    "abs": "Abs", "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos",
    "cosh": "Cosh", "erf": "Erf", "exp": "Exp", "floor": "Floor", "identity": "Identity", "logical_not": "Not",
    "round": "Round", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip

_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "real_div": "Div", "maximum": "Max", "minimum": "Min",
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
}  # fmt: skip


def _unary(target: str) -> Lowering:
    def lowering(op: MilOperation, emit: Emitter) -> ir.Value:
        return emit.op(target, op.value())

    return lowering


def _binary(target: str) -> Lowering:
    def lowering(op: MilOperation, emit: Emitter) -> ir.Value:
        return emit.op(target, op.value("x"), op.value("y"))

    return lowering


def _register(table: dict[str, str], make: Callable[[str], Lowering]) -> None:
    for operator, target in table.items():
        mil.lowers(operator)(make(target))


_register(_UNARY, _unary)
_register(_BINARY, _binary)


@mil.lowers("exp2")
def exp2(op: MilOperation, emit: Emitter) -> ir.Value:
    """``2 ** x``"""
    x = op.value()
    return emit.op("Pow", like(emit, 2.0, x), x)


@mil.lowers("square")
def square(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x * x``"""
    x = op.value()
    return emit.op("Mul", x, x)


def _shifted(op: MilOperation, emit: Emitter, default: float) -> ir.Value:
    """``x + epsilon``"""
    x = op.value()
    epsilon = op.number("epsilon", default)
    return x if epsilon == 0 else emit.op("Add", x, like(emit, epsilon, x))


@mil.lowers("log")
def log(op: MilOperation, emit: Emitter) -> ir.Value:
    """``log(x + epsilon)``"""
    return emit.op("Log", _shifted(op, emit, 1e-45))


@mil.lowers("rsqrt")
def rsqrt(op: MilOperation, emit: Emitter) -> ir.Value:
    """``1 / sqrt(x + epsilon)``"""
    return emit.op("Reciprocal", emit.op("Sqrt", _shifted(op, emit, 1e-12)))


@mil.lowers("inverse")
def inverse(op: MilOperation, emit: Emitter) -> ir.Value:
    """``1 / (x + epsilon)``"""
    return emit.op("Reciprocal", _shifted(op, emit, 1e-4))


@mil.lowers("not_equal")
def not_equal(op: MilOperation, emit: Emitter) -> ir.Value:
    """``x != y``"""
    return emit.op("Not", emit.op("Equal", op.value("x"), op.value("y")))


@mil.lowers("mod")
def mod(op: MilOperation, emit: Emitter) -> ir.Value:
    """The remainder with the sign of the divisor, as Python has it."""
    return remainder(emit, op.value("x"), op.value("y"))


def remainder(emit: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    """``x - floor(x / y) * y``, without the rounding of that formula."""
    if x.dtype is not ir.DataType.FLOAT:
        return emit.op("Mod", x, y)
    rest = emit.op("Mod", x, y, fmod=1)  # exact, with the sign of the dividend
    zero = like(emit, 0.0, x)
    differ = emit.op("Xor", emit.op("Less", rest, zero), emit.op("Less", y, zero))
    wrong = emit.op("And", differ, emit.op("Not", emit.op("Equal", rest, zero)))
    return emit.op("Where", wrong, emit.op("Add", rest, y), rest)


@mil.lowers("floor_div")
def floor_div(op: MilOperation, emit: Emitter) -> ir.Value:
    """``floor(x / y)``; of integers rounded towards minus infinity too, where ONNX rounds towards zero."""
    x, y = op.value("x"), op.value("y")
    if x.dtype is ir.DataType.FLOAT:
        return emit.op("Floor", emit.op("Div", x, y))
    return emit.op("Div", emit.op("Sub", x, emit.op("Mod", x, y)), y)


@mil.lowers("clip")
def clip(op: MilOperation, emit: Emitter) -> ir.Value:
    """``min(max(x, alpha), beta)``"""
    x = op.value()
    return emit.op("Clip", x, like(emit, op.number("alpha"), x), like(emit, op.number("beta"), x))


@mil.lowers("threshold")
def threshold(op: MilOperation, emit: Emitter) -> ir.Value:
    """``max(x, alpha)``"""
    x = op.value()
    return emit.op("Max", x, like(emit, op.number("alpha"), x))


@mil.lowers("cast")
def cast(op: MilOperation, emit: Emitter) -> ir.Value:
    """Convert to ``dtype``; fractions are cut off on the way to integers, anything but zero is true."""
    x = op.value()
    target = dtype_of(op.text("dtype"))
    if target == "float16":  # by way of float32; the result is narrowed when it is bound
        target = "float32"
    return emit.op("Cast", x, to=dtype_named(target).value)


@mil.lowers("select")
def select(op: MilOperation, emit: Emitter) -> ir.Value:
    """``a`` where ``cond`` holds, ``b`` elsewhere."""
    return emit.op("Where", op.value("cond"), op.value("a"), op.value("b"))
