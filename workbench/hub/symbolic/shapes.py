"""The shapes that operators make of shapes with open sizes: broadcasting, joining, reshaping."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from workbench.hub.sizes import Extent, OpenSize, Size, is_measured, larger, same
from workbench.hub.symbolic.known import LONGEST, OpenShapes, Shape, input_of, integer, shape_of, shapes, total, volume


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape that several broadcast to, by numpy's rules; of two open sizes the larger, since one may be 1."""
    rank = max(map(len, shapes))
    result: list[Extent | None] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            result[axis] = _common(result[axis], size)
    return tuple(result)


def _common(first: Extent | None, second: Extent | None) -> Extent | None:
    for one, other in ((first, second), (second, first)):
        if isinstance(one, int):
            if one == 1:
                return other
            if not isinstance(other, int) or other == one:
                return one  # a size that is open fits only where it is the same, or 1
    if first is None or second is None:
        return None
    if same(first, second):
        return first
    if is_measured(first) or is_measured(second):
        return None  # of 0 and 1 the smaller
    return larger(first, second)


@shapes(
    "Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "And", "Or", "Xor",
    "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift",
)  # fmt: skip
def _broadcasting(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    found = [shape for index in range(len(node.inputs)) if (shape := shape_of(node, index, known)) is not None]
    return [broadcast(found)] if len(found) == len(node.inputs) else None


@shapes("MatMul")
def _matmul(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    x, y = shape_of(node, 0, known), shape_of(node, 1, known)
    if x is None or y is None:
        return None
    rows, columns = (x[-2:-1] if len(x) > 1 else ()), (y[-1:] if len(y) > 1 else ())
    return [(*broadcast([x[:-2], y[:-2], ()]), *rows, *columns)]


@shapes("Gemm")
def _gemm(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    x, y = shape_of(node, 0, known), shape_of(node, 1, known)
    if x is None or y is None or len(x) != 2 or len(y) != 2:
        return None
    return [(x[integer(node, "transA", 0)], y[1 - integer(node, "transB", 0)])]


@shapes("Concat")
def _concat(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shapes = [shape for index in range(len(node.inputs)) if (shape := shape_of(node, index, known)) is not None]
    if len(shapes) != len(node.inputs):
        return None
    axis = integer(node, "axis", 0) % len(shapes[0])
    result = [next((size for size in sizes if size is not None), None) for sizes in zip(*shapes, strict=True)]
    result[axis] = total([shape[axis] for shape in shapes])
    return [tuple(result)]


@shapes("Split")
def _split(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape = shape_of(node, 0, known)
    if shape is None:
        return None
    axis = integer(node, "axis", 0) % len(shape)
    count, whole = len(node.outputs), shape[axis]
    sizes: Sequence[Extent | None]
    if input_of(node, 1) is not None:
        given = known.elements(input_of(node, 1))
        sizes = [None] * count if given is None else list(given)
    elif whole is None:
        sizes = [None] * count
    else:
        part = (whole + (count - 1)) // count
        sizes = [*[part] * (count - 1), whole - part * (count - 1)]
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


@shapes("Reshape")
def _reshape(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, wanted = shape_of(node, 0, known), known.elements(input_of(node, 1))
    if shape is None or wanted is None:
        return None
    result: list[Extent | None] = list(wanted)
    if not integer(node, "allowzero", 0):
        result = [shape[axis] if _is_number(size, 0) else size for axis, size in enumerate(result)]
    rest = [axis for axis, size in enumerate(result) if _is_number(size, -1)]
    if rest:
        others, whole = volume([size for axis, size in enumerate(result) if axis != rest[0]]), volume(shape)
        unknown = others is None or whole is None or len(rest) > 1
        result[rest[0]] = None if unknown or others is None or whole is None else whole // others
    return [tuple(result)]


def _is_number(size: Extent | None, number: int) -> bool:
    return isinstance(size, int) and size == number


@shapes("Flatten")
def _flatten(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape = shape_of(node, 0, known)
    if shape is None:
        return None
    axis = integer(node, "axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [(volume(shape[:axis]), volume(shape[axis:]))]


@shapes("Expand")
def _expand(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, wanted = shape_of(node, 0, known), known.elements(input_of(node, 1))
    return None if shape is None or wanted is None else [broadcast([shape, tuple(wanted)])]


@shapes("Tile")
def _tile(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, repeats = shape_of(node, 0, known), known.elements(input_of(node, 1))
    if shape is None or repeats is None:
        return None
    return [tuple(None if size is None else size * by for size, by in zip(shape, repeats, strict=True))]


@shapes("Pad")
def _pad(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, amounts = shape_of(node, 0, known), known.elements(input_of(node, 1))
    if shape is None or amounts is None:
        return None
    axes = list(range(len(shape)))
    if input_of(node, 3) is not None:
        given = known.elements(input_of(node, 3))
        if given is None:
            return None
        axes = [int(axis) % len(shape) for axis in given]
    result = list(shape)
    for place, axis in enumerate(axes):
        result[axis] = total([result[axis], amounts[place], amounts[place + len(axes)]])
    return [tuple(result)]


@shapes("TopK")
def _topk(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape, count = shape_of(node, 0, known), known.elements(input_of(node, 1))
    if shape is None or count is None:
        return None
    axis = integer(node, "axis", -1) % len(shape)
    return [(*shape[:axis], count.reshape(-1)[0], *shape[axis + 1 :])] * 2


@shapes("ConstantOfShape")
def _constant_of_shape(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    wanted = known.elements(input_of(node, 0))
    return None if wanted is None else [tuple(wanted)]


@shapes("Range")
def _range(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    try:
        length = _followed_length(node, known)
    except (OpenSize, ArithmeticError):
        length = None
    return [(known.length(node.outputs[0]) if length is None else length,)]


def _followed_length(node: ir.Node, known: OpenShapes) -> Extent | None:
    """The length of a range whose bounds are made of sizes."""
    parts = [known.elements(input_of(node, index)) for index in range(3)]
    if any(part is None or part.size != 1 for part in parts):
        return None
    start, end, step = (part.reshape(-1)[0] for part in parts if part is not None)
    if isinstance(step, Size) or step <= 0:
        return None
    return larger((end - start + (step - 1)) // step, 0)


@shapes("NonZero")
def _nonzero(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape = shape_of(node, 0, known)
    count = None if shape is None else volume(shape)
    return None if shape is None else [(len(shape), known.length(node.outputs[0], _most(count)))]


@shapes("NonMaxSuppression")
def _nonmaxsuppression(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape = shape_of(node, 1, known)
    return [(known.length(node.outputs[0], _most(None if shape is None else volume(shape))), 3)]


def _most(count: Extent | None) -> int:
    """The highest number that a count may be."""
    high = LONGEST if count is None else count.bounds()[1] if isinstance(count, Size) else count
    return int(min(high, LONGEST))
