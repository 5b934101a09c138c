"""Expressions of NNEF text → values: computed here where they are known, made operations where they are of tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from workbench import limits
from workbench.errors import ModelError
from workbench.formats.nnef import arithmetic
from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import Mismatch, describe, standard_operations
from workbench.formats.nnef.graph import TensorRef, Value
from workbench.formats.nnef.parser import located

_UNARY_OPERATIONS = {"+": "copy", "-": "neg", "!": "not"}
_BINARY_OPERATIONS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "^": "pow",
    "<": "lt",
    ">": "gt",
    "<=": "le",
    ">=": "ge",
    "==": "eq",
    "!=": "ne",
    "&&": "and",
    "||": "or",
}


class Scope:
    """Names and values of one body. ``wanted`` gives the tensors that results shall be called."""

    def __init__(self, dtype: str | None, inside: bool) -> None:
        self.values: dict[str, Value] = {}
        self.wanted: dict[str, Value] = {}
        self.dtype = dtype
        self.inside = inside


class Evaluator(ABC):
    """Evaluates the expressions of one document; what operations and fragments become is left to an heir.

    Args:
        where: what messages call the file.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.dtypes: dict[str, str] = {}
        self.origin: tuple[str, ...] = ()
        self.depth = 0
        self.steps = 0

    @abstractmethod
    def _invocation(self, expression: sx.Invocation, scope: Scope, context: Value) -> Value:
        """The results of an operation, or of a fragment's body, under the names that the context wants."""

    @abstractmethod
    def _emit(
        self,
        declaration: sx.Fragment,
        arguments: list[tuple[str | None, Value]],
        dtype: str | None,
        context: Value,
        position: sx.Position,
    ) -> Value:
        """Append one operation and return its result, or the tuple of its results."""

    def _error(self, position: sx.Position, message: str) -> ModelError:
        chain = f" (expanding {' in '.join(reversed(self.origin[-4:]))})" if self.origin else ""
        return ModelError(located(self.where, position, f"{message}{chain}."))

    # assignment

    def _assign(self, target: sx.Target, value: Value, context: Value, scope: Scope) -> None:
        if isinstance(target, sx.Identifier):
            if context is not None and value != context:
                value = self._renamed(value, context, target.position)
            scope.values[target.name] = value
            return
        if not isinstance(value, list | tuple):
            raise self._error(target.position, f"a single {describe(value, self.dtypes)} is assigned to several names")
        if len(value) != len(target.items):
            raise self._error(target.position, f"{len(value)} values are assigned to {len(target.items)} names")
        parts = context if isinstance(context, list | tuple) else [None] * len(value)
        for item, part, wanted in zip(target.items, value, parts, strict=True):
            self._assign(item, part, wanted, scope)  # type: ignore[arg-type]  # items of a target are targets

    def _renamed(self, value: Value, wanted: Value, position: sx.Position) -> Value:
        """The value under the wanted tensor names, by ``copy``; values that are no tensors stay as they are."""
        if isinstance(value, TensorRef) and isinstance(wanted, TensorRef):
            return self._emit(standard_operations()["copy"], [("x", value)], None, wanted, position)
        if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
            if len(value) != len(wanted):
                raise self._error(position, f"{len(value)} values are assigned to {len(wanted)} names")
            pairs = zip(value, wanted, strict=True)
            renamed = [part if part == name else self._renamed(part, name, position) for part, name in pairs]
            return renamed if isinstance(value, list) else tuple(renamed)
        return value

    # expressions

    def _evaluate(self, expression: sx.Expression, scope: Scope, context: Value = None) -> Value:
        self._step()
        if isinstance(expression, sx.Literal):
            return expression.value
        if isinstance(expression, sx.Identifier):
            if expression.name not in scope.values:
                return self._unknown(expression)
            return scope.values[expression.name]
        self.depth += 1
        try:
            if self.depth > limits.current.nesting:
                limits.check("nesting", self.depth, located(self.where, expression.position, "nesting of fragments"))
            value: Value = getattr(self, _EVALUATORS[type(expression)])(expression, scope, context)
            return value
        except Mismatch as mismatch:
            raise self._error(expression.position, str(mismatch)) from None
        finally:
            self.depth -= 1

    def _unknown(self, expression: sx.Identifier) -> Value:
        """A name that nothing is assigned to."""
        raise self._error(expression.position, f"'{expression.name}' is not defined here")

    def _step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > 50 * limits.current.nodes:
            limits.check("nodes", self.steps // 50 + 1, f"{self.where}, work of expanding")

    def _sequence(self, expression: sx.Array | sx.Tuple, scope: Scope, context: Value) -> Value:
        parts = context if isinstance(context, list | tuple) else ()
        wanted = [*parts, *[None] * (len(expression.items) - len(parts))]
        values = [self._evaluate(item, scope, part) for item, part in zip(expression.items, wanted, strict=False)]
        return values if isinstance(expression, sx.Array) else tuple(values)

    def _subscript(self, expression: sx.Subscript, scope: Scope, context: Value) -> Value:
        sequence = self._evaluate(expression.sequence, scope)
        if not isinstance(sequence, str | list | tuple):
            raise Mismatch(f"a {describe(sequence, self.dtypes)} cannot be subscripted")
        begin = self._index(expression.begin, scope, len(sequence), 0)
        if not expression.is_range:
            if not 0 <= begin < len(sequence):
                raise Mismatch(f"the index {begin} is outside of a sequence of {len(sequence)}")
            return sequence[begin]
        end = self._index(expression.end, scope, len(sequence), len(sequence))
        if not 0 <= begin <= end <= len(sequence):
            raise Mismatch(f"the range {begin}:{end} is outside of a sequence of {len(sequence)}")
        self._step(end - begin)
        return sequence[begin:end]

    def _index(self, expression: sx.Expression | None, scope: Scope, length: int, default: int) -> int:
        if expression is None:
            return default
        value = self._evaluate(expression, scope)
        if type(value) is not int:
            raise Mismatch(f"an index must be an integer, found {describe(value, self.dtypes)}")
        return value + length if value < 0 else value

    def _unary(self, expression: sx.Unary, scope: Scope, context: Value) -> Value:
        operand = self._evaluate(expression.operand, scope)
        if not isinstance(operand, TensorRef):
            return arithmetic.unary(expression.operator, operand)
        declaration = standard_operations()[_UNARY_OPERATIONS[expression.operator]]
        return self._emit(declaration, [("x", operand)], None, context, expression.position)

    def _binary(self, expression: sx.Binary, scope: Scope, context: Value) -> Value:
        left = self._evaluate(expression.left, scope)
        if expression.operator in ("&&", "||") and isinstance(left, bool):
            if left is (expression.operator == "||"):
                return left
            right = self._evaluate(expression.right, scope)
            if isinstance(right, bool):
                return right
            raise Mismatch(f"the operator {expression.operator} does not apply to {describe(right, self.dtypes)}")
        right = self._evaluate(expression.right, scope)
        if not isinstance(left, TensorRef) and not isinstance(right, TensorRef):
            result = self._computed(expression.operator, left, right)
            self._step(len(result) if isinstance(result, str | list) else 0)
            return result
        if expression.operator not in _BINARY_OPERATIONS:
            raise Mismatch(f"the operator {expression.operator} does not apply to tensors")
        declaration = standard_operations()[_BINARY_OPERATIONS[expression.operator]]
        return self._emit(declaration, [("x", left), ("y", right)], None, context, expression.position)

    def _computed(self, operator: str, left: Value, right: Value) -> Value:
        """Arithmetic of values that are known."""
        return arithmetic.binary(operator, left, right)

    def _select(self, expression: sx.Select, scope: Scope, context: Value) -> Value:
        condition = self._evaluate(expression.condition, scope)
        if not isinstance(condition, bool):
            raise Mismatch(
                f"the condition of if … else must be logical and known before the graph runs, "
                f"found {describe(condition, self.dtypes)}; use select(…)"
            )
        return self._evaluate(expression.true_value if condition else expression.false_value, scope, context)

    def _comprehension(self, expression: sx.Comprehension, scope: Scope, context: Value) -> Value:
        iterables = [self._evaluate(iterable, scope) for _, iterable in expression.loops]
        if not all(isinstance(iterable, list) for iterable in iterables):
            raise Mismatch("for … in needs arrays")
        if len({len(iterable) for iterable in iterables}) != 1:
            raise Mismatch("the arrays of one comprehension must have the same length")
        targets = [target for target, _ in expression.loops]
        names = [name for target in targets for name in names_of(target)]
        for name in names:
            if name in scope.values:
                raise Mismatch(f"'{name}' is already defined")
        items: list[Value] = []
        try:
            for values in zip(*iterables, strict=True):
                for target, value in zip(targets, values, strict=True):
                    self._assign(target, value, None, scope)
                if expression.condition is None or self._accepted(expression.condition, scope):
                    known = isinstance(context, list) and len(items) < len(context)
                    items.append(self._evaluate(expression.item, scope, context[len(items)] if known else None))
        finally:
            for name in names:
                scope.values.pop(name, None)
        return items

    def _accepted(self, condition: sx.Expression, scope: Scope) -> bool:
        value = self._evaluate(condition, scope)
        if not isinstance(value, bool):
            raise Mismatch(f"the condition of a comprehension must be logical, found {describe(value, self.dtypes)}")
        return value

    def _builtin(self, expression: sx.Builtin, scope: Scope, context: Value) -> Value:
        value = self._evaluate(expression.argument, scope)
        if expression.name == "shape_of":
            raise Mismatch("shape_of is deprecated since NNEF 1.0.1; give the shape as a parameter")
        if expression.name not in ("length_of", "range_of"):
            return arithmetic.convert(expression.name, value)
        if not isinstance(value, str | list):
            raise Mismatch(f"{expression.name} needs an array or a string, found {describe(value, self.dtypes)}")
        if expression.name == "length_of":
            return len(value)
        self._step(len(value))
        return list(range(len(value)))


_EVALUATORS: dict[type[Any], str] = {
    sx.Array: "_sequence",
    sx.Tuple: "_sequence",
    sx.Subscript: "_subscript",
    sx.Unary: "_unary",
    sx.Binary: "_binary",
    sx.Select: "_select",
    sx.Comprehension: "_comprehension",
    sx.Builtin: "_builtin",
    sx.Invocation: "_invocation",
}


def names_of(target: sx.Expression) -> Iterator[str]:
    if isinstance(target, sx.Identifier):
        yield target.name
    elif isinstance(target, sx.Array | sx.Tuple):
        for item in target.items:
            yield from names_of(item)
