"""Elementwise operators of two and more inputs, with numpy's broadcasting. MIL: ``elementwise_binary``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.from_onnx.carrier import Array
from workbench.formats.coreml.from_onnx.narrow import refuse_narrow, wrapped
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode, constant_of
from workbench.lowering import Refused

_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul"}
_COMPARISONS = {
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
}
_MOST_POWER = 64
"""Power of integers up to which it is written out as products."""
_DIGITS = 24
"""Bits of float32's significand."""
_LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


@lowers("Add", "Sub", "Mul", since=14)
def arithmetic_14(node: HubNode, t: ProgramTarget) -> Any:
    dtype = node.dtype(node.outputs[0])
    if node.operator == "Mul" and dtype == "uint16":
        refuse_narrow(node)  # the product of two does not fit int32
    if node.operator == "Sub" and dtype == "float64" and (rounded := _rounded_by_a_sum(node)) is not None:
        return t.op("identity", x=t.var(rounded))
    found = t.op(_ARITHMETIC[node.operator], x=t.var(node.value(0)), y=t.var(node.value(1)))
    return wrapped(t, found, dtype)


def _rounded_by_a_sum(node: HubNode) -> ir.Value | None:
    """The ``x`` of ``(x + c) - c``, where the sum leaves ``x`` the digits that float32 has as well.

    Of a large ``c`` float32 would leave ``x`` none. NNEF has no other way to round to a narrower type.

    Raises:
        Refused: the sum takes digits from ``x`` that float32 has.
    """
    maker = node.value(0).producer()
    large = node.constant(1)
    if maker is None or maker.op_type != "Add" or large is None or large.size != 1 or abs(large.item()) < 2**_DIGITS:
        return None
    for x, c in (maker.inputs, maker.inputs[::-1]):
        added = constant_of(c)
        if x is not None and added is not None and added.size == 1 and added.item() == large.item():
            if np.spacing(abs(large.item())) > 2.0 ** (2 - _DIGITS):
                raise Refused(
                    f"it rounds by adding and subtracting {large.item():g}, for which float32 has too few digits",
                    "round in the source model with Round or a Cast",
                )
            return x
    return None


@lowers("Div", since=14)
def div_14(node: HubNode, t: ProgramTarget) -> Any:
    """Integers are divided towards zero; MIL's ``floor_div`` goes down, so the signs are taken apart."""
    x, y = t.var(node.value(0)), t.var(node.value(1))
    if t.is_float(x):
        return t.op("real_div", x=x, y=y)
    return wrapped(t, _towards_zero("floor_div", x, y, t), node.dtype(node.outputs[0]))


def _towards_zero(operator: str, x: Var, y: Var, t: ProgramTarget) -> Var:
    """``operator`` of the sizes, with the sign that a division towards zero gives."""
    size = t.op(operator, x=t.op("abs", x=x), y=t.op("abs", x=y))
    sign = t.op("sign", x=x)
    if operator == "floor_div":
        sign = t.op("mul", x=sign, y=t.op("sign", x=y))
    return t.op("mul", x=sign, y=size)


@lowers("Mod", since=13)
def mod_13(node: HubNode, t: ProgramTarget) -> Any:
    """``fmod=0``: the divisor's sign, as MIL and Python have it; ``fmod=1``: the dividend's, as C has it."""
    x, y = t.var(node.value(0)), t.var(node.value(1))
    if not node.attr_int("fmod"):
        return t.op("mod", x=x, y=y)
    return _towards_zero("mod", x, y, t)


@lowers("Pow", since=15)
def pow_15(node: HubNode, t: ProgramTarget) -> Any:
    """The exponent takes the base's dtype, which is the result's."""
    refuse_narrow(node)
    x, exponent = t.var(node.value(0)), node.value(1)
    y = t.var(exponent)
    if t.is_float(x):
        return t.op("pow", x=x, y=t.cast(y, t.kind(x)))
    constant = node.constant(1)
    if constant is None or (constant != np.floor(constant)).any():
        raise Refused(
            "integers to a power that is computed, or a fraction, round by rules that Core ML does not have",
            "cast to float32 in the source model",
        )
    if (constant < 0).any() or constant.max(initial=0) > _MOST_POWER:
        raise Refused(f"integers to powers of 0 to {_MOST_POWER} are exact in Core ML, not to others")
    return _integer_power(x, constant.astype(np.int64), node.shape(node.outputs[0]), t)


def _integer_power(x: Var, exponents: Array, shape: tuple[int, ...], t: ProgramTarget) -> Var:
    """By squares: for each binary digit of the exponents a factor, or 1 where the exponent does not have the digit."""
    square, result = x, t.const(np.ones(shape, np.int32), "one")
    for digit in range(int(exponents.max(initial=0)).bit_length()):
        if digit:
            square = t.op("mul", x=square, y=square)
        present = (exponents >> digit) & 1 == 1
        factor = square
        if not present.all():
            chosen, whole = t.const(present, "digit"), np.broadcast_shapes(t.shape(square), exponents.shape)
            factor = t.select(chosen, square, np.int32(1), whole)
        result = t.op("mul", x=result, y=factor)
    return result


@lowers("Max", "Min", since=13)
def extremum_13(node: HubNode, t: ProgramTarget) -> Any:
    operator = "maximum" if node.operator == "Max" else "minimum"
    return _chain(node, t, operator)


@lowers("Sum", since=13)
def sum_13(node: HubNode, t: ProgramTarget) -> Any:
    return _chain(node, t, "add")


@lowers("Mean", since=13)
def mean_13(node: HubNode, t: ProgramTarget) -> Any:
    total = _chain(node, t, "add")
    return t.op("real_div", x=total, y=t.scalar(len(node.inputs), total))


def _chain(node: HubNode, t: ProgramTarget, operator: str) -> Var:
    """Two by two, from the left, as ONNX's reference does."""
    values = [t.var(node.value(index)) for index in range(len(node.inputs))]
    if len(values) == 1:
        return t.op("identity", x=values[0])
    return functools.reduce(lambda x, y: t.op(operator, x=x, y=y), values)


@lowers("Less", "Greater", since=13)
@lowers("LessOrEqual", "GreaterOrEqual", since=16)
def comparison_13(node: HubNode, t: ProgramTarget) -> Any:
    return t.op(_COMPARISONS[node.operator], x=t.var(node.value(0)), y=t.var(node.value(1)))


@lowers("Equal", since=19)
def equal_19(node: HubNode, t: ProgramTarget) -> Any:
    x, y = t.var(node.value(0)), t.var(node.value(1))
    if t.kind(x) == "bool":
        return t.op("logical_not", x=t.op("logical_xor", x=x, y=y))
    return t.op("equal", x=x, y=y)


@lowers("And", "Or", "Xor", since=7)
def logic_7(node: HubNode, t: ProgramTarget) -> Any:
    return t.op(_LOGIC[node.operator], x=t.var(node.value(0)), y=t.var(node.value(1)))


@lowers("Where", since=16)
def where_16(node: HubNode, t: ProgramTarget) -> Any:
    """Booleans are selected by logic, for which every executor has an implementation."""
    condition, chosen, other = (t.var(node.value(index)) for index in range(3))
    if t.kind(chosen) != "bool":
        return t.select(condition, chosen, other, node.shape(node.outputs[0]))
    first = t.op("logical_and", x=condition, y=chosen)
    second = t.op("logical_and", x=t.op("logical_not", x=condition), y=other)
    return t.op("logical_or", x=first, y=second)


@lowers("PRelu", since=16)
def prelu_16(node: HubNode, t: ProgramTarget) -> Any:
    """MIL's ``prelu`` takes one slope a channel of a tensor of rank 3 and more; other slopes are selected."""
    x, slope = t.var(node.value(0)), node.value(1)
    shape, constant = t.shape(x), node.constant(1)
    if constant is not None and t.is_float(x) and len(shape) >= 3:
        per_channel = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
        if all(size == 1 for axis, size in enumerate(per_channel.shape) if axis != 1):
            alpha = np.broadcast_to(per_channel.reshape(-1), (shape[1],))
            return t.op("prelu", x=x, alpha=t.const(np.ascontiguousarray(alpha), slope.name or "slope"))
    below = t.op("less", x=x, y=t.scalar(0, x))
    return t.select(below, t.op("mul", x=x, y=t.var(slope)), x, shape)
