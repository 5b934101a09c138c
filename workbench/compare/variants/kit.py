"""A node with one thing changed, the table of such changes, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.replay import KNOWN
from workbench.executors import constant_tensor

Array = np.ndarray[Any, Any]
Make = Callable[[ir.Node], "Iterator[Variant]"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_LARGEST = 1 << 24  # elements of a weight that is rearranged


@dataclass(frozen=True)
class Variant:
    """A changed node.

    Attributes:
        kind: of signature; ``text`` says in words what is changed.
        change: changes a clone of the node in place.
    """

    kind: str
    text: str
    change: Callable[[ir.Node], None]


_TABLE: dict[str, list[Make]] = {}


def varies(operators: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        for operator in operators.split():
            _TABLE.setdefault(operator, []).append(make)
        return make

    return register


def variants_of(node: ir.Node) -> Iterator[Variant]:
    """The changes that are tried on a node of the hub: those of its operator, then those of any."""
    if not node.domain:
        for make in _TABLE.get(node.op_type, ()):
            yield from make(node)
    if len(node.outputs) == 1 and node.outputs[0].dtype in _FLOATS and node.op_type != "Constant":
        yield Variant("sign", f"the result of {node.op_type} negated", _negating)
        if node.inputs and node.inputs[0] is not None and shape_of(node, 0) == dims(node.outputs[0]) is not None:
            yield Variant("layer missing", f"there is no {node.op_type}", becoming("Identity"))


def _negating(node: ir.Node) -> None:
    """Negate what the node makes."""
    value = node.outputs[0]
    name = value.name
    value.name = f"{name}//plain"
    negation = ir.Node("", "Neg", [value], num_outputs=1, name=f"{name}//negated")
    graph = node.graph
    assert graph is not None
    value.replace_all_uses_with(negation.outputs[0], replace_graph_outputs=True)
    negation.replace_input_with(0, value)
    negation.outputs[0].name = name
    graph.insert_after(node, negation)


def ints(node: ir.Node, name: str) -> list[int] | None:
    attribute = node.attributes.get(name)
    return None if attribute is None else list(attribute.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def setting(name: str, value: int | float | str | Sequence[int]) -> Callable[[ir.Node], None]:
    """The change that sets an attribute; pads that are given take the place of those that follow from the sizes."""

    def change(node: ir.Node) -> None:
        node.attributes[name] = ir.convenience.convert_attribute(name, value)
        if name == "pads":
            node.attributes.pop("auto_pad", None)

    return change


def together(*changes: Callable[[ir.Node], None]) -> Callable[[ir.Node], None]:
    def change(node: ir.Node) -> None:
        for single in changes:
            single(node)

    return change


def known_array(node: ir.Node, index: int) -> Array | None:
    """The constant that the node reads there, or what is known to be computed there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    tensor = constant_tensor(value)
    if tensor is None:
        known: Array | None = value.meta.get(KNOWN)
        return known
    return None if tensor.size > _LARGEST else tensor.numpy()


def giving(index: int, array: Array) -> Callable[[ir.Node], None]:
    """The change that replaces a constant input."""

    def change(node: ir.Node) -> None:
        value = ir.Value(name=f"{node.name}//changed_{index}")
        tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape))
        value.const_value, value.type, value.shape = tensor, ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        node.replace_input_with(index, value)

    return change


def becoming(operator: str, **attributes: int | float | str) -> Callable[[ir.Node], None]:
    """The change of a node into another that reads its first input only."""

    def change(node: ir.Node) -> None:
        node.op_type = operator
        node.attributes.clear()
        for name, value in attributes.items():
            node.attributes[name] = ir.convenience.convert_attribute(name, value)
        node.resize_inputs(1)

    return change


def exchanging(first: int, second: int) -> Callable[[ir.Node], None]:
    """The change that exchanges two inputs."""

    def change(node: ir.Node) -> None:
        one, other = node.inputs[first], node.inputs[second]
        node.replace_input_with(first, other)
        node.replace_input_with(second, one)

    return change


def renamed(operator: str, *dropped: str) -> Callable[[ir.Node], None]:
    def change(node: ir.Node) -> None:
        node.op_type = operator
        for name in dropped:
            node.attributes.pop(name, None)

    return change


def shape_of(node: ir.Node, index: int) -> tuple[int, ...] | None:
    return dims(node.inputs[index]) if index < len(node.inputs) else None


def dims(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape.numpy())
