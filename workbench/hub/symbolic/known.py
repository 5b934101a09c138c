"""Shapes and the arithmetic of shapes where sizes are open: what follows for every size in the range.

onnx's own inference knows a dimension by a name and loses it in any arithmetic. Here the name is the text of a
:class:`Size`; the operators that compute with sizes have a rule each, and small integer tensors whose elements are
sizes are followed. What no rule covers stays unknown, and is refused by whoever needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from workbench.document import Dim
from workbench.hub.sizes import Extent, OpenSize, Size, measured_length, symbol
from workbench.hub.values import constant_of

Array = np.ndarray[Any, Any]
Shape: TypeAlias = "tuple[Extent | None, ...]"
"""A shape as far as it is known."""

LONGEST = 2**31 - 1
"""A length that only a run tells is taken to be this at most: no target counts further."""

SMALL = 1024
"""Elements up to which integer tensors are followed."""


class OpenShapes:
    """What is known of the open sizes of one graph.

    Attributes:
        symbols: the dimensions of inputs that are open, by name.
        measures: whether lengths that only a run tells are sizes too; else they are unknown.
    """

    def __init__(self) -> None:
        self.symbols: dict[str, Size] = {}
        self.measures = False
        self._by_text: dict[str, Size] = {}
        self._elements: dict[ir.Value, Array] = {}

    def add(self, name: str, low: int, high: int | None) -> None:
        """An input's dimension of this name may have any of these sizes."""
        self.symbols[name] = self._by_text[name] = symbol(name, low, high)

    def length(self, value: ir.Value, most: int = LONGEST) -> Size | None:
        """How long the value is, where only a run tells; ``None`` where nothing is measured."""
        return measured_length(f"length of {value.name}", min(most, LONGEST)) if self.measures else None

    def dim(self, size: Extent | None) -> Dim:
        """What stands for the size in a shape."""
        if not isinstance(size, Size):
            return size
        self._by_text.setdefault(str(size), size)
        return str(size)

    def extent(self, dim: Any) -> Extent | None:
        """What a dimension of a shape (a number, a text, onnx-ir's symbol) stands for; ``None`` if it is unknown."""
        if isinstance(dim, int):
            return dim
        text = dim if isinstance(dim, str) or dim is None else dim.value
        return None if text is None else self._by_text.get(text)

    def shape(self, value: ir.Value) -> Shape | None:
        """The value's shape as far as it is known; ``None`` if not even the rank is."""
        return None if value.shape is None else tuple(map(self.extent, value.shape))

    def set_shape(self, value: ir.Value, shape: Sequence[Extent | None]) -> None:
        """Give the value a shape; a dimension that is known already stays."""
        before = self.shape(value)
        if before is not None and len(before) == len(shape):
            shape = [new if old is None else old for new, old in zip(shape, before, strict=True)]
        value.shape = ir.Shape([self.dim(size) for size in shape])

    def elements(self, value: ir.Value | None) -> Array | None:
        """A tensor's elements, numbers and sizes (or truth values); ``None`` if they are not known or not whole."""
        if value is None or value in self._elements:
            return None if value is None else self._elements[value]
        tensor = None if value.is_graph_input() else value.const_value
        array = None if tensor is None or tensor.size > SMALL else constant_of(value)
        if array is None or array.dtype.kind not in "iubf":
            return None
        if array.dtype.kind == "f":
            if not np.isfinite(array).all() or (array != np.floor(array)).any():
                return None
            array = array.astype(np.int64)
        return array.astype(object)

    def made(self, value: ir.Value) -> Array | None:
        """The elements of a tensor that is made of open sizes; ``None`` of constants and of everything else."""
        return self._elements.get(value)

    def describe(self) -> str:
        """``the open sizes 'batch' (1 to 8), 'width' (16 or more)``."""
        if not self.symbols:
            return "the sizes of the inputs"
        symbols = [one for size in self.symbols.values() for one in size.symbols()]
        shown = ", ".join(f"{one.name!r} ({one.range})" for one in symbols[:3])
        return f"the open sizes {shown}" + (", …" if len(symbols) > 3 else "")

    def follow(self, node: ir.Node) -> list[Array] | None:
        """Set what follows for the node's outputs; their values where they are the same for every size."""
        if node.domain:
            return None
        rule, made = SHAPES.get(node.op_type), None
        try:
            shapes = rule(node, self) if rule is not None else None
            for value, shape in zip(node.outputs, shapes or (), strict=False):
                if shape is not None and value.name != "":
                    self.set_shape(value, shape)
            computed = ELEMENTS.get(node.op_type)
            made = computed(node, self) if computed is not None else None
        except (OpenSize, ArithmeticError):
            return None  # it does not hold for every size: unknown
        if made is None or made.size > SMALL or len(node.outputs) != 1 or node.outputs[0].dtype is None:
            return None
        if is_float(node.outputs[0]) and not all(map(_is_exact, made.flat)):
            return None
        value = node.outputs[0]
        self.set_shape(value, made.shape)
        if any(isinstance(element, Size) for element in made.flat):
            self._elements[value] = made
            return None
        return [made.astype(value.dtype.numpy())] if value.dtype is not None else None


def is_float(value: ir.Value) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return value.dtype is not None and value.dtype.is_floating_point()


def _is_exact(size: Any) -> bool:
    """Whether float32 holds it, whatever it is."""
    low, high = size.bounds() if isinstance(size, Size) else (size, size)
    return low >= -_EXACT and high <= _EXACT


_EXACT = 2**24
"""Up to here float32 holds every whole number."""


Rule: TypeAlias = "Callable[[ir.Node, OpenShapes], Sequence[Shape | None] | None]"
"""The shapes of a node's outputs as far as they follow; it may raise :class:`OpenSize`."""
SHAPES: dict[str, Rule] = {}

Computed: TypeAlias = "Callable[[ir.Node, OpenShapes], Array | None]"
"""The elements of a node's one output, an array of numbers and sizes, if they follow; it may raise likewise."""
ELEMENTS: dict[str, Computed] = {}


def shapes(*operators: str) -> Callable[[Rule], Rule]:
    """Register the decorated rule of shapes for the operators."""

    def register(rule: Rule) -> Rule:
        SHAPES.update(dict.fromkeys(operators, rule))
        return rule

    return register


def elements(*operators: str) -> Callable[[Computed], Computed]:
    """Register the decorated rule of elements for the operators."""

    def register(rule: Computed) -> Computed:
        ELEMENTS.update(dict.fromkeys(operators, rule))
        return rule

    return register


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """The input, ``None`` if it is omitted."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value if value is not None and value.name else None


def shape_of(node: ir.Node, index: int, known: OpenShapes) -> Shape | None:
    """The input's shape as far as it is known."""
    value = input_of(node, index)
    return None if value is None else known.shape(value)


def ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of integers; ``None`` if it is absent."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is an integer."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def text(node: ir.Node, name: str, default: str) -> str:
    """An attribute that is a text."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def total(sizes: Sequence[Extent | None]) -> Extent | None:
    """The sum, if all are known."""
    result: Extent = 0
    for size in sizes:
        if size is None:
            return None
        result = result + size
    return result


def volume(sizes: Sequence[Extent | None]) -> Extent | None:
    """The product, if all are known."""
    result: Extent = 1
    for size in sizes:
        if size is None:
            return None
        result = result * size
    return result


def objects(items: Sequence[Any], shape: Sequence[int]) -> Array:
    """An array of the items as they are (numpy would look into them)."""
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(tuple(shape))
