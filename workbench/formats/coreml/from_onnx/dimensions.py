"""Open sizes in a program under construction: as coremltools' symbols, and computed by the program.

coremltools follows shapes too, but gives a size that it computes a symbol of its own, which says nothing. What our own
arithmetic knows is put in its place, so that equal sizes are equal symbols. Every size is computed from the shapes of
the program's inputs: ``shape``, ``gather`` and arithmetic in int32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.hub import OpenShapes
from workbench.hub.sizes import Atom, Extent, Larger, OpenSize, Quotient, Size, Smaller, Symbol, is_measured, symbol

Var = Any
Array = np.ndarray[Any, Any]


class Dimensions:
    """What the sizes of a program's values are.

    Args:
        known: of the graph; ``None`` where every size is fixed.
        op: emits an operation.
    """

    def __init__(self, known: OpenShapes | None, op: Callable[..., Any]) -> None:
        self._known = known
        self._op = op
        self._inputs: dict[str, tuple[Var, int]] = {}
        self._atoms: dict[str, Atom] = {}
        self._computed: dict[str, Var] = {}
        self._shapes: dict[Var, Var] = {}

    # -- shapes -------------------------------------------------------------------------------------------------

    def shape(self, var: Var) -> tuple[int, ...]:
        """The value's shape: numbers, and open sizes in the place of coremltools' symbols."""
        return tuple(
            self._size(size, var, axis) if hasattr(size, "free_symbols") else int(size)
            for axis, size in enumerate(var.shape)
        )

    def symbolic(self, shape: Iterable[Extent]) -> list[Any]:
        """The shape with coremltools' symbols in the place of open sizes."""
        return [self._expression(size) if isinstance(size, Size) else int(size) for size in shape]

    def typed(self, var: Var, shape: Sequence[Extent]) -> Var:
        """The value, with the shape that it is known to have in the place of what coremltools has inferred."""
        if any(hasattr(size, "free_symbols") for size in var.shape):
            types = toolkit.mil().types
            var._sym_type = types.tensor(var.dtype, tuple(self.symbolic(shape)))
        return var

    def adopt_input(self, var: Var, shape: Iterable[Extent]) -> None:
        """An input of the program has this shape: sizes are read off it."""
        for axis, size in enumerate(shape):
            for one in size.symbols() if isinstance(size, Size) else ():
                self._inputs.setdefault(one.name, (var, axis))

    def adopt_measured(self, var: Var, shape: Iterable[Extent]) -> None:
        """A value of the program may be what tells a length: that is read off it from then on."""
        for axis, size in enumerate(shape):
            if is_measured(size) and isinstance(size, Size) and size.terms == {size.symbols(): 1}:
                self._inputs.setdefault(size.symbols()[0].name, (var, axis))

    # -- values -------------------------------------------------------------------------------------------------

    def vector(self, sizes: Sequence[Extent]) -> Any:
        """The sizes as an int32 vector: a constant array where all are fixed, else a value that is computed."""
        if not any(isinstance(size, Size) for size in sizes):
            return np.asarray([int(size) for size in sizes], np.int32)
        parts: list[Any] = []
        for size in sizes:
            if isinstance(size, Size):
                parts.append(self._value(size))
            elif parts and isinstance(parts[-1], list):
                parts[-1].append(int(size))
            else:
                parts.append([int(size)])
        values = [np.asarray(part, np.int32) if isinstance(part, list) else part for part in parts]
        return self._op("concat", values=values, axis=0) if len(values) > 1 else values[0]

    def scalar(self, size: Extent) -> Any:
        """The size as an int32 without dimensions: a constant where it is fixed."""
        return self._op("squeeze", x=self._value(size)) if isinstance(size, Size) else np.int32(size)

    # -- inside -------------------------------------------------------------------------------------------------

    def _expression(self, size: Size) -> Any:
        """A polynomial of symbols that are whole and positive."""
        total: Any = 0
        for atoms, by in size.terms.items():
            total = total + functools.reduce(lambda product, atom: product * self._symbol(atom), atoms, by)
        return total

    def _symbol(self, atom: Atom) -> Any:
        self._atoms[str(atom)] = atom
        return _sympy().Symbol(str(atom), integer=True, positive=True)

    def _size(self, expression: Any, var: Var, axis: int) -> Any:
        """The size that coremltools' expression stands for; one that nothing else equals if it is not known."""
        sympy = _sympy()
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol and expression.name in self._atoms:
            return Size({(self._atoms[expression.name],): 1})
        if isinstance(expression, sympy.Add | sympy.Mul):
            parts = [self._size(part, var, axis) for part in expression.args]
            return functools.reduce(lambda a, b: a + b if isinstance(expression, sympy.Add) else a * b, parts)
        if expression.is_Pow and expression.exp.is_Integer and expression.exp > 0:
            return functools.reduce(lambda a, b: a * b, [self._size(expression.base, var, axis)] * int(expression.exp))
        name = f"dimension {axis} of {var.name}"
        self._inputs.setdefault(name, (var, axis))
        return symbol(name, 1, None)

    def _value(self, size: Extent) -> Var:
        """The size as an int32 vector of one element."""
        if not isinstance(size, Size) or not size.symbols():
            return np.asarray([size.at({}) if isinstance(size, Size) else size], np.int32)
        if size.bounds()[1] > np.iinfo(np.int32).max:
            raise OpenSize(size, f"{size} may be beyond 32 bits, which is all that Core ML has")
        return self._once(str(size), functools.partial(self._polynomial, size))

    def _polynomial(self, size: Size) -> Var:
        total: Any = None
        for atoms, by in sorted(size.terms.items(), key=lambda term: term[1] < 0):
            product: Any = None
            for atom in atoms:
                value = self._once(str(atom), functools.partial(self._atom, atom))
                product = value if product is None else self._op("mul", x=product, y=value)
            if total is None:
                total = product if by == 1 and product is not None else self._multiple(product, by)
            elif by < 0:
                total = self._op("sub", x=total, y=self._multiple(product, -by))
            else:
                total = self._op("add", x=total, y=self._multiple(product, by))
        return total

    def _multiple(self, product: Any, by: int) -> Any:
        if product is None:
            return np.asarray([by], np.int32)
        return product if by == 1 else self._op("mul", x=product, y=np.asarray([by], np.int32))

    def _atom(self, atom: Atom) -> Var:
        if isinstance(atom, Quotient):
            return self._op("floor_div", x=self._value(atom.above), y=self._value(atom.below))
        if isinstance(atom, Smaller):
            return self._op("minimum", x=self._value(atom.first), y=self._value(atom.second))
        if isinstance(atom, Larger):
            return self._op("maximum", x=self._value(atom.first), y=self._value(atom.second))
        assert isinstance(atom, Symbol)
        var, axis = self._inputs[atom.name]
        shape = self._once(f"shape of {var.name}", lambda: self._op("shape", x=var))
        return self._op("gather", x=shape, indices=np.asarray([axis], np.int32), axis=0)

    def _once(self, key: str, make: Callable[[], Var]) -> Var:
        """What has been computed before in the function itself; inside a block of it everything is computed anew."""
        found = self._computed.get(key)
        if found is None:
            found = make()
            block = toolkit.submodule("converters.mil.mil.block").curr_block()
            if isinstance(block, toolkit.mil().Function):
                self._computed[key] = found
        return found


def _sympy() -> Any:
    """The library that coremltools' symbols are of, which it brings along."""
    return toolkit.submodule("converters.mil.mil.types.symbolic").sm
