"""Products of integers in float32, exact, and what quantised operators are made of.

A sum of products of integers is exact in float32 as long as nothing on the way exceeds 2²⁴. Where ``terms`` products of
two bytes could, one factor (or both) is taken apart into its upper and lower four bits, and the partial sums are put
together in int32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, dtype, passed_on
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.hub.values import constant_of
from workbench.lowering import Refused

_EXACT = 2**24
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
Product = Callable[[ir.Value, ir.Value], ir.Value]


def centred(k: Kit, x: ir.Value, zero: ir.Value | None, shape: tuple[int, ...] = ()) -> ir.Value:
    """x − zero point in float32; the zero point is brought into ``shape`` first unless it is a scalar."""
    whole = k.cast(x, "float32")
    if zero is None:
        return whole
    if math.prod(dims(zero)) == 1:
        shape = ()
    return k("Sub", whole, k.cast(k.reshape(zero, shape), "float32"))


def exact_sum(k: Kit, make: Product, x: ir.Value, y: ir.Value, terms: int) -> ir.Value:
    """``make(x, y)`` as int32, every bit of it right.

    Args:
        make: a bilinear operator on float32, each element of which is a sum of ``terms`` products.
        x, y: float32 values that hold integers of at most nine bits with their sign.

    Raises:
        Refused: the sums are too long for any split.
    """
    left, right = _bound(x), _bound(y)
    if terms * left * right <= _EXACT:
        return k.cast(make(x, y), "int32")
    if constant_of(x) is not None and constant_of(y) is None:
        return exact_sum(k, lambda a, b: make(b, a), y, x, terms)
    if right <= 16:
        if left <= 16:
            raise Refused(f"a sum of {terms} products of integers is not exact in float32")
        return exact_sum(k, lambda a, b: make(b, a), y, x, terms)
    high = k("Floor", k("Mul", y, 1 / 16))
    low = k("Sub", y, k("Mul", high, 16.0))
    if terms * left * 16 <= _EXACT:
        upper, lower = (k.cast(make(x, part), "int32") for part in (high, low))
    else:
        upper, lower = (_halved(k, make, x, part, terms) for part in (high, low))
    return k("Add", k("Mul", upper, 16), lower)


def _halved(k: Kit, make: Product, x: ir.Value, part: ir.Value, terms: int) -> ir.Value:
    """The product with what is at most 16, the other factor taken apart."""
    if terms * 16 * 16 > _EXACT:
        raise Refused(f"a sum of {terms} products of integers is not exact in float32", "split the reduced dimension")
    high = k("Floor", k("Mul", x, 1 / 16))
    low = k("Sub", x, k("Mul", high, 16.0))
    upper, lower = (k.cast(make(half, part), "int32") for half in (high, low))
    return k("Add", k("Mul", upper, 16), lower)


def _bound(value: ir.Value) -> int:
    constant = constant_of(value)
    return 255 if constant is None else int(np.abs(constant).max(initial=0))


def requantised(k: Kit, real: ir.Value, zero: ir.Value | None, result: str) -> ir.Value:
    """round(real) + zero point, halves to even, kept within the range of ``result``."""
    low, high = _RANGES[result]
    steps = k("Round", real)
    if zero is not None:
        steps = k("Add", steps, k.cast(zero, "float32"))
    return k.cast(k("Clip", steps, float(low), float(high)), result)


def integer_matmul(
    node: HubNode, k: Kit, x: ir.Value, y: ir.Value, zeros: tuple[ir.Value | None, ir.Value | None]
) -> ir.Value:
    """(x − x zero point) @ (y − y zero point) as int32; zero points are scalars or per row of x, per column of y."""
    left, right = zeros
    rows = () if left is None else (*dims(left), 1) if len(dims(left)) == 1 else dims(left)
    columns = () if right is None else dims(right)
    a, b = centred(k, x, left, rows), centred(k, y, right, columns)
    return exact_sum(k, lambda p, q: k("MatMul", p, q), a, b, dims(x)[-1])


@composes("MatMulInteger", since=10)
def matmulinteger_10(node: HubNode, emit: Emitter) -> Any:
    return integer_matmul(node, Kit(emit), node.value(0), node.value(1), (node.input(2), node.input(3)))


@composes("QLinearMatMul", since=21)
def qlinearmatmul_21(node: HubNode, emit: Emitter) -> Any:
    """a, a scale, a zero point, b, b scale, b zero point, y scale, y zero point."""
    k = Kit(emit)
    total = integer_matmul(node, k, node.value(0), node.value(3), (node.value(2), node.value(5)))
    scales = [k.cast(node.value(index), "float32") for index in (1, 4, 6)]
    rows = dims(scales[0])
    if len(rows) == 1 and rows[0] > 1:
        scales[0] = k.reshape(scales[0], (*rows, 1))
    factor = k("Div", k("Mul", scales[0], scales[1]), scales[2])
    real = k("Mul", k.cast(total, "float32"), factor)
    return requantised(k, real, node.value(7), dtype(node.value(7)))


def convolution(node: HubNode, k: Kit, x: ir.Value, w: ir.Value) -> ir.Value:
    """The convolution of centred data with centred weights as int32, with the node's own attributes."""
    attributes = passed_on(node)
    terms = math.prod(dims(w)[1:])
    return exact_sum(k, lambda data, weights: k("Conv", data, weights, **attributes), x, w, terms)


def _channels(rank: int) -> tuple[int, ...]:
    return (-1, *(1,) * (rank - 1))


@composes("ConvInteger", since=10)
def convinteger_10(node: HubNode, emit: Emitter) -> Any:
    """Padding is with the zero point, so with zeros once that is taken off."""
    k, weights = Kit(emit), node.value(1)
    x = centred(k, node.value(0), node.input(2))
    return convolution(node, k, x, centred(k, weights, node.input(3), _channels(len(dims(weights)))))


@composes("QLinearConv", since=10)
def qlinearconv_10(node: HubNode, emit: Emitter) -> Any:
    """x, x scale, x zero point, w, w scale, w zero point, y scale, y zero point, bias in int32."""
    k, weights = Kit(emit), node.value(3)
    rank = len(dims(weights))
    x = centred(k, node.value(0), node.value(2))
    total = convolution(node, k, x, centred(k, weights, node.value(5), _channels(rank)))
    if node.input(8) is not None:
        total = k("Add", total, k.reshape(node.value(8), (1, -1, *(1,) * (rank - 2))))
    scale = node.value(4)
    if math.prod(dims(scale)) > 1:
        scale = k.reshape(scale, (1, -1, *(1,) * (rank - 2)))
    factor = k("Div", k("Mul", node.value(1), scale), node.value(6))
    return requantised(k, k("Mul", k.cast(total, "float32"), factor), node.value(7), dtype(node.value(7)))


@composes("DynamicQuantizeLinear", since=11)
def dynamicquantizelinear_11(node: HubNode, emit: Emitter) -> Any:
    return dynamic(Kit(emit), node.value(0))


def dynamic(k: Kit, x: ir.Value) -> list[ir.Value]:
    """Quantise to uint8 by the range of the data, zero included: result, scale, zero point.

    Data that is zero throughout has the scale 1, as onnxruntime has it (the definition divides by zero there).
    """
    low = k("Min", k("ReduceMin", x, keepdims=0), 0.0)
    high = k("Max", k("ReduceMax", x, keepdims=0), 0.0)
    width = k("Sub", high, low)
    scale = k("Where", k("Equal", width, 0.0), 1.0, k("Div", width, 255.0))
    zero = k("Round", k("Clip", k("Div", k("Neg", low), scale), 0.0, 255.0))
    steps = k("Add", k("Round", k("Div", x, scale)), zero)
    return [k.cast(k("Clip", steps, 0.0, 255.0), "uint8"), scale, k.cast(zero, "uint8")]
