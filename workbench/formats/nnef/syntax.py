"""The syntax tree of NNEF text (NNEF 1.0.5, section 2, "Syntax").

Every node is a frozen dataclass. ``position`` takes no part in comparison, so that two trees are equal when they say
the same. ``depth`` is the height of an expression; the parser bounds it, so that no later stage recurses without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """Line and column in the text, from 1; (0, 0) where there is no text."""

    line: int
    column: int


NOWHERE = Position(0, 0)


@dataclass(frozen=True)
class Primitive:
    """``scalar``, ``integer``, ``logical``, ``string``, or the generic ``?``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class TensorOf:
    """``tensor<dtype>``; ``dtype`` is ``None`` for ``tensor<>``, a tensor of any type."""

    dtype: str | None

    def __str__(self) -> str:
        return f"tensor<{self.dtype or ''}>"


@dataclass(frozen=True)
class ArrayOf:
    """``item[]``."""

    item: Type

    def __str__(self) -> str:
        return f"{self.item}[]"


@dataclass(frozen=True)
class TupleOf:
    """``(item, item)``."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


Type = Primitive | TensorOf | ArrayOf | TupleOf


@dataclass(frozen=True)
class Literal:
    """A number, logical or string; ``bool`` stands for logical, ``float`` for scalar, ``int`` for integer."""

    value: bool | int | float | str
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Identifier:
    """A name of a tensor, parameter or loop variable."""

    name: str
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Array:
    """``[a, b]``."""

    items: tuple[Expression, ...]
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Tuple:
    """``(a, b)``."""

    items: tuple[Expression, ...]
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Subscript:
    """``sequence[begin]`` or, with ``is_range``, ``sequence[begin:end]`` where either end may be absent."""

    sequence: Expression
    begin: Expression | None
    end: Expression | None
    is_range: bool
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Unary:
    """``+x``, ``-x`` or ``!x``."""

    operator: str
    operand: Expression
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Binary:
    """``left operator right``."""

    operator: str
    left: Expression
    right: Expression
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Select:
    """``true_value if condition else false_value``; the condition is known when the text is expanded."""

    condition: Expression
    true_value: Expression
    false_value: Expression
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Comprehension:
    """``[for target in iterable, … if condition yield item]``; the iterables run in parallel."""

    loops: tuple[tuple[Target, Expression], ...]
    condition: Expression | None
    item: Expression
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Builtin:
    """``length_of``, ``range_of``, ``shape_of``, or a conversion named by its type."""

    name: str
    argument: Expression
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Argument:
    """One argument of an invocation; ``name`` is ``None`` for a positional one."""

    name: str | None
    value: Expression


@dataclass(frozen=True)
class Invocation:
    """``target<dtype>(arguments)``."""

    target: str
    dtype: str | None
    arguments: tuple[Argument, ...]
    position: Position = field(default=NOWHERE, compare=False, repr=False)
    depth: int = field(default=1, compare=False, repr=False)


Expression = (
    Literal | Identifier | Array | Tuple | Subscript | Unary | Binary | Select | Comprehension | Builtin | Invocation
)
Target = Identifier | Array | Tuple
"""What stands on the left of an assignment; arrays and tuples hold targets again."""


@dataclass(frozen=True)
class Assignment:
    """``target = value;``."""

    target: Target
    value: Expression


@dataclass(frozen=True)
class Parameter:
    """A parameter of a fragment, with its default value where it has one."""

    name: str
    type: Type
    default: Expression | None = None
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Result:
    """A result of a fragment."""

    name: str
    type: Type


@dataclass(frozen=True)
class Fragment:
    """A fragment declaration. ``body`` is ``None`` for a declaration without definition.

    ``generic`` says that it is declared with ``<?>``; ``generic_default`` is the type in ``<? = scalar>``.
    """

    name: str
    generic: bool
    generic_default: str | None
    parameters: tuple[Parameter, ...]
    results: tuple[Result, ...]
    body: tuple[Assignment, ...] | None
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Graph:
    """The graph definition; inputs and outputs are names."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: tuple[Assignment, ...]
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Extension:
    """One ``extension …;`` line, as its words."""

    words: tuple[str, ...]
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Document:
    """A whole ``graph.nnef``."""

    version: tuple[int, int]
    extensions: tuple[Extension, ...]
    fragments: tuple[Fragment, ...]
    graph: Graph


@dataclass(frozen=True)
class QuantizationLine:
    """One line ``"tensor": operation(arguments);`` of ``graph.quant``."""

    tensor: str
    invocation: Invocation
