"""Operators that move elements without computing. MIL: ``tensor_transformation``, ``tensor_operation``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench import limits
from workbench.formats.coreml.from_onnx.carrier import MAX_RANK, carrier, is_empty, numpy_carrier
from workbench.formats.coreml.from_onnx.slicing import Pick, entire, is_whole, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import is_measured, is_open, same
from workbench.hub.symbolic import bounds_of
from workbench.lowering import Refused


def reshaped(node: HubNode, t: ProgramTarget, x: Var) -> Var:
    """The value in the shape that the hub has inferred for the node's first output."""
    found = t.reshape(x, node.shape(node.outputs[0]))
    return t.op("identity", x=x) if found is x else found


@lowers("Reshape", since=25)
def reshape_25(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("allowzero")  # it is in the shape that the hub has inferred
    return reshaped(node, t, t.var(node.value(0)))


@lowers("Flatten", since=25)
def flatten_25(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("axis")  # likewise
    return reshaped(node, t, t.var(node.value(0)))


@lowers("Squeeze", since=25)
def squeeze_25(node: HubNode, t: ProgramTarget) -> Any:
    if node.rank(node.value(0)) > MAX_RANK:
        node.constant_or(1, np.empty(0))
        return reshaped(node, t, t.var(node.value(0)))
    x, rank = t.var(node.value(0)), node.rank(node.value(0))
    if node.input(1) is not None:
        axes = [int(axis) % rank for axis in node.require_constant(1)]
    else:
        axes = [axis for axis, size in enumerate(t.shape(x)) if size == 1]
    return t.op("squeeze", x=x, axes=sorted(axes)) if axes else t.op("identity", x=x)


@lowers("Unsqueeze", since=25)
def unsqueeze_25(node: HubNode, t: ProgramTarget) -> Any:
    rank = node.rank(node.outputs[0])
    axes = sorted(int(axis) % rank for axis in node.require_constant(1).reshape(-1))
    x = t.var(node.value(0))
    if rank > MAX_RANK:
        return reshaped(node, t, x)
    return t.op("expand_dims", x=x, axes=axes) if axes else t.op("identity", x=x)


@lowers("Transpose", since=25)
def transpose_25(node: HubNode, t: ProgramTarget) -> Any:
    x, shape = t.var(node.value(0)), node.shape(node.value(0))
    perm = node.attr_ints("perm") or tuple(reversed(range(len(shape))))
    if len(shape) > MAX_RANK:
        return _transposed_row(t, x, shape, perm)
    return t.op("transpose", x=x, perm=list(perm)) if shape else t.op("identity", x=x)


def _transposed_row(t: ProgramTarget, x: Var, shape: tuple[int, ...], perm: Sequence[int]) -> Var:
    """A transposition of any rank, of a tensor that is held as a row of its elements.

    Each axis in turn is moved to its place in front of those that come before it: a transposition of rank 4 of what
    stands before, between, on and behind the axis.
    """
    row, order = x, list(range(len(shape)))
    for place, axis in enumerate(perm):
        found = order.index(axis)
        if found == place:
            continue
        sizes = [math.prod(shape[a] for a in part) for part in (order[:place], order[place:found], order[found + 1 :])]
        parts = (sizes[0], sizes[1], shape[axis], sizes[2])
        if not same(parts[1], 1) and not same(parts[2], 1):
            row = t.op("transpose", x=t.reshape(row, parts), perm=[0, 2, 1, 3])
        order.insert(place, order.pop(found))
    row = t.reshape(row, (math.prod(shape),))
    return t.op("identity", x=x) if row is x else row


@lowers("Concat", since=13)
def concat_13(node: HubNode, t: ProgramTarget) -> Any:
    parts = [node.value(index) for index in range(len(node.inputs))]
    values = [t.var(part) for part in parts if not is_empty(node.shape(part))]
    axis = node.axis()
    return t.op("concat", values=values, axis=axis) if len(values) > 1 else t.op("identity", x=values[0])


@lowers("Split", since=18)
def split_18(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("num_outputs")  # the outputs' inferred shapes hold the sizes, the last and smaller one included
    axis = node.axis()
    sizes = node.constant(1)
    if node.input(1) is not None and sizes is None and node.elements(node.value(1)) is None:
        node.require_constant(1)
    if sizes is None and is_open([node.shape(value)[axis] for value in node.outputs]):
        return _open_parts(node, t, axis)
    if sizes is None:
        sizes = np.asarray([node.shape(value)[axis] for value in node.outputs])
    x, filled = t.var(node.value(0)), [int(size) for size in sizes if size]
    if len(filled) == 1:
        parts = iter([t.op("identity", x=x)])
    else:
        parts = iter(t.op("split", x=x, split_sizes=np.asarray(filled, np.int32), axis=axis))
    return [next(parts) if size else None for size in sizes]


def _open_parts(node: HubNode, t: ProgramTarget, axis: int) -> list[Var]:
    """The parts of a split into open sizes, each a slice."""
    x, begin, parts = t.var(node.value(0)), 0, []
    for value in node.outputs:
        shape = node.shape(value)
        picks = [Pick(begin if place == axis else 0, size) for place, size in enumerate(shape)]
        parts.append(sliced(t, x, picks))
        begin = begin + shape[axis]
    return parts


@lowers("Slice", since=13)
def slice_13(node: HubNode, t: ProgramTarget) -> Any:
    """Bounds are clamped to the shape here, so that MIL's ``slice_by_index`` has nothing to interpret."""
    x, shape = t.var(node.value(0)), node.shape(node.value(0))
    starts, ends = _numbers(node, 1), _numbers(node, 2)
    axes = [int(axis) % len(shape) for axis in node.constant_or(3, np.arange(len(starts)))]
    steps = node.constant_or(4, np.ones(len(starts), np.int64))
    picks: list[Pick | range] = [entire(size) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if is_open((shape[axis], start, end)):
            picks[axis] = _open_pick(shape[axis], start, end, int(step))
        else:
            picks[axis] = range(shape[axis])[slice(*_bounds(int(start), int(end), int(step), shape[axis]))]
    return t.op("identity", x=x) if is_whole(picks, shape) else sliced(t, x, picks)


def _numbers(node: HubNode, index: int) -> list[int]:
    """The elements of a vector that is a constant, or made of open sizes."""
    elements = node.elements(node.value(index))
    return [int(number) for number in node.require_constant(index)] if elements is None else list(elements)


def _open_pick(size: int, start: int, end: int, step: int) -> Pick:
    found = bounds_of(size, start, end, step)
    if found is None:
        raise Refused(f"a slice by steps of {step} from {start} to {end} of an axis of size {size}, which is open",
                      "fix the size with shapes={…}")  # fmt: skip
    return Pick(*found, step)  # type: ignore[arg-type]  # open sizes, which behave as numbers


def _bounds(start: int, end: int, step: int, size: int) -> tuple[int, int | None, int]:
    """ONNX's bounds as Python's: an end before the first element, going down, is ``None`` there."""
    if step < 0 and end < -size:
        return start, None, step
    return start, end, step


@lowers("Expand", since=13)
def expand_13(node: HubNode, t: ProgramTarget) -> Any:
    """ONNX's expand broadcasts both ways; the inferred shape is the result of that."""
    x = t.var(node.value(0))
    found = t.broadcast(x, node.shape(node.outputs[0]))
    return t.op("identity", x=x) if found is x else found


@lowers("Tile", since=13)
def tile_13(node: HubNode, t: ProgramTarget) -> Any:
    repeats, x = _numbers(node, 1), t.var(node.value(0))
    if all(same(number, 1) for number in repeats):
        return t.op("identity", x=x)
    return t.op("tile", x=x, reps=t.dimensions.vector(repeats))


@lowers("DepthToSpace", since=13)
def depthtospace_13(node: HubNode, t: ProgramTarget) -> Any:
    """``DCR`` (block before channel) is MIL's ``depth_to_space``, ``CRD`` (channel first) its ``pixel_shuffle``."""
    x, block = t.var(node.value(0)), node.attr_int("blocksize")
    if node.attr_string("mode") == "CRD":
        return through_float(t, x, lambda value: t.op("pixel_shuffle", x=value, upscale_factor=block))
    return through_float(t, x, lambda value: t.op("depth_to_space", x=value, block_size=block))


@lowers("SpaceToDepth", since=13)
def spacetodepth_13(node: HubNode, t: ProgramTarget) -> Any:
    x, block = t.var(node.value(0)), node.attr_int("blocksize")
    return through_float(t, x, lambda value: t.op("space_to_depth", x=value, block_size=block))


def through_float(t: ProgramTarget, x: Var, make: Any) -> Var:
    """Apply an operation that MIL has for floats only; booleans go through it unharmed, int32 might not."""
    kind = t.kind(x)
    if t.is_float(x):
        return make(x)
    if kind == "bool":
        return t.cast(make(t.cast(x, "fp32")), kind)
    raise Refused("Core ML has the operation for floats only", "cast to float32 in the source model")


@lowers("Trilu", since=14)
def trilu_14(node: HubNode, t: ProgramTarget) -> Any:
    """Selected by a constant mask, so that an infinite or undefined element outside the triangle leaves no trace."""
    x, upper = t.var(node.value(0)), bool(node.attr_int("upper"))
    offset = int(node.constant_or(1, np.zeros((), np.int64)).reshape(-1)[0])
    rows, columns = t.shape(x)[-2:]
    if is_open((rows, columns)):
        difference = t.op("sub", x=t.counted(columns), y=t.reshape(t.counted(rows), (rows, 1)))
        kept = t.op("greater_equal" if upper else "less_equal", x=difference, y=np.int32(offset))
        return t.select(t.reshape(kept, (1,) * (len(x.shape) - 2) + (rows, columns)), x, t.scalar(0, x), t.shape(x))
    limits.check("folded_elements", rows * columns, "elements of a constant mask")
    ones = np.ones((rows, columns), dtype=np.bool_)
    mask = np.triu(ones, offset) if upper else np.tril(ones, offset)
    keep = t.const(mask.reshape((1,) * (len(x.shape) - 2) + mask.shape), "mask")
    return t.op("select", cond=keep, a=x, b=t.scalar(0, x))


@lowers("EyeLike", since=22)
def eyelike_22(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("dtype")  # it is the output's
    output = node.outputs[0]
    rows, columns = node.shape(output)
    limits.check("folded_elements", rows * columns, "elements of a constant matrix")
    return t.const(np.eye(rows, columns, node.attr_int("k"), dtype=numpy_carrier(node.dtype(output))), "eye")


@lowers("Constant", since=25)
def constant_25(node: HubNode, t: ProgramTarget) -> Any:
    raise Refused("a constant of this kind has no counterpart in Core ML")


@lowers("ConstantOfShape", since=25)
def constantofshape_25(node: HubNode, t: ProgramTarget) -> Any:
    """Reached only by what is too large for the hub to fold, or of an open size."""
    value = node.attr_tensor("value")
    shape = node.shape(node.outputs[0])
    kind = numpy_carrier(node.dtype(node.outputs[0]))
    number = kind(0 if value is None else value.item())
    if kind is np.bool_:
        return t.cast(t.filled(shape, np.int32(number)), "bool")
    return t.filled(shape, number)


@lowers("Range", since=11)
def range_11(node: HubNode, t: ProgramTarget) -> Any:
    """Bounds that are known have been folded by the hub; open sizes give an open length, others one that is unknown."""
    output = node.outputs[0]
    if output.shape is not None and is_measured(node.shape(output)[0]):
        return _measured_range(node, t)
    start, step = (_number(node, index) for index in (0, 2))
    if start is None or step is None or output.shape is None:
        raise Refused(
            "the length of the result depends on values at run time", "fix the inputs that it is computed from"
        )
    counted = t.counted(node.shape(output)[0])
    stepped = counted if same(step, 1) else t.op("mul", x=counted, y=t.dimensions.scalar(step))
    found = stepped if same(start, 0) else t.op("add", x=stepped, y=t.dimensions.scalar(start))
    return t.cast(found, carrier(node.dtype(output)))


def _measured_range(node: HubNode, t: ProgramTarget) -> Var:
    """Bounds that only a run tells: of integers MIL's own, of floats start + step · (0, 1, 2, …)."""
    t.measures(node)
    start, end, step = (t.reshape(t.var(node.value(index)), ()) for index in range(3))
    if not t.is_float(step):
        return t.op("range_1d", start=start, end=end, step=step)
    first, by, whole = _number(node, 0), _number(node, 2), _whole(t, end)
    if first is not None and by and whole is not None:
        return t.cast(t.op("range_1d", start=np.int32(first), end=whole, step=np.int32(by)), t.kind(step))
    if first is None or by not in (1, -1):
        node.approximate("one element more or fewer where (end − start) / step is within 2⁻²³ of a whole number")
    wide = [t.cast(number, "fp32") for number in (start, end, step)]
    steps = t.op("real_div", x=t.op("sub", x=wide[1], y=wide[0]), y=wide[2])
    count = t.cast(t.op("ceil", x=steps), "int32")
    places = t.cast(t.op("range_1d", start=np.int32(0), end=count, step=np.int32(1)), t.kind(step))
    return t.op("add", x=t.op("mul", x=places, y=step), y=start)


def _whole(t: ProgramTarget, number: Var) -> Var | None:
    """The int32 that a float was made of, which float16 does not round."""
    made = number.op if number.op is None or number.op.op_type != "squeeze" else number.op.x.op
    found = made.x if made is not None and made.op_type == "cast" else None
    return t.reshape(found, ()) if found is not None and t.kind(found) == "int32" else None


@lowers("NonZero", since=13)
def nonzero_13(node: HubNode, t: ProgramTarget) -> Any:
    """The places of what is not zero: [rank, count]; ``non_zero`` has them the other way round."""
    x = t.var(node.value(0))
    if not x.shape:
        raise Refused("the places in a tensor without dimensions have no coordinates")
    t.measures(node)
    return t.op("transpose", x=t.op("non_zero", x=x), perm=[1, 0])


def _number(node: HubNode, index: int) -> int | None:
    """A whole number that is a constant, or made of open sizes."""
    elements, constant = node.elements(node.value(index)), node.constant(index)
    if elements is not None:
        return elements.item()  # type: ignore[no-any-return]
    whole_number = constant is not None and float(constant.item()).is_integer()
    return int(constant.item()) if constant is not None and whole_number else None


@lowers("Shape", since=25)
@lowers("Size", since=25)
def shape_25(node: HubNode, t: ProgramTarget) -> Any:
    """Reached only where the shape does not follow from the sizes of the inputs, which is then said."""
    node.shape(node.value(0))
    raise Refused("a shape that depends on values at run time")


@lowers("ReverseSequence", since=10)
def reversesequence_10(node: HubNode, t: ProgramTarget) -> Any:
    x, lengths = t.var(node.value(0)), t.var(node.value(1))
    time, batch = node.attr_int("time_axis"), node.attr_int("batch_axis")
    return t.op("reverse_sequence", x=x, lengths=lengths, seq_axis=time, batch_axis=batch)
