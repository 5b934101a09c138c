"""Expansion of texts in the tract dialect: registries, symbols, loose types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from workbench.errors import ModelError
from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import Mismatch
from workbench.formats.nnef.evaluate import Scope, names_of
from workbench.formats.nnef.expand import Expander
from workbench.formats.nnef.graph import TensorRef, Value, references
from workbench.formats.nnef.parser import located
from workbench.formats.nnef.tract.declarations import (
    DATUM_TYPES,
    OTHER_REGISTRIES,
    REGISTRIES,
    registry_of,
    tract_operations,
)
from workbench.formats.nnef.tract.extents import Symbol, computed, is_symbolic

_EXTERNALS = ("external", "tract_core_external")
_KINDS = {"f": "scalar", "b": "logical"}


class TractExpander(Expander):
    """As :class:`Expander`, for documents that name one of tract's extensions."""

    loose = True

    def __init__(self, document: sx.Document, where: str) -> None:
        named = [extension.words for extension in document.extensions]
        self.registries = {words[1] for words in named if words[0] == "tract_registry"}
        for extension in document.extensions:
            if extension.words[0] == "tract_registry" and extension.words[1] not in (*REGISTRIES, *OTHER_REGISTRIES):
                message = f"tract has no registry {extension.words[1]!r}; it has {', '.join(REGISTRIES)}."
                raise ModelError(located(where, extension.position, message))
        document = replace(document, graph=assigned_once(document.graph))
        self.symbols = {words[1] for words in named if words[0] == "tract_symbol"}
        self.symbols.update(_symbols_of_shapes(document.graph))
        super().__init__(document, where)

    def _operations(self) -> Mapping[str, sx.Fragment]:
        known = tract_operations()
        return {
            name: known[name] for name in known if registry_of(name) is None or registry_of(name) in self.registries
        }

    def _declared(self, fragments: tuple[sx.Fragment, ...]) -> Mapping[str, sx.Fragment]:
        """A fragment with a body takes the place of a standard operation, as it does for tract."""
        own = {fragment.name for fragment in fragments if fragment.body is not None}
        known = {name: fragment for name, fragment in self._operations().items() if name not in own}
        return {**super()._declared(()), **known, **{fragment.name: fragment for fragment in fragments}}

    def _undeclared(self, operation: str) -> str:
        registry = registry_of(operation)
        if registry is not None:
            return (
                f"the operation {operation} belongs to tract's registry {registry}, which the file does not name; "
                f"write extension tract_registry {registry};"
            )
        return f"the operation {operation} is none of tract's that are known here, nor declared in this file"

    # assignment

    def _assign(self, target: sx.Target, value: Value, context: Value, scope: Scope) -> None:
        """A result of the graph that is a list of numbers, or a number, is a constant."""
        if not scope.inside and isinstance(target, sx.Identifier) and target.name in self.graph.outputs:
            value = self._as_tensor(value, context, target.position)
        super()._assign(target, value, context, scope)

    def _as_tensor(self, value: Value, context: Value, position: sx.Position) -> Value:
        if isinstance(value, TensorRef) or is_symbolic(value) or any(references(value)):
            return value
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            return value
        if array.dtype.kind not in "fib":
            return value
        kind = {"f": "scalar", "b": "logical"}.get(array.dtype.kind, "integer")
        arguments: list[tuple[str | None, Value]] = [
            ("shape", list(array.shape)),
            ("value", array.reshape(-1).tolist()),
        ]
        return self._emit(self._operations()["constant"], arguments, kind, context, position)

    # expressions

    def _unknown(self, expression: sx.Identifier) -> Value:
        if expression.name in self.symbols:
            return Symbol(expression.name)
        return float("inf") if expression.name == "inf" else super()._unknown(expression)

    def _computed(self, operator: str, left: Value, right: Value) -> Value:
        if not is_symbolic(left) and not is_symbolic(right):
            return super()._computed(operator, left, right)
        try:
            return computed(operator, left, right)
        except ValueError as error:
            raise Mismatch(str(error)) from None

    def _subscript(self, expression: sx.Subscript, scope: Scope, context: Value) -> Value:
        """An item of a tensor of rank 1, such as the shape of another, besides those of lists."""
        sequence = self._evaluate(expression.sequence, scope)
        if not isinstance(sequence, TensorRef):
            return super()._subscript(expression, scope, context)
        if expression.is_range:
            raise Mismatch("tract takes single items of tensors only")
        index = self._evaluate(expression.begin, scope) if expression.begin is not None else None
        if type(index) is not int or index < 0:
            raise Mismatch("the index of a tensor's item must be a known integer from 0")
        known = self._operations()
        begin, end = ("begin", [index]), ("end", [index + 1])
        part = self._emit(
            known["slice"], [("input", sequence), ("axes", [0]), begin, end], None, None, expression.position
        )
        return self._emit(known["squeeze"], [("input", part), ("axes", [0])], None, context, expression.position)

    # operations

    def _emit(
        self,
        declaration: sx.Fragment,
        arguments: list[tuple[str | None, Value]],
        dtype: str | None,
        context: Value,
        position: sx.Position,
    ) -> Value:
        if any(isinstance(result.type, sx.ArrayOf) for result in declaration.results) and registry_of(declaration.name):
            raise Mismatch(f"{declaration.name} is not read: it runs a part of the graph as often as its input is long")
        result = super()._emit(declaration, arguments, dtype, context, position)
        if declaration.name == "tract_core_external":
            self._declare(position)
        return result

    def _declare(self, position: sx.Position) -> None:
        """What ``tract_core_external`` declares is an external with a dtype of its own."""
        operation = self.operations[-1]
        datum = operation.arguments["datum_type"].lower()
        if datum not in DATUM_TYPES:
            raise Mismatch(f"the datum_type {datum!r} is not one of {', '.join(DATUM_TYPES)}")
        kind = _KINDS.get(datum[0], "integer")
        self.operations[-1] = replace(operation, name="external", dtype=kind)
        self.dtypes.update(dict.fromkeys(operation.outputs, kind))


def assigned_once(graph: sx.Graph) -> sx.Graph:
    """The graph with a name of its own for each assignment: for tract a later one takes the name over."""
    counts = Counter(name for line in graph.body for name in names_of(line.target))
    if max(counts.values(), default=1) == 1:
        return graph
    current: dict[str, str] = {}
    body = []
    for line in graph.body:
        value = _renamed(line.value, current)
        for name in names_of(line.target):
            counts[name] -= 1
            current[name] = f"{name}_before{counts[name]}" if counts[name] else name
        body.append(replace(line, value=value, target=_renamed(line.target, current)))
    return replace(graph, body=tuple(body))


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, sx.Identifier):
        return replace(node, name=names.get(node.name, node.name))
    if isinstance(node, tuple):
        return (
            type(node)(*(_renamed(item, names) for item in node))
            if hasattr(node, "_fields")
            else tuple(_renamed(item, names) for item in node)
        )
    if is_dataclass(node) and not isinstance(node, type):
        changes = {item.name: _renamed(getattr(node, item.name), names) for item in fields(node) if item.init}
        return replace(node, **changes)
    return node


def _symbols_of_shapes(graph: sx.Graph) -> Iterator[str]:
    """Names in the shapes of externals: tract takes those that nothing declares for symbols."""
    for line in graph.body:
        if isinstance(line.value, sx.Invocation) and line.value.target in _EXTERNALS:
            for argument in line.value.arguments:
                yield from _identifiers(argument.value)


def _identifiers(expression: sx.Expression) -> Iterator[str]:
    if isinstance(expression, sx.Identifier):
        yield expression.name
    elif isinstance(expression, sx.Array):
        for item in expression.items:
            yield from _identifiers(item)
    elif isinstance(expression, sx.Binary):
        yield from _identifiers(expression.left)
        yield from _identifiers(expression.right)
