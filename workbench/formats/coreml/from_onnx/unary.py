"""Elementwise operators of one input. MIL: ``elementwise_unary``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import NARROW, carrier
from workbench.formats.coreml.from_onnx.narrow import wrapped
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget
from workbench.hub import HubNode
from workbench.lowering import Refused

_PLAIN = {
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
}


@lowers("Ceil", "Erf", "Exp", "Floor", "Sigmoid", "Sign", "Sqrt", "Tanh", since=13)
@lowers("Cos", "Cosh", "Sin", "Sinh", "Tan", "Acos", "Asin", "Atan", "Atanh", since=22)
def plain_13(node: HubNode, t: ProgramTarget) -> Any:
    """Operators that MIL has under another name and with the same definition."""
    return t.op(_PLAIN[node.operator], x=t.var(node.value(0)))


@lowers("Abs", since=13)
def abs_13(node: HubNode, t: ProgramTarget) -> Any:
    """The least integer has no positive counterpart of its width, and stays."""
    return wrapped(t, t.op("abs", x=t.var(node.value(0))), node.dtype(node.value(0)))


@lowers("Neg", since=13)
def neg_13(node: HubNode, t: ProgramTarget) -> Any:
    """By −1, which keeps the sign of zero as a subtraction from zero does not."""
    x = t.var(node.value(0))
    return wrapped(t, t.op("mul", x=x, y=t.scalar(-1, x)), node.dtype(node.value(0)))


@lowers("Reciprocal", since=13)
def reciprocal_13(node: HubNode, t: ProgramTarget) -> Any:
    """By division: MIL's ``inverse`` adds an epsilon."""
    x = t.var(node.value(0))
    return t.op("real_div", x=t.scalar(1, x), y=x)


@lowers("Log", since=13)
def log_13(node: HubNode, t: ProgramTarget) -> Any:
    """MIL adds an epsilon (1e-45 unless told otherwise), which would hide the −∞ of log 0."""
    x = t.var(node.value(0))
    return t.op("log", x=x, epsilon=t.scalar(0, x))


@lowers("Round", since=22)
def round_22(node: HubNode, t: ProgramTarget) -> Any:
    """Halves go to the even neighbour in both (coremltools' value inference is ``numpy.round``)."""
    return t.op("round", x=t.var(node.value(0)))


@lowers("Asinh", since=22)
def asinh_22(node: HubNode, t: ProgramTarget) -> Any:
    """sign x · log(|x| + √(x² + 1))"""
    node.approximate("asinh as sign x · log(|x| + √(x² + 1)): relative 1e-6 for 1e-3 < |x| < 1e18, absolute 1e-7 below")
    x = t.var(node.value(0))
    size = t.op("abs", x=x)
    root = t.op("sqrt", x=t.op("add", x=t.op("mul", x=x, y=x), y=t.scalar(1, x)))
    logarithm = t.op("log", x=t.op("add", x=size, y=root), epsilon=t.scalar(0, x))
    return t.op("mul", x=t.op("sign", x=x), y=logarithm)


@lowers("Acosh", since=22)
def acosh_22(node: HubNode, t: ProgramTarget) -> Any:
    """log(x + √(x − 1) · √(x + 1))"""
    node.approximate("acosh as log(x + √(x − 1) · √(x + 1)): absolute 1e-7 · (1 + log x)")
    x = t.var(node.value(0))
    low = t.op("sqrt", x=t.op("sub", x=x, y=t.scalar(1, x)))
    high = t.op("sqrt", x=t.op("add", x=x, y=t.scalar(1, x)))
    return t.op("log", x=t.op("add", x=x, y=t.op("mul", x=low, y=high)), epsilon=t.scalar(0, x))


@lowers("Identity", since=25)
def identity_25(node: HubNode, t: ProgramTarget) -> Any:
    return t.op("identity", x=t.var(node.value(0)))


@lowers("Dropout", since=22)
def dropout_22(node: HubNode, t: ProgramTarget) -> Any:
    """Inference passes the data through, as does a share of nothing; a mask that is asked for is all true."""
    node.ignore("seed")
    if bool(node.constant_or(2, np.asarray(False))) and node.constant_or(1, np.asarray(0.5)) != 0:
        raise Refused("the node drops values as in training", "export the model for inference")
    data = node.value(0)
    kept = t.op("identity", x=t.var(data))
    if len(node.outputs) < 2 or not node.outputs[1].name:
        return kept
    return [kept, t.const(np.ones(node.shape(data), dtype=np.bool_), "mask")]


@lowers("Cast", since=25)
def cast_25(node: HubNode, t: ProgramTarget) -> Any:
    node.attr_int("to")
    node.ignore("saturate", "round_mode")  # they speak of float8, which has no carrier
    return convert(node, t)


@lowers("CastLike", since=25)
def castlike_25(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("saturate", "round_mode")
    return convert(node, t)


def convert(node: HubNode, t: ProgramTarget) -> Any:
    """Truncate to integers, as C does; an integer narrower than 32 bits wraps around."""
    source, result = node.dtype(node.value(0)), node.dtype(node.outputs[0])
    x = t.var(node.value(0))
    if source == result:
        return t.op("identity", x=x)
    if result not in NARROW or source == "bool" or _includes(result, source):
        wanted = carrier(result)
        return t.op("identity", x=x) if t.kind(x) == wanted else t.cast(x, wanted)
    return wrapped(t, t.cast(x, "int32"), result)


def _includes(wide: str, narrow: str) -> bool:
    if narrow not in NARROW:
        return False
    return NARROW[wide][0] <= NARROW[narrow][0] and NARROW[narrow][1] <= NARROW[wide][1]


@lowers("Not", since=1)
def not_1(node: HubNode, t: ProgramTarget) -> Any:
    return t.op("logical_not", x=t.var(node.value(0)))


@lowers("IsNaN", since=20)
def isnan_20(node: HubNode, t: ProgramTarget) -> Any:
    """NaN is the one value that differs from itself."""
    x = t.var(node.value(0))
    return t.op("not_equal", x=x, y=x)


@lowers("IsInf", since=20)
def isinf_20(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    negative, positive = node.attr_int("detect_negative"), node.attr_int("detect_positive")
    if negative and positive:
        return t.op("equal", x=t.op("abs", x=x), y=t.scalar(np.inf, x))
    if not negative and not positive:
        return t.const(np.zeros(node.shape(node.outputs[0]), dtype=np.bool_), "none")
    return t.op("equal", x=x, y=t.scalar(np.inf if positive else -np.inf, x))
