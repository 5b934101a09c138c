"""A flat NNEF graph: standard (or custom, body-less) operations over named tensors, all attributes known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.formats.nnef.syntax import NOWHERE, Position


@dataclass(frozen=True)
class TensorRef:
    """The name of a tensor, where a value could also be a string."""

    name: str


Value = Any
"""``bool``, ``int``, ``float``, ``str``, :class:`TensorRef`, or ``list`` / ``tuple`` of values (recursive)."""


def references(value: Value) -> Iterator[TensorRef]:
    """The tensors in a value, in order."""
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


@dataclass(frozen=True)
class NnefOperation:
    """One operation.

    Attributes:
        name: the operation's name in the standard.
        arguments: every parameter in the order of its declaration, defaults filled in. A tensor parameter holds a
            :class:`TensorRef` (or a list of them) or, where the text gives a number, that number.
        results: result name → :class:`TensorRef` or list of them.
        dtype: what the generic ``?`` stands for (``scalar``, ``integer``, ``logical``), or ``None``.
        origin: the invocations of custom fragments that it was expanded from, outermost first.
    """

    name: str
    arguments: dict[str, Value]
    results: dict[str, Value]
    dtype: str | None = None
    position: Position = field(default=NOWHERE, compare=False)
    origin: tuple[str, ...] = field(default=(), compare=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read, in order, repeated as they are read."""
        return tuple(ref.name for value in self.arguments.values() for ref in references(value))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors made, in order."""
        return tuple(ref.name for value in self.results.values() for ref in references(value))


@dataclass(frozen=True)
class NnefGraph:
    """A flat graph in execution order. ``dtypes`` gives each tensor's type (``scalar``, ``integer``, ``logical``)."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[NnefOperation, ...]
    dtypes: dict[str, str]
    extensions: tuple[tuple[str, ...], ...] = ()

    @property
    def is_tract(self) -> bool:
        """Whether the text is in the tract dialect: it names one of tract's extensions."""
        return any(words[0].startswith("tract_") for words in self.extensions)
