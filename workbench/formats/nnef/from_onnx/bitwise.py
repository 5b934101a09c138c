"""Operators on the bits of integers, each bit a scalar along a new last axis: https://onnx.ai/onnx/operators/."""

from __future__ import annotations

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.integers import bits_of, range_of, wrapped_around
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused


def _require_exact(b: Builder, dtype: str) -> None:
    """Refuse integers that the graph's scalars do not all hold."""
    if 2 ** bits_of(dtype) > b.whole:
        raise Refused(f"the bits of {dtype} are asked for, and {b.scalar_dtype} does not hold all of its values")


def _bits(b: Builder, x: Tensor, count: int) -> Tensor:
    """``[*, count]`` of zeros and ones, the lowest bit first; of negative numbers those of the two's complement."""
    weights = b.const((2.0 ** np.arange(count)).reshape((1,) * x.rank + (count,)))
    parts = b.op("floor", b.op("div", b.op("unsqueeze", x, axes=[x.rank]), weights))
    return b.op("sub", parts, b.op("mul", b.op("floor", b.op("mul", parts, b.number(0.5))), b.number(2.0)))


@TABLE.lowers("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise_18(node: HubNode, b: Builder) -> Tensor:
    """Bit by bit: a product, a maximum, a difference; the highest bit of signed integers weighs negatively."""
    dtype = node.dtype(node.outputs[0])
    signed = not dtype.startswith("u")
    count = bits_of(dtype)
    _require_exact(b, dtype)
    x, y = (operand(node, b, node.value(index)) for index in range(2))
    rank = max(x.rank, y.rank)
    x, y = (_bits(b, b.with_rank(value, rank), count) for value in (x, y))
    if node.operator == "BitwiseXor":
        made = b.op("abs", b.op("sub", x, y))
    else:
        made = b.op("mul" if node.operator == "BitwiseAnd" else "max", x, y)
    weights = 2.0 ** np.arange(count)
    weights[-1] *= -1 if signed else 1
    weighted = b.op("mul", made, b.const(weights.reshape((1,) * rank + (count,))))
    return b.op("squeeze", b.op("sum_reduce", weighted, axes=[rank]), axes=[rank])


@TABLE.lowers("BitwiseNot")
def bitwisenot_18(node: HubNode, b: Builder) -> Tensor:
    """``-1 - x``, or the greatest value less ``x``."""
    dtype = node.dtype(node.outputs[0])
    _require_exact(b, dtype)
    highest = range_of(dtype)[1] if dtype.startswith("u") else -1
    return b.op("sub", b.number(float(highest)), operand(node, b, node.value(0)))


@TABLE.lowers("BitShift")
def bitshift_11(node: HubNode, b: Builder) -> Tensor:
    """A product with or a division by a power of two from a table."""
    dtype, left = node.dtype(node.outputs[0]), node.attr_string("direction") == "LEFT"
    x, places = operand(node, b, node.value(0)), b.scalar(b.tensor(node.value(1)))
    _require_exact(b, dtype)
    most = bits_of(dtype)
    powers = b.const(2.0 ** np.arange(most + 1))
    chosen = b.integer(b.op("clamp", places, b.number(0.0), b.number(float(most))))
    x, factor = b.aligned(x, b.op("gather", powers, chosen, axis=0))
    if not left:
        return b.op("floor", b.op("div", x, factor))
    return wrapped_around(b, b.op("mul", x, factor), dtype)
