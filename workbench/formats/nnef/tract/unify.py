"""One graph with open sizes from several that were lowered with sizes of their own.

Lowerings compute with numbers. The same model lowered at several sizes gives graphs of the same operations, whose
attributes are the same but for integers; each of those is written as the expression of the sizes that gives it in every
sample. What differs in any other way depends on a size so that one text cannot say it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef
from workbench.formats.nnef.tract.extents import Extent, Symbol, computed

Sizes = Mapping[str, int]
"""Symbol → its size in one sample."""

SAMPLES = 4
"""Sums of two sizes have three unknowns; one sample more tells whether they are what they seem."""

ROUNDED_SAMPLES = 7
"""With so many, expressions are looked for that round: a size halved and doubled again."""


class Differs(Exception):
    """The samples differ in more than integers that follow from the sizes; the message says where."""


def unified(graphs: Sequence[NnefGraph], samples: Sequence[Sizes]) -> NnefGraph:
    """The graph that becomes each of the samples' when its symbols are replaced by their sizes.

    Raises:
        Differs: there is none.
    """
    first = graphs[0]
    for graph in graphs[1:]:
        if len(graph.operations) != len(first.operations):
            raise Differs(f"{len(first.operations)} operations at one size are {len(graph.operations)} at another")
    operations = tuple(
        _operation(versions, samples) for versions in zip(*(graph.operations for graph in graphs), strict=True)
    )
    return replace(first, operations=operations)


def differing(tables: Sequence[Mapping[str, ir.TensorProtocol]]) -> list[str]:
    """The labels of variables whose data is not the same in all samples; raises :class:`Differs` if one lacks one."""
    first = tables[0]
    if any(set(table) != set(first) for table in tables):
        raise Differs("the model has other constants at another size")
    return [label for label in first if not all(_same(first[label], table[label]) for table in tables[1:])]


def _same(a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
    if a is b:
        return True
    if isinstance(a, ir.ExternalTensor) and isinstance(b, ir.ExternalTensor):
        return (a.path, a.offset, a.length) == (b.path, b.offset, b.length)
    return a.shape == b.shape and bool(np.array_equal(a.numpy(), b.numpy(), equal_nan=a.numpy().dtype.kind == "f"))


def _operation(versions: Sequence[NnefOperation], samples: Sequence[Sizes]) -> NnefOperation:
    first = versions[0]
    where = f"{first.name} '{first.outputs[0]}'"
    alike = {(version.name, version.dtype, version.outputs, tuple(version.arguments)) for version in versions}
    if len(alike) > 1:
        raise Differs(f"{where} is another operation at another size")
    arguments = {}
    for name in first.arguments:
        try:
            arguments[name] = _value([version.arguments[name] for version in versions], samples)
        except Differs as differs:
            raise Differs(f"{name!r} of {where} {differs}") from None
    return replace(first, arguments=arguments)


def _value(versions: Sequence[Any], samples: Sequence[Sizes]) -> Any:
    first = versions[0]
    if any(type(version) is not type(first) for version in versions):
        raise Differs("is of another kind at another size")
    if isinstance(first, list | tuple):
        if len({len(version) for version in versions}) > 1:
            raise Differs("is of another length at another size")
        return type(first)(_value(items, samples) for items in zip(*versions, strict=True))
    if all(version == first for version in versions) and not isinstance(first, TensorRef):
        return first
    if type(first) is int:
        return extent_of(versions, samples)
    if any(version != first for version in versions):
        raise Differs(f"is {first} at one size and {next(v for v in versions if v != first)} at another")
    return first


def extent_of(numbers: Sequence[int], samples: Sequence[Sizes]) -> Extent:
    """The expression of the sizes that gives each sample's number.

    Raises:
        Differs: it is none of the forms ``a``, ``a · product of sizes + b``, ``a · size + b · size + c``, nor, where
            there are samples enough to tell, ``a · ((size + c) / power of two) + b``.
    """
    if len(set(numbers)) == 1:
        return numbers[0]
    symbols = sorted(samples[0])
    for names in _products(symbols):
        terms = [math.prod(sample[name] for name in names) for sample in samples]
        solved = _line(terms, numbers)
        if solved is not None:
            return _sum([(solved[0], _product(names))], solved[1])
    for left, right in itertools.combinations(symbols, 2):
        rows = [[sample[left], sample[right], 1] for sample in samples]
        solution = _integers(rows, numbers)
        if solution is not None:
            return _sum([(solution[0], Symbol(left)), (solution[1], Symbol(right))], solution[2])
    if len(samples) >= ROUNDED_SAMPLES:
        for symbol in symbols:
            found = _rounded([sample[symbol] for sample in samples], numbers, Symbol(symbol))
            if found is not None:
                return found
    raise Differs(f"follows from the sizes in a way that is not said: {', '.join(map(str, numbers))}")


def _rounded(sizes: Sequence[int], numbers: Sequence[int], symbol: Symbol) -> Extent | None:
    for divisor in (2, 4, 8, 16, 32):
        for shift in range(-divisor, divisor):
            solved = _line([(size + shift) // divisor for size in sizes], numbers)
            if solved is not None:
                return _sum([(solved[0], computed("/", _sum([(1, symbol)], shift), divisor))], solved[1])
    return None


def _products(symbols: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in range(1, 4):
        yield from itertools.combinations_with_replacement(symbols, count)


def _line(terms: Sequence[int], numbers: Sequence[int]) -> tuple[int, int] | None:
    other = next((index for index, term in enumerate(terms) if term != terms[0]), 0)
    rise, run = numbers[other] - numbers[0], terms[other] - terms[0]
    if run == 0 or rise % run:
        return None
    slope = rise // run
    shift = numbers[0] - slope * terms[0]
    fits = all(slope * term + shift == number for term, number in zip(terms, numbers, strict=True))
    return (slope, shift) if fits and slope else None


def _integers(rows: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[int] | None:
    """The whole numbers that solve the equations, if there are any."""
    found, *_ = np.linalg.lstsq(np.asarray(rows, np.float64), np.asarray(numbers, np.float64), rcond=None)
    rounded = [int(number) for number in np.rint(found)]
    fits = all(
        sum(x * y for x, y in zip(row, rounded, strict=True)) == number
        for row, number in zip(rows, numbers, strict=True)
    )
    return rounded if fits else None


def _product(names: Sequence[str]) -> Extent:
    made: Extent = Symbol(names[0])
    for name in names[1:]:
        made = computed("*", made, Symbol(name))
    return made


def _sum(parts: Sequence[tuple[int, Extent]], shift: int) -> Extent:
    scaled = [part if factor == 1 else computed("*", factor, part) for factor, part in parts if factor]
    made = scaled[0]
    for part in scaled[1:]:
        made = computed("+", made, part)
    if shift:
        made = computed("+" if shift > 0 else "-", made, abs(shift))
    return made
