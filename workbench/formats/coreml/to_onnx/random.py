"""Random numbers, made in the graph by hashing the position of each element with the seed.

A seed gives the same numbers in every run and on every machine; an operation without one (seed -1) takes a seed of its
own, by its name. Inside a loop the number of the iteration is hashed in too, so that each draws numbers of its own.
Core ML's own generator is not specified: the distributions are the same, the numbers are not.

The operators: ``coremltools.converters.mil.mil.ops.defs.iOS15.random`` in
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter
from workbench.lowering import Refused

Shape = ir.Value | Sequence[int]

_MASK = 2**32 - 1
_MIXING = (16, 0x21F0AAAD, 15, 0xD35A2D97, 15)
"""Shift, multiply, shift, multiply, shift: a bijection of 32 bits with low bias, https://github.com/skeeto/hash-prospector"""


@dataclass(frozen=True)
class Keys:
    """What decides all numbers of an operation.

    Attributes:
        first: 32 bits, added to the positions; ``second`` is laid over their hashes.
        turn: inside a loop, a word of 32 bits that differs from iteration to iteration: int64 without dimensions.
    """

    first: int
    second: int
    turn: ir.Value | None = None


def keys(seed: int, name: str, turn: ir.Value | None = None) -> Keys:
    """The keys of an operation: by its seed, or by its name if that is -1."""
    digest = hashlib.sha256((f"name {name}" if seed == -1 else f"seed {seed}").encode()).digest()
    return Keys(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"), turn)


def turn_of(emit: Emitter, iteration: ir.Value, outer: ir.Value | None) -> ir.Value:
    """The word of an iteration of a loop: int64 without dimensions, as ``iteration`` and that of the loop around it."""
    if outer is not None:
        iteration = emit.op("Add", iteration, _mixed(emit, outer))
    return _mixed(emit, emit.op("BitwiseAnd", emit.op("Add", iteration, emit.const(1)), emit.const(_MASK)))


def _mixed(emit: Emitter, words: ir.Value) -> ir.Value:
    """Hash words of 32 bits, held as int64: a product with a factor of 31 bits and a sign never overflows."""
    for step in _MIXING:
        if step < 32:
            words = emit.op("BitwiseXor", words, emit.op("Div", words, emit.const(2**step)))
        else:
            factor = step - 2**32 if step >= 2**31 else step
            words = emit.op("BitwiseAnd", emit.op("Mul", words, emit.const(factor)), emit.const(_MASK))
    return words


def bits(emit: Emitter, shape: Shape, key: Keys, stream: int = 0, streams: int = 1) -> ir.Value:
    """Random words ``0 … 2**32 - 1`` as int64 ``[*shape]``.

    Args:
        shape: a constant, or an int64 tensor of rank 1.
        key: of :func:`keys`.
        stream: which of several words that the operation needs for every element.
        streams: how many it needs.
    """
    sizes = shape if isinstance(shape, ir.Value) else emit.const(list(shape), "int64")
    count = emit.op("ReduceProd", sizes, keepdims=0)
    positions = emit.op("Range", emit.const(0), count, emit.const(1))
    counters = emit.op("Add", emit.op("Mul", positions, emit.const(streams)), emit.const(stream + key.first))
    words = _mixed(emit, emit.op("BitwiseAnd", counters, emit.const(_MASK)))
    words = _mixed(emit, emit.op("BitwiseXor", words, emit.const(key.second)))
    if key.turn is not None:
        words = _mixed(emit, emit.op("BitwiseXor", words, key.turn))
    return emit.op("Reshape", words, sizes, allowzero=1)


def _unit(emit: Emitter, words: ir.Value) -> ir.Value:
    """The upper 24 bits of the words as float32 in ``[0, 1)``: every one of them is exact."""
    high = emit.op("Cast", emit.op("Div", words, emit.const(2**8)), to=ir.DataType.FLOAT.value)
    return emit.op("Mul", high, emit.const(2.0**-24))


def uniform(
    emit: Emitter, shape: Shape, key: Keys, low: float = 0.0, high: float = 1.0, dtype: str = "float32"
) -> ir.Value:
    """``low + u (high - low)`` in ``[low, high)`` as float32; rounded to ``dtype`` it stays below ``high``.

    Raises:
        Refused: ``high`` is below ``low``, where the result is not defined.
    """
    if not high >= low:
        raise Refused(f"the interval [{low}, {high}) is empty, the result is not defined")
    unit = _unit(emit, bits(emit, shape, key))
    if (low, high) == (0.0, 1.0) and dtype == "float32":
        return unit
    x = emit.op("Add", emit.op("Mul", unit, emit.const(high - low)), emit.const(low))
    if high == low:
        return x
    narrow = np.dtype(dtype).type
    below = np.nextafter(narrow(high), narrow(low))
    return emit.op("Min", x, emit.const(float(below)))


def normal(emit: Emitter, shape: Shape, key: Keys, mean: float = 0.0, deviation: float = 1.0) -> ir.Value:
    """``mean + deviation * sqrt(-2 ln u) cos(2 pi v)`` as float32 (Box and Muller), up to 6.6 deviations away."""
    first, second = (bits(emit, shape, key, stream, streams=2) for stream in (0, 1))
    positive = emit.op("Cast", emit.op("Add", first, emit.const(1)), to=ir.DataType.FLOAT.value)
    logarithm = emit.op("Log", emit.op("Mul", positive, emit.const(2.0**-32)))
    radius = emit.op("Sqrt", emit.op("Mul", logarithm, emit.const(-2.0)))
    angle = emit.op("Mul", _unit(emit, second), emit.const(2 * math.pi))
    x = emit.op("Mul", radius, emit.op("Cos", angle))
    return emit.op("Add", emit.op("Mul", x, emit.const(deviation)), emit.const(mean))


def bernoulli(emit: Emitter, shape: Shape, key: Keys, probability: float = 0.5) -> ir.Value:
    """1 where ``u < probability``, else 0, as float32."""
    return emit.op(
        "Cast", emit.op("Less", uniform(emit, shape, key), emit.const(probability)), to=ir.DataType.FLOAT.value
    )


def categorical(emit: Emitter, x: ir.Value, size: int, key: Keys, *, logits: bool = True) -> ir.Value:
    """Draw ``size`` classes from each row, with replacement: ``[*D, K]`` → ``[*D, size]``, as float32.

    The class is the first whose cumulated probability exceeds ``u`` times the row's sum.

    Args:
        logits: whether the rows hold logarithms of probabilities; else probabilities, up to a factor.
    """
    x = emit.op("Softmax", x, axis=-1) if logits else x
    ends = emit.op("CumSum", x, emit.const(-1))
    total = emit.op("Slice", ends, emit.const([-1]), emit.const([2**62]), emit.const([-1]))
    shape = emit.op("Concat", emit.op("Shape", x, end=-1), emit.const([size]), axis=0)
    points = emit.op("Mul", uniform(emit, shape, key), total)
    before = emit.op(
        "LessOrEqual", emit.op("Unsqueeze", ends, emit.const([-2])), emit.op("Unsqueeze", points, emit.const([-1]))
    )
    counts = emit.op("Cast", before, to=ir.DataType.FLOAT.value)
    return emit.op("ReduceSum", counts, emit.const([-1]), keepdims=0)


def _keys(op: MilOperation) -> Keys:
    return keys(op.integer("seed", -1), op.outputs[0].name, op.turn)


@mil.lowers("random_uniform")
def random_uniform(op: MilOperation, emit: Emitter) -> ir.Value:
    """Equally distributed over ``[low, high)``."""
    low, high = op.number("low", 0.0), op.number("high", 1.0)
    return uniform(emit, op.integers(emit, "shape"), _keys(op), low, high, op.outputs[0].dtype)


@mil.lowers("random_normal")
def random_normal(op: MilOperation, emit: Emitter) -> ir.Value:
    """Normally distributed with ``mean`` and ``stddev``."""
    mean, deviation = op.number("mean", 0.0), op.number("stddev", 1.0)
    return normal(emit, op.integers(emit, "shape"), _keys(op), mean, deviation)


@mil.lowers("random_bernoulli")
def random_bernoulli(op: MilOperation, emit: Emitter) -> ir.Value:
    """1 with probability ``prob``, else 0."""
    return bernoulli(emit, op.integers(emit, "shape"), _keys(op), op.number("prob", 0.5))


@mil.lowers("random_categorical")
def random_categorical(op: MilOperation, emit: Emitter) -> ir.Value:
    """``size`` indices of classes from each distribution in the last dimension of ``x``."""
    logits = op.choice("mode", {"logits": True, "probs": False}, "logits")
    return categorical(emit, op.value(), op.integer("size", 1), _keys(op), logits=logits)
