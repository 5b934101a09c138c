"""Einsum. MIL's own ``einsum`` knows a few equations only; here each is said in transpositions and matrix products."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.formats.coreml.from_onnx.narrow import refuse_narrow
from workbench.formats.coreml.from_onnx.slicing import entire, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.symbolic import broadcast
from workbench.lowering import Refused


@dataclass(frozen=True)
class _Operand:
    """A value with a letter for each of its axes."""

    x: Var
    term: str


@lowers("Einsum", since=12)
def einsum_12(node: HubNode, t: ProgramTarget) -> Any:
    """Operands are contracted two by two, from the left; each pair is one batched matrix product."""
    refuse_narrow(node)
    operands = [t.var(node.value(index)) for index in range(len(node.inputs))]
    equation = (node.attr_string("equation", None) or "").replace(" ", "")
    terms, output = _letters(equation, [len(x.shape) for x in operands])
    found = [_diagonal(t, _Operand(x, term)) for x, term in zip(operands, terms, strict=True)]
    found = _broadcast(t, found)
    result = _summed(t, found[0], output + "".join(operand.term for operand in found[1:]))
    for place, operand in enumerate(found[1:], 2):
        kept = output + "".join(later.term for later in found[place:])
        result = _product(t, result, operand, kept)
    return t.op("identity", x=t.transpose(result.x, [result.term.index(letter) for letter in output]))


def _letters(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The terms and the result with a letter for each axis: those of an ellipsis are letters that nothing else has."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Refused(f"the equation {equation!r} has {len(terms)} terms for {len(ranks)} inputs")
    free = "".join(letter for letter in string.ascii_letters if letter not in equation)
    elided = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    most = max(elided)
    ellipsis = free[:most]
    named = [term.replace("...", ellipsis[most - count :]) for term, count in zip(terms, elided, strict=True)]
    if any(len(term) != rank for term, rank in zip(named, ranks, strict=True)):
        raise Refused(f"the equation {equation!r} does not fit inputs of the ranks {list(ranks)}")
    if not arrow:
        letters = "".join(terms).replace("...", "")
        right = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    output = right.replace("...", ellipsis)
    if len(set(output)) != len(output) or not set(output) <= set("".join(named)):
        raise Refused(f"the result of the equation {equation!r} repeats an index, or has one of its own")
    return named, output


def _diagonal(t: ProgramTarget, operand: _Operand) -> _Operand:
    """The operand with each index once: of axes that share one, the elements at equal places."""
    x, term = operand.x, operand.term
    for letter in operand.term:
        while term.count(letter) > 1:
            first, second = [axis for axis, other in enumerate(term) if other == letter][:2]
            size = t.shape(x)[first]
            order = [axis for axis in range(len(term)) if axis not in (first, second)] + [first, second]
            rest = [t.shape(x)[axis] for axis in order[:-2]]
            row = t.reshape(t.transpose(x, order), [*rest, size * size])
            x = sliced(t, row, [*map(entire, rest), range(0, size * size, size + 1)])
            term = "".join(term[axis] for axis in order[:-1])
    return _Operand(x, term)


def _broadcast(t: ProgramTarget, operands: Sequence[_Operand]) -> list[_Operand]:
    """The operands with the axes of an ellipsis grown to the size that the others have there."""
    sizes: dict[str, Any] = {}
    for operand in operands:
        for letter, size in zip(operand.term, t.shape(operand.x), strict=True):
            (sizes[letter],) = broadcast([(sizes.get(letter, 1),), (size,)])
    return [_Operand(t.broadcast(one.x, [sizes[letter] for letter in one.term]), one.term) for one in operands]


def _summed(t: ProgramTarget, operand: _Operand, kept: str) -> _Operand:
    """Sum over the indices that nothing else has."""
    axes = [axis for axis, letter in enumerate(operand.term) if letter not in kept]
    if not axes:
        return operand
    total = t.op("reduce_sum", x=operand.x, axes=axes, keep_dims=False)
    return _Operand(total, "".join(letter for letter in operand.term if letter in kept))


def _product(t: ProgramTarget, first: _Operand, second: _Operand, kept: str) -> _Operand:
    """Both as matrices [batch, rows, inner] and [batch, inner, columns]; the result has the indices in ``kept``."""
    left, right = _summed(t, first, kept + second.term), _summed(t, second, kept + first.term)
    batch = [letter for letter in left.term if letter in right.term and letter in kept]
    inner = [letter for letter in left.term if letter in right.term and letter not in kept]
    rows = [letter for letter in left.term if letter not in right.term]
    columns = [letter for letter in right.term if letter not in left.term]
    sizes = dict(zip(left.term, t.shape(left.x), strict=True)) | dict(zip(right.term, t.shape(right.x), strict=True))

    def many(letters: list[str]) -> int:
        return math.prod(sizes[letter] for letter in letters)

    matrices = t.op(
        "matmul",
        x=_matrices(t, left, [*batch, *rows, *inner], (many(batch), many(rows), many(inner))),
        y=_matrices(t, right, [*batch, *inner, *columns], (many(batch), many(inner), many(columns))),
    )
    order = [*batch, *rows, *columns]
    return _Operand(t.reshape(matrices, [sizes[letter] for letter in order]), "".join(order))


def _matrices(t: ProgramTarget, operand: _Operand, order: Sequence[str], shape: tuple[int, int, int]) -> Var:
    return t.reshape(t.transpose(operand.x, [operand.term.index(letter) for letter in order]), shape)
