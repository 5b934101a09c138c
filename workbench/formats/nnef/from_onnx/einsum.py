"""Sums over named axes, two operands at a time: https://onnx.ai/onnx/operators/onnx__Einsum.html."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused

Axes = tuple[str, ...]
"""A name for each axis; those of an ellipsis are ``.0`` for the last one, ``.1`` for the one before, and so on."""


@TABLE.lowers("Einsum")
def einsum_12(node: HubNode, b: Builder) -> Tensor:
    """Products of elements with equal names, summed over the names that the result does not have."""
    equation = (node.attr_string("equation") or "").replace(" ", "")
    values = [operand(node, b, node.value(index)) for index in range(len(node.inputs))]
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(values):
        raise Refused(f"the equation {equation!r} is not of {len(values)} operands")
    named = [_named(term, value.rank, equation) for term, value in zip(terms, values, strict=True)]
    dots = max((sum(axis.startswith(".") for axis in axes) for axes in named), default=0)
    rank = len(right) - 3 + dots if "..." in right else len(right)
    wanted = _named(right, rank, equation) if arrow else _implied(named, dots)
    made, axes = _once(b, values[0], named[0])
    for index in range(1, len(values)):
        other, its = _once(b, values[index], named[index])
        kept = set(wanted).union(*named[index + 1 :])
        made, axes = _product(b, (made, axes), (other, its), kept)
    made, axes = _summed(b, made, axes, wanted)
    if set(axes) != set(wanted):
        raise Refused(f"the equation {equation!r} names axes of the result that no operand has")
    return b.transpose(made, [axes.index(axis) for axis in wanted])


def _named(term: str, rank: int, equation: str) -> Axes:
    before, dots, after = term.partition("...")
    letters = before + after
    count = rank - len(letters) if dots else 0
    if count < 0 or (not dots and len(letters) != rank) or not all(c.isalpha() for c in letters):
        raise Refused(f"the term {term!r} of the equation {equation!r} does not fit a tensor of rank {rank}")
    return (*before, *(f".{count - 1 - place}" for place in range(count)), *after)


def _implied(named: Sequence[Axes], dots: int) -> Axes:
    """Without an arrow: the axes of the ellipsis, and the names that occur once, in alphabetic order."""
    letters = [axis for axes in named for axis in axes if not axis.startswith(".")]
    single = sorted(axis for axis in set(letters) if letters.count(axis) == 1)
    return (*(f".{dots - 1 - place}" for place in range(dots)), *single)


def _once(b: Builder, x: Tensor, axes: Axes) -> tuple[Tensor, Axes]:
    """The diagonal of axes that share a name: all else is made zero, and one of them summed over."""
    for axis in dict.fromkeys(axes):
        while axes.count(axis) > 1:
            first = axes.index(axis)
            second = axes.index(axis, first + 1)
            mask = np.eye(x.shape[first]).reshape([n if a in (first, second) else 1 for a, n in enumerate(x.shape)])
            only = b.op("select", b.const(mask, "logical"), x, b.number(0.0))
            x = b.op("squeeze", b.op("sum_reduce", only, axes=[second]), axes=[second])
            axes = axes[:second] + axes[second + 1 :]
    return x, axes


def _summed(b: Builder, x: Tensor, axes: Axes, kept: Collection[str]) -> tuple[Tensor, Axes]:
    """Without the axes that nobody asks for any more."""
    gone = [place for place, axis in enumerate(axes) if axis not in kept]
    if gone:
        x = b.op("squeeze", b.op("sum_reduce", x, axes=gone), axes=gone)
    return x, tuple(axis for axis in axes if axis in kept)


def _product(
    b: Builder, one: tuple[Tensor, Axes], two: tuple[Tensor, Axes], kept: Collection[str]
) -> tuple[Tensor, Axes]:
    """A matrix product: axes of both are those of the batch if they are kept, else what is summed over."""
    x, mine = _summed(b, *one, {*kept, *two[1]})
    y, other = _summed(b, *two, {*kept, *one[1]})
    batch = tuple(axis for axis in mine if axis in other and axis in kept)
    inner = tuple(axis for axis in mine if axis in other and axis not in kept)
    rows = tuple(axis for axis in mine if axis not in other)
    columns = tuple(axis for axis in other if axis not in mine)
    x = b.transpose(x, [mine.index(axis) for axis in (*batch, *rows, *inner)])
    y = b.transpose(y, [other.index(axis) for axis in (*batch, *inner, *columns)])
    count, width = len(batch), len(rows)
    sizes = x.shape[count : count + width], y.shape[len(other) - len(columns) :]
    length = math.prod(x.shape[count + width :])
    x = b.reshape(x, (*x.shape[:count], math.prod(sizes[0]), length))
    y = b.reshape(y, (*y.shape[:count], length, math.prod(sizes[1])))
    made = b.op("matmul", x, y)
    return b.reshape(made, (*made.shape[:count], *sizes[0], *sizes[1])), (*batch, *rows, *columns)
