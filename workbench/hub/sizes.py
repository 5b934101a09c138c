"""Sizes that are open: arithmetic with what an input's dimension may be, and decisions that hold for all of it.

A :class:`Size` is a polynomial with whole coefficients over :class:`Atom` s: symbols that have a lowest and a highest
value, quotients rounded down, and the larger of two sizes. Comparisons are decided by interval arithmetic where the
whole range agrees; a comparison, or a use as a plain number, that the range leaves open raises :class:`OpenSize`. Code
written for numbers therefore either holds for every size in the range, or refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from workbench.hub.intervals import divided, product, scaled
from workbench.lowering import Refused

Extent: TypeAlias = "int | Size"
"""The size of a dimension: a number, or open."""


class OpenSize(Refused):
    """Something depends on a size that is open."""

    def __init__(self, size: Size, what: str = "") -> None:
        symbols = size.symbols()
        names = " and ".join(f"{symbol.name!r} ({symbol.range})" for symbol in symbols)
        way_out = "fix it with shapes={…}, or narrow its range"
        if symbols and all(symbol.measured for symbol in symbols):
            way_out = "end the model before it, and compute the rest where the model is used"
        super().__init__(f"{what or f'it is not the same for every size {size}'}, with {names}", way_out)


@dataclass(frozen=True, eq=False)
class Atom:
    """What a polynomial is made of; two are equal where their texts are."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atom) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value; the highest may be infinite."""
        raise NotImplementedError

    def symbols(self) -> tuple[Symbol, ...]:
        raise NotImplementedError

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value where the symbols have these."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Symbol(Atom):
    """A dimension of an input that is open; ``high`` is ``None`` where there is no end.

    One that is ``measured`` is no input's: how long something is that the values of a run decide.
    """

    name: str
    low: int
    high: int | None
    measured: bool = False

    @property
    def range(self) -> str:
        """``1 to 8``, ``1 or more``."""
        return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"

    def bounds(self) -> tuple[float, float]:
        return self.low, math.inf if self.high is None else self.high

    def symbols(self) -> tuple[Symbol, ...]:
        return (self,)

    def at(self, sizes: Mapping[str, int]) -> int:
        return sizes[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Quotient(Atom):
    """``above // below``, rounded down; ``below`` is positive."""

    above: Size
    below: Size

    def bounds(self) -> tuple[float, float]:
        low, high = self.above.bounds()
        least, most = self.below.bounds()
        found = [divided(bound, by) for bound in (low, high) for by in (least, most)]
        return min(found), max(found)

    def symbols(self) -> tuple[Symbol, ...]:
        return _union(self.above.symbols(), self.below.symbols())

    def at(self, sizes: Mapping[str, int]) -> int:
        return self.above.at(sizes) // self.below.at(sizes)

    def __str__(self) -> str:
        return f"{_braced(self.above)}//{_braced(self.below)}"


@dataclass(frozen=True, eq=False)
class _OneOf(Atom):
    """One of two sizes."""

    first: Size
    second: Size

    choose: ClassVar[Callable[..., Any]]
    word: ClassVar[str]

    def bounds(self) -> tuple[float, float]:
        (low, high), (least_, most) = self.first.bounds(), self.second.bounds()
        return type(self).choose(low, least_), type(self).choose(high, most)

    def symbols(self) -> tuple[Symbol, ...]:
        return _union(self.first.symbols(), self.second.symbols())

    def at(self, sizes: Mapping[str, int]) -> int:
        return int(type(self).choose(self.first.at(sizes), self.second.at(sizes)))

    def __str__(self) -> str:
        return f"{self.word}({self.first}, {self.second})"


class Larger(_OneOf):
    """The larger of two: what a broadcast makes of two sizes that are equal or of which one is 1."""

    choose = max
    word = "max"


class Smaller(_OneOf):
    """The smaller of two: what a slice to a position takes of an axis."""

    choose = min
    word = "min"


Monomial = tuple[Atom, ...]
"""A product of atoms, in the order of their texts; ``()`` is 1."""


class Size:
    """A size that is open. Immutable; made by arithmetic from :func:`symbol`."""

    __slots__ = ("_bounds", "_terms", "_text")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        kept = {monomial: factor for monomial, factor in terms.items() if factor}
        self._terms = dict(sorted(kept.items(), key=lambda term: (-len(term[0]), "*".join(map(str, term[0])))))
        self._text = _text(self._terms)
        self._bounds: tuple[float, float] | None = None

    @property
    def terms(self) -> Mapping[Monomial, int]:
        """Product of atoms → its factor; the constant is under ``()``."""
        return self._terms

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value that it may have, or numbers beyond them."""
        if self._bounds is None:
            parts = [scaled(product(atom.bounds() for atom in atoms), by) for atoms, by in self._terms.items()]
            self._bounds = sum(low for low, _ in parts), sum(high for _, high in parts)
        return self._bounds

    def symbols(self) -> tuple[Symbol, ...]:
        """The inputs' dimensions that it depends on."""
        return _union(*(atom.symbols() for atoms in self._terms for atom in atoms))

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number that it is where the symbols have these values."""
        return sum(by * math.prod(atom.at(sizes) for atom in atoms) for atoms, by in self._terms.items())

    # -- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: Extent) -> Extent:
        terms = dict(self._terms)
        for atoms, by in _terms_of(other).items():
            terms[atoms] = terms.get(atoms, 0) + by
        return simple(terms)

    def __mul__(self, other: Extent) -> Extent:
        terms: dict[Monomial, int] = {}
        for first, by in self._terms.items():
            for second, times in _terms_of(other).items():
                atoms = tuple(sorted((*first, *second), key=str))
                terms[atoms] = terms.get(atoms, 0) + by * times
        return simple(terms)

    def __neg__(self) -> Extent:
        return self * -1

    def __sub__(self, other: Extent) -> Extent:
        return self + -other

    def __rsub__(self, other: int) -> Extent:
        return -self + other

    def __floordiv__(self, other: Extent) -> Extent:
        return _quotient(self, other)

    def __rfloordiv__(self, other: int) -> Extent:
        return _quotient(other, self)

    def __truediv__(self, other: object) -> float:
        raise OpenSize(self)

    __rtruediv__ = __truediv__

    def __mod__(self, other: Extent) -> Extent:
        return self - (self // other) * other

    def __rmod__(self, other: int) -> Extent:
        return -((other // self) * self) + other

    __radd__ = __add__
    __rmul__ = __mul__

    # -- decisions ----------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int | Size) and not _is_whole(other):
            return NotImplemented
        difference = self - (other if isinstance(other, Size) else int(other))  # type: ignore[call-overload]
        if not isinstance(difference, Size):
            return difference == 0
        low, high = difference.bounds()
        if low > 0 or high < 0:
            return False
        raise OpenSize(difference, f"it depends on whether {self} is {other}")

    def __hash__(self) -> int:
        return hash(self._text)

    def __lt__(self, other: Extent) -> bool:
        return _decided(self - other, f"it depends on whether {self} is less than {other}", below=0)

    def __ge__(self, other: Extent) -> bool:
        return not self < other

    def __gt__(self, other: Extent) -> bool:
        return _decided(other - self, f"it depends on whether {self} is greater than {other}", below=0)

    def __le__(self, other: Extent) -> bool:
        return not self > other

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        raise OpenSize(self)

    __int__ = __index__

    def __float__(self) -> float:
        raise OpenSize(self)

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__


def symbol(name: str, low: int, high: int | None) -> Size:
    """An input's dimension that may be of any size from ``low`` to ``high`` (``None``: without an end)."""
    return Size({(Symbol(name, low, high),): 1})


def measured_length(name: str, high: int) -> Size:
    """A length that only a run tells, of ``high`` at most; it may be 0."""
    return Size({(Symbol(name, 0, high, measured=True),): 1})


def is_measured(size: Extent) -> bool:
    """Whether the size depends on a length that only a run tells."""
    return isinstance(size, Size) and any(one.measured for one in size.symbols())


def same(first: Extent, second: Extent) -> bool:
    """Whether both are known to be equal for every size; never raises."""
    difference = first - second
    return not isinstance(difference, Size) and difference == 0


def same_shape(first: Iterable[Extent], second: Iterable[Extent]) -> bool:
    """Whether both shapes are known to be the same for every size; never raises."""
    one, other = tuple(first), tuple(second)
    return len(one) == len(other) and all(map(same, one, other))


def is_open(shape: Iterable[Extent]) -> bool:
    """Whether a dimension of the shape is open."""
    return any(isinstance(size, Size) for size in shape)


def least(size: Extent) -> float:
    """The lowest value that it may have, or a number below that."""
    return size.bounds()[0] if isinstance(size, Size) else size


def larger(first: Extent, second: Extent) -> Extent:
    """The larger of the two, for every size."""
    return _chosen(first, second, Larger)


def smaller(first: Extent, second: Extent) -> Extent:
    """The smaller of the two, for every size."""
    return _chosen(first, second, Smaller)


def _chosen(first: Extent, second: Extent, kind: type[_OneOf]) -> Extent:
    difference = first - second
    low, high = difference.bounds() if isinstance(difference, Size) else (difference, difference)
    numerators = _numerators(first, second)
    if numerators is not None:
        low = high = numerators[0] - numerators[1]
    if low >= 0 or high <= 0:
        return first if (low >= 0) == (kind is Larger) else second
    return Size({(kind(*sorted((sized(first), sized(second)), key=str)),): 1})


def _numerators(first: Extent, second: Extent) -> tuple[int, int] | None:
    """Of two quotients that differ by a number above the line: two numbers that compare as they do."""
    quotients = []
    for size in (first, second):
        if not isinstance(size, Size) or list(size.terms.values()) != [1] or len(next(iter(size.terms))) != 1:
            return None
        quotients.append(next(iter(size.terms))[0])
    one, other = quotients
    if not isinstance(one, Quotient) or not isinstance(other, Quotient) or not same(one.below, other.below):
        return None
    difference = one.above - other.above
    return None if isinstance(difference, Size) else (difference, 0)


def sized(value: Extent) -> Size:
    """A number as a size, which then is the same for all."""
    return value if isinstance(value, Size) else Size({(): int(value)})


def simple(terms: Mapping[Monomial, int]) -> Extent:
    """A number where nothing is open."""
    kept = {atoms: by for atoms, by in terms.items() if by}
    return kept.get((), 0) if not any(kept) else Size(kept)


def _terms_of(value: Extent) -> Mapping[Monomial, int]:
    return value.terms if isinstance(value, Size) else {(): int(value)}


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0


def _decided(difference: Extent, what: str, below: int) -> bool:
    """Whether the difference is below the number, if that is the same for every size."""
    if not isinstance(difference, Size):
        return difference < below
    low, high = difference.bounds()
    if high < below or low >= below:
        return high < below
    raise OpenSize(difference, what)


def _union(*groups: Iterable[Symbol]) -> tuple[Symbol, ...]:
    return tuple(dict.fromkeys(symbol for group in groups for symbol in group))


def _text(terms: Mapping[Monomial, int]) -> str:
    parts = []
    for atoms, by in terms.items():
        product = "*".join(f"({atom})" if isinstance(atom, Quotient) else str(atom) for atom in atoms)
        sign = "-" if by < 0 else "+"
        size = abs(by)
        parts.append((sign, product if size == 1 and product else f"{size}*{product}" if product else str(size)))
    text = "".join(f" {sign} {part}" for sign, part in parts).removeprefix(" + ")
    return (f"-{text[3:]}" if text.startswith(" - ") else text) or "0"


def _braced(size: Size) -> str:
    text = str(size)
    return text if text.isalnum() else f"({text})"


def _quotient(above: Extent, below: Extent) -> Extent:
    from workbench.hub.quotients import floor_quotient  # which is made of sizes

    return floor_quotient(above, below)
