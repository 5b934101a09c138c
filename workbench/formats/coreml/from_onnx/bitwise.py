"""Operators on the bits of integers, which MIL does not have: the bits are taken apart and put together by arithmetic.

All integers are carried by int32. The lower bits of ``x`` are ⌊x / 2ᵏ⌋ mod 2, which holds in two's complement; the sign
is the bit that is left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.from_onnx.carrier import NARROW
from workbench.formats.coreml.from_onnx.narrow import wrapped
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused

_LOGIC = {"BitwiseAnd": "logical_and", "BitwiseOr": "logical_or", "BitwiseXor": "logical_xor"}
_HALF = np.int32(2**30)
_SIGNED = {"uint32": ir.DataType.INT32, "uint64": ir.DataType.INT64}


@lowers("BitwiseNot", since=18)
def bitwisenot_18(node: HubNode, t: ProgramTarget) -> Any:
    """−1 − x; of unsigned integers the largest one minus x."""
    dtype = node.dtype(node.outputs[0])
    if dtype in ("uint32", "uint64"):
        raise Refused(f"the complement of {dtype} lies beyond the 32 bits of Core ML's integers")
    return t.op("sub", x=np.int32(NARROW[dtype][1] if dtype in ("uint8", "uint16") else -1), y=t.var(node.value(0)))


@lowers("BitwiseAnd", "BitwiseOr", "BitwiseXor", since=18)
def bitwise_18(node: HubNode, t: ProgramTarget) -> Any:
    """Bit by bit: [elements, bits] booleans, combined and summed with their weights."""
    shape, dtype = node.shape(node.outputs[0]), node.dtype(node.outputs[0])
    count = int(np.iinfo(dtype).bits) - (np.iinfo(dtype).min < 0)
    bits = min(count, 31)
    sides = [t.reshape(t.broadcast(t.var(node.value(index)), shape), (math.prod(shape), 1)) for index in range(2)]
    weights = t.const(np.left_shift(1, np.arange(bits, dtype=np.int64)).reshape(1, bits), "weights")
    found = t.op(_LOGIC[node.operator], x=_bits(t, sides[0], weights), y=_bits(t, sides[1], weights))
    parts = t.op("mul", x=t.cast(found, "int32"), y=weights)
    result = t.op("reduce_sum", x=parts, axes=[1], keep_dims=True)
    if np.iinfo(dtype).min < 0:
        negative = t.op(_LOGIC[node.operator], x=_negative(t, sides[0]), y=_negative(t, sides[1]))
        result = t.op("select", cond=negative, a=_lowered(t, result, bits), b=result)
    return t.reshape(result, shape)


def _bits(t: ProgramTarget, x: Var, weights: Var) -> Var:
    halved = t.op("floor_div", x=x, y=weights)
    return t.op("equal", x=t.op("mod", x=halved, y=np.int32(2)), y=np.int32(1))


def _negative(t: ProgramTarget, x: Var) -> Var:
    return t.op("less", x=x, y=np.int32(0))


def _lowered(t: ProgramTarget, x: Var, bits: int) -> Var:
    """x − 2ᵇⁱᵗˢ, in steps that int32 has."""
    if bits < 31:
        return t.op("sub", x=x, y=np.int32(2**bits))
    return t.op("sub", x=t.op("sub", x=x, y=_HALF), y=_HALF)


@lowers("BitShift", since=11)
def bitshift_11(node: HubNode, t: ProgramTarget) -> Any:
    """By a product with a power of two, or a division that rounds down; what is shifted out is gone."""
    dtype, left = node.dtype(node.outputs[0]), node.attr_string("direction") == "LEFT"
    width = int(np.iinfo(dtype).bits)
    if left and dtype in _SIGNED and _read_as(node.outputs[0], _SIGNED[dtype]):
        return _shifted_around(node, t)
    if left and dtype not in NARROW:
        raise Refused(
            f"a {dtype} shifted to the left may leave the 32 bits of Core ML's integers",
            "multiply by a power of two in int32, or cast to uint16 before the node",
        )
    x, bits = t.var(node.value(0)), min(width, 31)
    shape = node.shape(node.outputs[0])
    count = t.op("minimum", x=t.broadcast(t.var(node.value(1)), shape), y=np.int32(bits))
    if not left:
        beyond = t.op("greater_equal", x=count, y=np.int32(31))
        power = _power(t, t.op("minimum", x=count, y=np.int32(30)))
        found = t.op("floor_div", x=t.broadcast(x, shape), y=power)
        return found if bits < 31 else t.op("select", cond=beyond, a=np.int32(0), b=found)
    kept = t.op("mod", x=t.broadcast(x, shape), y=_power(t, t.op("sub", x=np.int32(width), y=count)))
    return wrapped(t, t.op("mul", x=kept, y=_power(t, count)), dtype)


def _read_as(value: ir.Value, dtype: ir.DataType) -> bool:
    """Whether the bits are only read as those of signed integers, further shifts to the left included."""
    readers = value.consumers()
    return bool(readers) and not value.is_graph_output() and all(_reads_as(node, value, dtype) for node in readers)


def _reads_as(node: ir.Node, value: ir.Value, dtype: ir.DataType) -> bool:
    if node.op_type == "Cast":
        return node.attributes["to"].as_int() == dtype.value
    shift = node.op_type == "BitShift" and node.attributes["direction"].as_string() == "LEFT"
    return shift and node.inputs[0] is value is not node.inputs[1] and _read_as(node.outputs[0], dtype)


def _shifted_around(node: HubNode, t: ProgramTarget) -> Var:
    """x · 2ᶜ modulo 2³², as int32.

    Of x the lower 31 − c bits are kept, less the bit above them, which becomes the sign; nothing on the way leaves the
    32 bits. Of 64 bits the lower 32 are the number, if it fits.
    """
    shape = node.shape(node.outputs[0])
    x, count = (t.broadcast(t.var(node.value(index)), shape) for index in range(2))
    by = t.op("minimum", x=t.op("maximum", x=count, y=np.int32(1)), y=np.int32(31))
    part = _power(t, t.op("sub", x=np.int32(31), y=by))
    sign = t.op("mod", x=t.op("floor_div", x=x, y=part), y=np.int32(2))
    rest = t.op("sub", x=t.op("mod", x=x, y=part), y=t.op("mul", x=sign, y=part))
    half = t.op("mul", x=rest, y=_power(t, t.op("sub", x=by, y=np.int32(1))))
    moved = t.op("mul", x=half, y=np.int32(2))
    inside = t.select(t.op("greater_equal", x=count, y=np.int32(32)), np.int32(0), moved, shape)
    return t.select(t.op("equal", x=count, y=np.int32(0)), x, inside, shape)


def _power(t: ProgramTarget, exponent: Var) -> Var:
    """2 to the power of 0 … 30, looked up."""
    powers = t.const(np.left_shift(1, np.arange(31, dtype=np.int64)), "powers")
    shape = t.shape(exponent)
    flat = t.reshape(exponent, (math.prod(shape),))
    return t.reshape(t.op("gather", x=powers, indices=flat, axis=0), shape)
