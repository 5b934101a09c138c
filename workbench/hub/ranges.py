"""The option ``shapes``: fixed shapes, shapes with ranges of sizes, and enumerated shapes, as people give them.

In text, as the command line and the widget take it: ``1,3,224,224``; ``1..8,3,224,224`` with a range, ``1..8:4`` with
the size that it usually has; ``1,3,224,224|1,3,256,256`` for one of several shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from workbench.document import Dim, TensorSpec
from workbench.errors import OptionError


@dataclass(frozen=True)
class Range:
    """The sizes that a dimension may have: ``Range(1, 512)``; ``Range(1)`` has no upper end.

    Attributes:
        low: the lowest size, at least 1.
        high: the highest; ``None`` if there is no end.
        default: the size that is taken where none is given; the lowest unless told otherwise.
    """

    low: int = 1
    high: int | None = None
    default: int | None = None

    def __post_init__(self) -> None:
        numbers = [number for number in (self.low, self.high, self.default) if number is not None]
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
            raise OptionError(f"shapes: {self!r}: a range takes whole numbers.")
        if self.low < 1 or (self.high is not None and self.high < self.low):
            raise OptionError(f"shapes: {self!r}: a range begins at 1 or above, and ends where it begins or above.")
        if not self.low <= self.usual or (self.high is not None and self.usual > self.high):
            raise OptionError(f"shapes: {self!r}: the default lies outside of the range.")

    @property
    def usual(self) -> int:
        """The size that is taken where none is given."""
        return self.low if self.default is None else self.default

    def __repr__(self) -> str:
        parts = [str(self.low)]
        if self.high is not None:
            parts.append(str(self.high))
        if self.default is not None:
            parts.append(f"default={self.default}")
        return f"Range({', '.join(parts)})"

    def __str__(self) -> str:
        """``1..512``, ``1..512:16``, ``1..``."""
        end = "" if self.high is None else str(self.high)
        return f"{self.low}..{end}" + ("" if self.default is None else f":{self.default}")


Shape: TypeAlias = "Sequence[int | Range]"
ShapeOption: TypeAlias = "Shape | Sequence[Sequence[int]]"
"""A shape, or a list of shapes of which the first is the default."""


@dataclass(frozen=True)
class Flexible:
    """The shapes that an input with open dimensions may have.

    Attributes:
        dims: its dimensions; an open one by a name, which dimensions that are always equal share.
        default: the shape where none is given.
        bounds: the lowest and the highest size of each dimension; the highest is ``None`` where there is none.
        shapes: the shapes, where they are enumerated.
    """

    dims: tuple[Dim, ...]
    default: tuple[int, ...]
    bounds: tuple[tuple[int, int | None], ...]
    shapes: tuple[tuple[int, ...], ...] = ()


def parse_shape(text: str) -> ShapeOption:
    """A shape from its text.

    Raises:
        OptionError: it is none.
    """
    shapes = [_parsed(part, text) for part in text.strip().strip("()[]").split("|")]
    if len(shapes) == 1:
        return shapes[0]
    if any(isinstance(size, Range) for shape in shapes for size in shape):
        raise OptionError(f"shapes: {text!r}: one of several shapes has no ranges.")
    return [tuple(size for size in shape if isinstance(size, int)) for shape in shapes]


def _parsed(text: str, whole: str) -> tuple[int | Range, ...]:
    return tuple(_parsed_size(size.strip(), whole) for size in text.strip().strip("()[]").split(",") if size.strip())


def _parsed_size(text: str, whole: str) -> int | Range:
    found = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18})?(?::(\d{1,18}))?)?", text)
    if found is None:
        raise OptionError(f"shapes: {whole!r} is no shape; it takes 1,3,224,224 or 1..8,3,224,224 or 1,3,8|1,3,16.")
    if ".." not in text:
        return int(text)
    low, high, default = (None if number is None else int(number) for number in found.groups())
    return Range(low or 0, high, default)


def shape_text(shape: ShapeOption) -> str:
    """The text that :func:`parse_shape` takes."""
    if _is_enumerated(shape):
        return " | ".join(", ".join(map(str, one)) for one in shape)  # type: ignore[arg-type]  # sequences, as checked
    return ", ".join(map(str, shape))


def check_shapes(inputs: Sequence[TensorSpec], shapes: Mapping[str, ShapeOption]) -> None:
    """Check the option ``shapes`` against the model's inputs.

    Raises:
        OptionError: an unknown name, another rank, another size than the model has fixed, or dimensions that share a
            name in the model and are given different ranges.
    """
    by_name = {spec.name: spec for spec in inputs}
    for name, shape in shapes.items():
        if name not in by_name:
            raise OptionError(f"shapes: the model has no input {name!r}; its inputs are {', '.join(map(str, inputs))}.")
        for one in _rows(shape):
            _check_shape(by_name[name], one)
    flexible_inputs(inputs, shapes)


def _check_shape(spec: TensorSpec, sizes: tuple[int | Range, ...]) -> None:
    whole = all(isinstance(size, int | Range) and not isinstance(size, bool) for size in sizes)
    if not whole or any(isinstance(size, int) and size < 0 for size in sizes):
        raise OptionError(f"shapes: {spec.name!r} takes non-negative integers and ranges, not {sizes}.")
    if not spec.takes([-1 if isinstance(size, Range) else size for size in sizes]):
        raise OptionError(f"shapes: {spec.name!r} is {spec.describe()}; {sizes} does not fit it.")


def flexible_inputs(inputs: Sequence[TensorSpec], shapes: Mapping[str, ShapeOption]) -> dict[str, Flexible]:
    """The inputs that may have several shapes, with a name for each open dimension.

    Args:
        inputs: of the model.
        shapes: the option, each shape of the right rank.

    Raises:
        OptionError: one dimension of the model gets different ranges in two inputs.
    """
    taken = {dim for spec in inputs for dim in spec.shape or () if isinstance(dim, str)}
    given: dict[str, object] = {}
    found = {}
    for spec in inputs:
        if spec.name not in shapes:
            continue
        options = shapes[spec.name]
        enumerated = _enumerated(spec, options) if _is_enumerated(options) else ()
        rows = enumerated or _rows(options)[:1]
        columns = list(zip(*rows, strict=True))
        dims: list[Dim] = []
        for axis, (dim, column) in enumerate(zip(spec.shape or (None,) * len(columns), columns, strict=True)):
            if isinstance(dim, str):
                _agree(given, dim, spec.name, column)
            low, high = _bounds(column)
            dims.append(low if low == high else _symbol(spec.name, axis, dim, taken))
        if any(isinstance(dim, str) for dim in dims):
            default = tuple(size.usual if isinstance(size, Range) else size for size in rows[0])
            found[spec.name] = Flexible(tuple(dims), default, tuple(map(_bounds, columns)), enumerated)
    return found


def largest(size: int | Range) -> int:
    """The largest size that is meant; of a range without an end, where it begins."""
    return size if isinstance(size, int) else size.low if size.high is None else size.high


def fixed_shape(shape: ShapeOption) -> tuple[int, ...]:
    """The one shape that an option stands for which leaves nothing open."""
    return tuple(size.low if isinstance(size, Range) else size for size in _rows(shape)[0])


def _rows(shape: Any) -> list[tuple[int | Range, ...]]:
    """The shapes that are given, one or several."""
    return [tuple(one) for one in shape] if _is_enumerated(shape) else [tuple(shape)]


def _is_enumerated(shape: Any) -> bool:
    return bool(shape) and all(isinstance(one, Sequence) and not isinstance(one, str) for one in shape)


def _enumerated(spec: TensorSpec, options: Any) -> tuple[tuple[int, ...], ...]:
    shapes = tuple(dict.fromkeys(tuple(shape) for shape in options))
    if any(isinstance(size, Range) for shape in shapes for size in shape) or any(0 in shape for shape in shapes):
        raise OptionError(f"shapes: {spec.name!r}: enumerated shapes hold positive integers only.")
    if len({len(shape) for shape in shapes}) > 1:
        raise OptionError(f"shapes: {spec.name!r}: the enumerated shapes are not of one rank.")
    return shapes if len(shapes) > 1 else ()


def _bounds(column: Sequence[Any]) -> tuple[int, int | None]:
    """The lowest and the highest size of a dimension that has these in the shapes that are given."""
    if isinstance(column[0], Range):
        return column[0].low, column[0].high
    return min(column), max(column)


def _agree(given: dict[str, object], dim: str, name: str, column: Sequence[Any]) -> None:
    """The dimensions of one name have the same sizes, if one of them is open."""
    low, high = _bounds(column)
    usual = column[0].usual if isinstance(column[0], Range) else column[0]
    choice = (name, tuple(column)) if len(column) > 1 and low != high else (low, high, usual)
    before = given.setdefault(dim, choice)
    fixed = isinstance(before, tuple) and before[0] == before[1]
    if before != choice and not (fixed and low == high):
        raise OptionError(
            f"shapes: the dimension {dim!r} is one wherever the model's inputs have it, but {name!r} gives it other "
            "sizes than an input before; give it one range, the same everywhere."
        )


def _symbol(name: str, axis: int, dim: Dim, taken: set[str]) -> str:
    """The name of an open dimension: the model's own where it is a plain word, else made of the input's."""
    if isinstance(dim, str) and re.fullmatch(r"\w+", dim) and not dim.isdigit():
        return dim
    made = re.sub(r"\W", "_", f"{name}_{axis}")
    while made in taken:
        made += "_"
    taken.add(made)
    return made
