"""Syntax tree → flat graph: fragments expanded, expressions evaluated, every argument bound and type-checked.

Custom fragments are expanded to the operations in their bodies; standard ones stay as they are. Expressions over
primitive values are computed (:mod:`.evaluate`); those over tensors become operations (``x + y`` becomes ``add``).
Recursion of fragments is bounded by the nesting limit and the number of operations by the node limit, so that neither
an endless recursion nor fragments that double one another exhaust the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from workbench import limits
from workbench.errors import ModelError
from workbench.formats.nnef import syntax as sx
from workbench.formats.nnef.binding import Mismatch, bind, describe, fits, standard_operations
from workbench.formats.nnef.evaluate import Evaluator, Scope, names_of
from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef, Value
from workbench.formats.nnef.parser import located
from workbench.formats.nnef.weigh import least_operations

KNOWN_EXTENSIONS = ("KHR_enable_fragment_definitions", "KHR_enable_operator_expressions")
TRACT_EXTENSIONS = ("tract_registry", "tract_symbol", "tract_assert")

_GRAPH_ONLY = ("external", "variable", "update")


def expand(document: sx.Document, where: str = "graph.nnef") -> NnefGraph:
    """Expand a document to a flat graph.

    Raises:
        ModelError: an undeclared name or operation, a type that does not fit, an expression without a value, an
            unknown extension, an interface that contradicts the body; with file, line and column.
        LimitError: more operations than ``nodes``, or fragments nested deeper than ``nesting``.
    """
    for extension in document.extensions:
        known = extension.words[0] in TRACT_EXTENSIONS and len(extension.words) > 1
        if not known and (len(extension.words) != 1 or extension.words[0] not in KNOWN_EXTENSIONS):
            text = " ".join(extension.words)[:80]
            raise ModelError(
                located(where, extension.position, f"the extension {text!r} is not known here; ")
                + f"known are {', '.join((*KNOWN_EXTENSIONS, *TRACT_EXTENSIONS))}."
            )
    limits.check("nodes", least_operations(document), f"{where}, operations after expanding fragments")
    if any(extension.words[0] in TRACT_EXTENSIONS for extension in document.extensions):
        from workbench.formats.nnef.tract.expand import TractExpander

        return TractExpander(document, where).run()
    return Expander(document, where).run()


class Expander(Evaluator):
    """Expands one document; tract's dialect has an heir of its own."""

    loose = False  # whether types are taken as tract takes them

    def __init__(self, document: sx.Document, where: str) -> None:
        super().__init__(where)
        self.graph = document.graph
        self.extensions = tuple(extension.words for extension in document.extensions)
        self.operations: list[NnefOperation] = []
        self.reserved = {name for line in self.graph.body for name in names_of(line.target)}
        self.counters: dict[str, int] = {}
        self.fragments = self._declared(document.fragments)

    def _operations(self) -> Mapping[str, sx.Fragment]:
        """The declarations that the document need not make."""
        return standard_operations()

    def _declared(self, fragments: tuple[sx.Fragment, ...]) -> Mapping[str, sx.Fragment]:
        known = dict(self._operations())
        for fragment in fragments:
            if fragment.name in known:
                raise self._error(fragment.position, f"the operation {fragment.name} is already declared")
            names = [parameter.name for parameter in fragment.parameters]
            names += [result.name for result in fragment.results]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise self._error(fragment.position, f"fragment {fragment.name} declares '{twice}' twice")
            known[fragment.name] = fragment
        return known

    def run(self) -> NnefGraph:
        graph = self.graph
        for names, what in ((graph.inputs, "input"), (graph.outputs, "output")):
            if len(set(names)) != len(names):
                raise self._error(graph.position, f"graph {graph.name} names an {what} twice")
        scope = Scope(dtype=None, inside=False)
        for line in graph.body:
            for name in names_of(line.target):
                if name in scope.values:
                    raise self._error(line.target.position, f"'{name}' is assigned twice")
            context = _as_references(line.target)
            self._assign(line.target, self._evaluate(line.value, scope, context), context, scope)
        self._check_interface(scope)
        return NnefGraph(
            graph.name, graph.inputs, graph.outputs, tuple(self.operations), dict(self.dtypes), self.extensions
        )

    def _check_interface(self, scope: Scope) -> None:
        declared = [operation for operation in self.operations if operation.name == "external"]
        externals = {name for operation in declared for name in operation.outputs}
        for name in self.graph.inputs:
            if name not in externals:
                raise self._error(self.graph.position, f"the graph input '{name}' is not assigned by external")
        for name in externals - set(self.graph.inputs):
            raise self._error(self.graph.position, f"'{name}' is assigned by external but is no graph input")
        for name in self.graph.outputs:
            if scope.values.get(name) != TensorRef(name):
                raise self._error(self.graph.position, f"the graph output '{name}' is not assigned a tensor")

    # invocations

    def _invocation(self, expression: sx.Invocation, scope: Scope, context: Value) -> Value:
        declaration = self.fragments.get(expression.target)
        if declaration is None:
            raise Mismatch(self._undeclared(expression.target))
        if scope.inside and declaration.name in _GRAPH_ONLY:
            raise Mismatch(f"{declaration.name} is not allowed inside a fragment")
        dtype = scope.dtype if expression.dtype == "?" else expression.dtype
        arguments = [(argument.name, self._evaluate(argument.value, scope)) for argument in expression.arguments]
        if declaration.body is None:
            return self._emit(declaration, arguments, dtype, context, expression.position)
        return self._expanded(declaration, arguments, dtype, context)

    def _undeclared(self, operation: str) -> str:
        """Why an operation without a declaration is refused."""
        name = operation if len(operation) <= 80 else f"{operation[:80]}…"
        return f"the operation {name} is neither standard nor declared in this file"

    def _expanded(
        self, declaration: sx.Fragment, arguments: list[tuple[str | None, Value]], dtype: str | None, context: Value
    ) -> Value:
        bound, resolved = bind(declaration, arguments, dtype, self.dtypes, self.loose)
        scope = Scope(resolved, inside=True)
        scope.values.update(bound)
        names = [result.name for result in declaration.results]
        if len(names) == 1:
            scope.wanted[names[0]] = context
        elif isinstance(context, tuple) and len(context) == len(names):
            scope.wanted.update(zip(names, context, strict=True))
        with self._inside(declaration.name):
            for line in declaration.body or ():
                for name in names_of(line.target):
                    if name in scope.values:
                        raise self._error(line.target.position, f"'{name}' is assigned twice")
                wanted = _lookup(line.target, scope.wanted)
                self._assign(line.target, self._evaluate(line.value, scope, wanted), wanted, scope)
            for result in declaration.results:
                if result.name not in scope.values:
                    raise self._error(declaration.position, f"the result '{result.name}' is not assigned")
                if not self.loose and not fits(scope.values[result.name], result.type, resolved, self.dtypes):
                    found = describe(scope.values[result.name], self.dtypes)
                    message = f"the result '{result.name}' has type {found}, declared is {result.type}"
                    raise self._error(declaration.position, message)
        values = tuple(scope.values[name] for name in names)
        return values[0] if len(values) == 1 else values

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        previous = self.origin
        self.origin = (*previous, name)
        try:
            yield
        finally:
            self.origin = previous

    def _emit(
        self,
        declaration: sx.Fragment,
        arguments: list[tuple[str | None, Value]],
        dtype: str | None,
        context: Value,
        position: sx.Position,
    ) -> Value:
        """Append one operation and return its result, or the tuple of its results."""
        bound, resolved = bind(declaration, arguments, dtype, self.dtypes, self.loose)
        _check_shape(declaration.name, bound)
        parts = context if isinstance(context, tuple) and len(declaration.results) > 1 else (context,)
        wanted = [*parts, *[None] * len(declaration.results)]
        results = {
            result.name: self._named(declaration.name, result, part, bound, resolved)
            for result, part in zip(declaration.results, wanted, strict=False)
        }
        limits.check("nodes", len(self.operations) + 1, f"{self.where}, operations after expanding fragments")
        self.operations.append(NnefOperation(declaration.name, bound, results, resolved, position, self.origin))
        values = tuple(results.values())
        return values[0] if len(values) == 1 else values

    def _named(
        self, operation: str, result: sx.Result, context: Value, bound: Mapping[str, Value], dtype: str | None
    ) -> Value:
        if isinstance(result.type, sx.ArrayOf):
            if isinstance(context, list):
                names = [item.name if isinstance(item, TensorRef) else self._fresh(operation) for item in context]
                expected = _array_length(operation, bound)
                if expected not in (None, len(names)):
                    raise Mismatch(f"{operation} makes {expected} tensors, {len(names)} are assigned")
            else:
                length = _array_length(operation, bound)
                if length is None:
                    raise Mismatch(f"the number of tensors that {operation} makes is not known; assign them by name")
                limits.check("nodes", length, f"{self.where}, tensors made by {operation}")
                names = [self._fresh(operation) for _ in range(length)]
            kind = result.type.item
            return [self._typed(name, kind, dtype) for name in names]
        if context is not None and not isinstance(context, TensorRef):
            raise Mismatch(f"{operation} makes a single tensor '{result.name}', several names are assigned")
        name = context.name if context is not None else self._fresh(operation)
        return self._typed(name, result.type, dtype)

    def _typed(self, name: str, kind: sx.Type, dtype: str | None) -> TensorRef:
        if not isinstance(kind, sx.TensorOf):
            raise Mismatch("an operation without a body must make tensors")
        if name in self.dtypes:
            raise Mismatch(f"'{name}' is assigned twice")
        self.dtypes[name] = (dtype if kind.dtype == "?" else kind.dtype) or "scalar"
        return TensorRef(name)

    def _fresh(self, operation: str) -> str:
        while True:
            self.counters[operation] = self.counters.get(operation, 0) + 1
            name = f"{operation}{self.counters[operation]}"
            if name not in self.reserved and name not in self.dtypes:
                return name


def _array_length(operation: str, bound: Mapping[str, Value]) -> int | None:
    if operation == "split":
        return len(bound["ratios"])
    if operation == "copy_n":
        return max(int(bound["times"]), 0)
    return None


def _check_shape(operation: str, bound: Mapping[str, Value]) -> None:
    """Shapes of externals, variables and constants: no negative extents, no more elements than the limit allows."""
    if operation not in ("external", "variable", "constant"):
        return
    count = 1
    for extent in bound["shape"]:
        if not isinstance(extent, int):
            continue  # a symbol of the tract dialect
        if extent < 0:
            raise Mismatch(f"{operation} has the shape {bound['shape'][:8]}; extents must not be negative")
        count *= max(extent, 1)
        limits.check("tensor_elements", count, f"elements of a tensor declared by {operation}")
    if operation == "constant" and len(bound["value"]) not in (1, _volume(bound["shape"])):
        raise Mismatch(f"constant of shape {bound['shape']} has {len(bound['value'])} values")


def _volume(shape: list[int]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _as_references(target: sx.Expression) -> Value:
    """The tensors that an assignment of the graph wants: one for every name on its left."""
    if isinstance(target, sx.Array):
        return [_as_references(item) for item in target.items]
    if isinstance(target, sx.Tuple):
        return tuple(_as_references(item) for item in target.items)
    return TensorRef(target.name) if isinstance(target, sx.Identifier) else None


def _lookup(target: sx.Expression, wanted: Mapping[str, Value]) -> Value:
    """The tensors that an assignment inside a fragment wants: those of its results, ``None`` for local names."""
    if isinstance(target, sx.Array):
        return [_lookup(item, wanted) for item in target.items]
    if isinstance(target, sx.Tuple):
        return tuple(_lookup(item, wanted) for item in target.items)
    return wanted.get(target.name) if isinstance(target, sx.Identifier) else None
