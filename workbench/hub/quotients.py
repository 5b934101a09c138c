"""Division of sizes, rounded down: exact where it is, simplified where it can be, for every size in the range."""

from __future__ import annotations

import math

from workbench.hub.sizes import Extent, Monomial, OpenSize, Quotient, Size, least, same, simple, sized


def floor_quotient(above: Extent, below: Extent) -> Extent:
    """``above // below`` rounded down, for every size.

    Raises:
        OpenSize: the divisor may be 0 or negative.
    """
    if not isinstance(below, Size):
        if not isinstance(above, Size) or below <= 0:
            return int(above) // below
        whole, rest = _parted(above, below)
    elif least(below) <= 0:
        raise OpenSize(below, f"it is divided by {below}, which may be 0")
    else:
        exact = _exact(sized(above), below)
        if exact is not None:
            return exact
        reduced = _reduced(sized(above), below)
        if reduced is not None:
            return floor_quotient(*reduced)
        whole, rest = 0, above
    if not isinstance(rest, Size) and not isinstance(below, Size):
        return whole + rest // below
    if isinstance(below, int) and isinstance(rest, Size):
        rest, below = _nested(rest, below)
    quotient = Quotient(sized(rest), sized(below))
    low, high = quotient.bounds()
    if low == high:  # −2 // s is −1 from 2 on
        return whole + int(low)
    return whole + Size({(quotient,): 1})


def _reduced(above: Size, below: Size) -> tuple[Extent, Extent] | None:
    """Both without the positive factor that all of their terms have; ``None`` if there is none."""
    terms = [*above.terms.items(), *below.terms.items()]
    by = math.gcd(*(factor for _, factor in terms))
    shared = list(terms[0][0])
    for atoms, _ in terms[1:]:
        shared = [atom for index, atom in enumerate(shared) if atoms.count(atom) > shared[:index].count(atom)]
    shared = [atom for atom in shared if atom.bounds()[0] > 0]
    if by == 1 and not shared:
        return None
    factor = Size({tuple(shared): by})
    one, other = _exact(above, factor), _exact(below, factor)
    return None if one is None or other is None else (one, other)


def _nested(above: Size, below: int) -> tuple[Size, int]:
    """(a // m + b) // n is (a + b · m) // (m · n), for whole numbers of any sign."""
    atoms = [term for term in above.terms if term]
    if len(atoms) != 1 or above.terms[atoms[0]] != 1 or len(atoms[0]) != 1 or not isinstance(atoms[0][0], Quotient):
        return above, below
    inner = atoms[0][0]
    divisor = inner.below.terms.get((), 0) if len(inner.below.terms) == 1 else 0
    if not divisor:
        return above, below
    return sized(inner.above + above.terms.get((), 0) * divisor), below * divisor


def _parted(above: Size, below: int) -> tuple[Extent, Extent]:
    """``whole``, and a rest that has to be divided still: above = whole · below + rest."""
    whole = {atoms: by // below for atoms, by in above.terms.items() if not atoms or by % below == 0}
    rest = {
        atoms: by - whole.get(atoms, 0) * below
        for atoms, by in above.terms.items()
        if by != whole.get(atoms, 0) * below
    }
    return simple(whole), simple(rest)


def _exact(above: Size, below: Size) -> Extent | None:
    """The quotient where it is a polynomial; ``None`` where it might not be."""
    if len(below.terms) != 1:
        return 1 if same(above, below) else _exact_long(above, below)
    ((divisor, by),) = below.terms.items()
    found: dict[Monomial, int] = {}
    for atoms, factor in above.terms.items():
        rest = list(atoms)
        for atom in divisor:
            if atom not in rest:
                return None
            rest.remove(atom)
        if factor % by:
            return None
        found[tuple(rest)] = factor // by
    return simple(found)


def _exact_long(above: Size, below: Size) -> Extent | None:
    """Division of polynomials by their leading terms, which are those of most atoms."""
    rest: Extent = above
    found: Extent = 0
    lead = next(iter(below.terms.items()))
    for _ in range(2 * len(above.terms)):
        if not isinstance(rest, Size):
            break
        part = _exact(Size(dict([next(iter(rest.terms.items()))])), Size(dict([lead])))
        if part is None:
            return None
        found, rest = found + part, rest - below * part
    return found if not isinstance(rest, Size) and rest == 0 else None
