"""The elements of small integer tensors that are made of sizes: the arithmetic of shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.sizes import Extent, OpenSize, Size, larger, same, smaller
from workbench.hub.symbolic.known import (
    SMALL,
    Array,
    OpenShapes,
    elements,
    input_of,
    integer,
    is_float,
    objects,
    shape_of,
    total,
    volume,
)


@elements("Shape")
def _shape_of(node: ir.Node, known: OpenShapes) -> Array | None:
    shape = shape_of(node, 0, known)
    if shape is None:
        return None
    wanted = shape[integer(node, "start", 0) : integer(node, "end", len(shape))]
    return None if any(size is None for size in wanted) else objects(list(wanted), (len(wanted),))


@elements("Size")
def _size_of(node: ir.Node, known: OpenShapes) -> Array | None:
    shape = shape_of(node, 0, known)
    count = None if shape is None else volume(shape)
    return None if count is None else objects([count], ())


def _all(node: ir.Node, known: OpenShapes) -> list[Array] | None:
    """The elements of all inputs, if all are known."""
    found = [known.elements(value) for value in node.inputs]
    return None if any(array is None for array in found) else [array for array in found if array is not None]


def _quotient(a: Extent, b: Extent) -> Extent:
    """ONNX divides towards zero."""
    if not isinstance(a, Size) and not isinstance(b, Size):
        size = abs(int(a)) // abs(int(b))
        return size if (a < 0) == (b < 0) else -size
    if a < 0 or b <= 0:
        raise OpenSize(_open(a, b), f"it depends on the sign of {a} / {b}")
    return a // b


def _open(*sizes: Extent) -> Size:
    """One of them that is open."""
    return next(size for size in sizes if isinstance(size, Size))


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _quotient,
    "Mod": lambda a, b: a % b,
    "Max": larger,
    "Min": smaller,
    "Equal": lambda a, b: a == b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "And": lambda a, b: a and b,
    "Or": lambda a, b: a or b,
}


@elements(*_BINARY)
def _arithmetic(node: ir.Node, known: OpenShapes) -> Array | None:
    arrays = _all(node, known)
    if arrays is None or not arrays or (node.op_type == "Mod" and integer(node, "fmod", 0)):
        return None
    function, result = _BINARY[node.op_type], arrays[0]
    if node.op_type == "Div" and is_float(node.outputs[0]):
        function = _exact_quotient
    for other in arrays[1:]:
        one, two = np.broadcast_arrays(result, other)
        pairs = [function(a, b) for a, b in zip(one.flat, two.flat, strict=True)]
        result = objects(pairs, one.shape)
    return result


def _exact_quotient(a: Extent, b: Extent) -> Extent:
    """A quotient of whole floats that is whole for every size."""
    found = _quotient(a, b)
    if not same(found * b, a):
        raise ArithmeticError("a fraction")
    return found


@elements("Where")
def _where(node: ir.Node, known: OpenShapes) -> Array | None:
    """By a condition that is known, or between two that are the same."""
    chosen = [known.elements(value) for value in node.inputs]
    if chosen[0] is None and chosen[1] is not None and chosen[2] is not None:
        condition_shape, alike = shape_of(node, 0, known), chosen[1].shape == chosen[2].shape
        alike = alike and all(map(same, chosen[1].flat, chosen[2].flat))
        return chosen[1] if alike and condition_shape in ((), (1,)) and chosen[1].ndim else None
    arrays = _all(node, known)
    if arrays is None:
        return None
    condition, one, two = np.broadcast_arrays(*arrays)
    picked = [a if bool(c) else b for c, a, b in zip(condition.flat, one.flat, two.flat, strict=True)]
    return objects(picked, condition.shape)


@elements("Neg", "Not")
def _turned(node: ir.Node, known: OpenShapes) -> Array | None:
    array = known.elements(input_of(node, 0))
    if array is None:
        return None
    return objects([-item if node.op_type == "Neg" else not item for item in array.flat], array.shape)


@elements("Identity", "Floor", "Ceil", "Round")
def _unchanged(node: ir.Node, known: OpenShapes) -> Array | None:
    """What is followed is whole."""
    return known.elements(input_of(node, 0))


_WIDE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.FLOAT, ir.DataType.DOUBLE)


@elements("Cast")
def _cast(node: ir.Node, known: OpenShapes) -> Array | None:
    """Among types that hold every size as it is."""
    value = input_of(node, 0)
    types = (None if value is None else value.dtype), ir.DataType(node.attributes["to"].as_int())
    return known.elements(value) if all(kind in _WIDE for kind in types) else None


@elements("Concat")
def _joined(node: ir.Node, known: OpenShapes) -> Array | None:
    arrays = _all(node, known)
    return None if arrays is None else np.concatenate(arrays, axis=integer(node, "axis", 0))


@elements("Gather")
def _gathered(node: ir.Node, known: OpenShapes) -> Array | None:
    arrays = _all(node, known)
    if arrays is None or any(isinstance(index, Size) for index in arrays[1].flat):
        return None
    picked = np.take(arrays[0], arrays[1].astype(np.int64), axis=integer(node, "axis", 0))
    return picked if isinstance(picked, np.ndarray) else objects([picked], ())


@elements("Slice")
def _sliced(node: ir.Node, known: OpenShapes) -> Array | None:
    arrays = _all(node, known)
    if arrays is None or any(isinstance(element, Size) for part in arrays[1:] for element in part.flat):
        return None
    data, starts, ends = arrays[:3]
    axes = arrays[3] if len(arrays) > 3 else np.arange(len(starts))
    steps = arrays[4] if len(arrays) > 4 else np.ones(len(starts), np.int64)
    picks = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        below = step < 0 and end < -data.shape[int(axis)]
        picks[int(axis)] = slice(int(start), None if below else int(end), int(step))
    return np.asarray(data[tuple(picks)])


@elements("Unsqueeze", "Squeeze", "Reshape")
def _reformed(node: ir.Node, known: OpenShapes) -> Array | None:
    array = known.elements(input_of(node, 0))
    if array is None:
        return None
    shape = known.shape(node.outputs[0])
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return array.reshape([int(size) for size in shape if size is not None])


@elements("ReduceProd", "ReduceSum")
def _reduced(node: ir.Node, known: OpenShapes) -> Array | None:
    """Of all elements."""
    array, axes = known.elements(input_of(node, 0)), known.elements(input_of(node, 1))
    shape = known.shape(node.outputs[0])
    whole = axes is None or (array is not None and len(axes) == array.ndim)
    if array is None or shape is None or not whole or (input_of(node, 1) is not None and axes is None):
        return None
    if integer(node, "noop_with_empty_axes", 0):
        return None
    whole_result = volume(list(array.flat)) if node.op_type == "ReduceProd" else total(list(array.flat))
    return objects([whole_result], [1] * len(shape))


@elements("Expand", "Tile")
def _repeated(node: ir.Node, known: OpenShapes) -> Array | None:
    array, wanted = known.elements(input_of(node, 0)), known.elements(input_of(node, 1))
    if array is None or wanted is None or any(isinstance(size, Size) for size in wanted):
        return None
    sizes = [int(size) for size in wanted]
    if node.op_type == "Tile":
        return np.tile(array, sizes)
    return np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(sizes)))


@elements("ConstantOfShape")
def _filled(node: ir.Node, known: OpenShapes) -> Array | None:
    wanted = known.elements(input_of(node, 0))
    if wanted is None or any(isinstance(size, Size) for size in wanted):
        return None
    value = node.attributes.get("value")
    element = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
    if element.dtype.kind not in "iub" or np.prod([int(size) for size in wanted], dtype=np.int64) > SMALL:
        return None
    return np.full([int(size) for size in wanted], element.item(), dtype=object)
