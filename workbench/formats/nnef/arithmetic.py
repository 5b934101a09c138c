"""Compile-time arithmetic of NNEF on primitive values (NNEF 1.0.5, section 2, "Expressions").

Integers are 64-bit, division of integers truncates towards zero; scalars are computed in double precision.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from workbench import limits
from workbench.formats.nnef.binding import Mismatch, describe, primitive_name
from workbench.formats.nnef.graph import TensorRef, Value

_INTEGER_BOUND = 2**63
_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


def unary(symbol: str, value: Value) -> Value:
    """``+``, ``-`` of a number, ``!`` of a logical. Raises :class:`Mismatch`."""
    kind = primitive_name(value)
    if symbol == "!" and kind == "logical":
        return not value
    if symbol in "+-" and kind in ("integer", "scalar"):
        return -value if symbol == "-" else value
    raise Mismatch(f"the operator {symbol} does not apply to {describe(value, {})}")


def binary(symbol: str, left: Value, right: Value) -> Value:
    """Any binary operator but the lazy ``&&`` and ``||``. Raises :class:`Mismatch`, :class:`LimitError`."""
    if symbol == "in":
        if not isinstance(right, list):
            raise Mismatch(f"the operator in needs an array on its right, found {describe(right, {})}")
        return any(type(left) is type(item) and left == item for item in right)
    sequence = _sequence_operation(symbol, left, right)
    if sequence is not None:
        return sequence
    kind = primitive_name(left)
    if kind == "" or kind != primitive_name(right):
        raise Mismatch(f"the operator {symbol} does not apply to {describe(left, {})} and {describe(right, {})}")
    if symbol in _COMPARISONS:
        return _COMPARISONS[symbol](left, right)
    if kind not in ("integer", "scalar"):
        raise Mismatch(f"the operator {symbol} does not apply to {kind} values")
    return _checked(symbol, left, right)


def _sequence_operation(symbol: str, left: Value, right: Value) -> Value | None:
    if symbol == "+" and isinstance(left, str | list) and type(left) is type(right):
        limits.check("nodes", len(left) + len(right), "length of an array or string made by +")
        return operator.add(left, right)
    if symbol == "*" and isinstance(right, str | list) and primitive_name(left) == "integer":
        left, right = right, left
    if symbol == "*" and isinstance(left, str | list) and primitive_name(right) == "integer":
        limits.check("nodes", len(left) * max(right, 0), "length of an array or string made by *")
        return left * right
    return None


def _checked(symbol: str, left: Value, right: Value) -> Value:
    try:
        if symbol == "/":
            result = _divided(left, right)
        elif symbol == "^":
            result = _raised(left, right)
        else:
            result = _ARITHMETIC[symbol](left, right)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise Mismatch(f"{left} {symbol} {right} has no value ({error})") from None
    if isinstance(result, int) and not -_INTEGER_BOUND <= result < _INTEGER_BOUND:
        raise Mismatch(f"{left} {symbol} {right} does not fit into 64 bits")
    return result


def _divided(left: Value, right: Value) -> Value:
    if isinstance(left, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _raised(base: Value, exponent: Value) -> Value:
    if isinstance(base, float):
        return math.pow(base, exponent)
    if exponent < 0:
        return _divided(1, base**-exponent) if abs(base) <= 1 else 0
    if abs(base) > 1 and exponent > 64:
        raise OverflowError("too large")
    return base**exponent


def convert(kind: str, value: Value) -> Value:
    """``integer(…)``, ``scalar(…)``, ``logical(…)``, ``string(…)`` of a primitive. Raises :class:`Mismatch`."""
    if isinstance(value, TensorRef | list | tuple):
        raise Mismatch(f"{kind}(…) does not apply to {describe(value, {})}")
    try:
        if kind == "integer":
            result = int(value)
            if not -_INTEGER_BOUND <= result < _INTEGER_BOUND:
                raise OverflowError("it does not fit into 64 bits")
            return result
        if kind == "scalar":
            return float(value)
        if kind == "logical":
            return bool(value)
    except (ValueError, OverflowError) as error:
        raise Mismatch(f"{kind}({str(value)[:40]!r}) has no value ({error})") from None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
