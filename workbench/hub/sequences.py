"""Sequences and optionals: what they hold is followed while the graph is replayed, and their operators vanish.

A sequence whose length is known is a Python tuple of tensors. A position that is computed at run time chooses among
tensors of one type; everything else has to be known, or the node stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.hub.infer import check_node
from workbench.hub.replay import Array, Held, Items, Option, Replay, resolves
from workbench.hub.structure import is_tensor, same_type, static_shape


def _items(node: ir.Node, index: int, replay: Replay) -> Items | None:
    """The sequence that an input is, if it is known."""
    held = replay.look_up(node.inputs[index]) if index < len(node.inputs) else None
    if isinstance(held, Option):
        held = held.content
    return held if isinstance(held, Items) else None


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _position(node: ir.Node, index: int, replay: Replay, count: int, last: int, default: int) -> int | None:
    """A position among ``count`` tensors, from 0 to ``last``; ``None`` if it is computed at run time.

    Raises:
        ModelError: there is no such position.
    """
    if index >= len(node.inputs) or node.inputs[index] is None:
        return default
    array = replay.constant(node.inputs[index])
    if array is None:
        return None
    position = int(array.item())
    if not -count <= position <= last:
        raise ModelError(f"onnx {node.op_type} {node.name!r}: the position {position} of {count}.")
    return position + count if position < 0 else position


def _bound(node: ir.Node, replay: Replay, held: Held) -> bool:
    replay.bind_outputs(node, [held])
    return True


@resolves("SequenceEmpty")
def sequence_empty(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceEmpty.html"""
    if replay.control is None:
        return False
    dtype = ir.DataType(_integer(node, "dtype", ir.DataType.FLOAT.value))
    return _bound(node, replay, Items((), dtype))


@resolves("SequenceConstruct")
def sequence_construct(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html"""
    helds = [replay.look_up(value) for value in node.inputs]
    tensors = tuple(held for held in helds if isinstance(held, ir.Value) and is_tensor(held))
    if replay.control is None or len(tensors) < len(helds):
        return False
    return _bound(node, replay, Items(tensors, tensors[0].dtype))


@resolves("SequenceLength")
def sequence_length(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceLength.html"""
    items = _items(node, 0, replay)
    if items is None:
        return False
    return _bound(node, replay, replay.emitter.const(len(items.values)))


@resolves("SequenceAt")
def sequence_at(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceAt.html"""
    items = _items(node, 0, replay)
    if items is None or not items.values:
        return False
    count = len(items.values)
    position = _position(node, 1, replay, count, count - 1, 0)
    if position is not None:
        return _bound(node, replay, items.values[position])
    if not all(same_type(items.values[0], value) for value in items.values):
        return False
    emitter, index = replay.emitter, node.inputs[1]
    assert index is not None
    return _bound(node, replay, emitter.op("Gather", _stacked(items, replay), replay.tensor(index), axis=0))


def _stacked(items: Items, replay: Replay) -> ir.Value:
    emitter = replay.emitter
    rows = [emitter.op("Unsqueeze", value, emitter.const([0])) for value in items.values]
    return emitter.op("Concat", *rows, axis=0)


@resolves("SequenceInsert")
def sequence_insert(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceInsert.html"""
    items, tensor = _items(node, 0, replay), replay.look_up(node.inputs[1])
    if items is None or not isinstance(tensor, ir.Value):
        return False
    count = len(items.values)
    position = _position(node, 2, replay, count, count, count)
    if position is not None:
        values = (*items.values[:position], tensor, *items.values[position:])
        return _bound(node, replay, Items(values, tensor.dtype))
    if not all(same_type(tensor, value) for value in items.values):
        return False
    before = (*items.values, tensor)  # behind the position, and without it
    after = (tensor, *items.values)
    return _bound(node, replay, _shifted(node, 2, replay, before, tensor, after, count))


@resolves("SequenceErase")
def sequence_erase(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceErase.html"""
    items = _items(node, 0, replay)
    if items is None or not items.values:
        return False
    count = len(items.values)
    position = _position(node, 1, replay, count, count - 1, count - 1)
    if position is not None:
        return _bound(node, replay, Items((*items.values[:position], *items.values[position + 1 :]), items.dtype))
    if not all(same_type(items.values[0], value) for value in items.values):
        return False
    return _bound(node, replay, _shifted(node, 1, replay, items.values[:-1], None, items.values[1:], count))


def _shifted(
    node: ir.Node, index: int, replay: Replay, before: Sequence[ir.Value], at: ir.Value | None,
    after: Sequence[ir.Value], count: int,
) -> Items:  # fmt: skip
    """``before`` up to a position that is computed, ``at`` there, ``after`` behind it; all of one type.

    Without ``at`` the tensor at the position is ``after``'s.
    """
    emitter, given = replay.emitter, node.inputs[index]
    assert given is not None
    position = replay.tensor(given)
    position = emitter.op("Cast", position, to=ir.DataType.INT64.value)
    negative = emitter.op("Less", position, emitter.const(0))
    position = emitter.op("Where", negative, emitter.op("Add", position, emitter.const(count)), position)
    values = []
    for place, (first, last) in enumerate(zip(before, after, strict=True)):
        here = emitter.const(place)
        value = emitter.op("Where", emitter.op("Less", here, position), first, last)
        values.append(value if at is None else emitter.op("Where", emitter.op("Equal", here, position), at, value))
    return Items(tuple(values), values[0].dtype if values else None)


@resolves("SplitToSequence")
def split_to_sequence(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SplitToSequence.html"""
    data = replay.look_up(node.inputs[0])
    if replay.control is None or not isinstance(data, ir.Value):
        return False
    check_node(node)
    shape, given = static_shape(data), len(node.inputs) > 1 and node.inputs[1] is not None
    split = replay.constant(node.inputs[1]) if given else None
    if shape is None or not shape or (given and split is None):
        return False
    axis = _integer(node, "axis", 0)
    sizes = _sizes(shape[axis], split)
    if not sizes:
        return _bound(node, replay, Items((), data.dtype))
    emitter = replay.emitter
    parts = [data]
    if len(sizes) > 1:
        parts = emitter.ops("Split", data, emitter.const(sizes, "int64"), outputs=len(sizes), axis=axis)
    if not given and not _integer(node, "keepdims", 1):
        parts = [emitter.op("Squeeze", part, emitter.const([axis])) for part in parts]
    return _bound(node, replay, Items(tuple(parts), data.dtype))


def _sizes(length: int, split: Array | None) -> list[int]:
    """Sizes of the parts: given, or equal ones of which the last may be smaller."""
    if split is not None and split.ndim:
        return [int(size) for size in split]
    chunk = 1 if split is None else max(int(split.item()), 1)
    return [min(chunk, length - part * chunk) for part in range(math.ceil(length / chunk))]


@resolves("ConcatFromSequence")
def concat_from_sequence(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html"""
    items = _items(node, 0, replay)
    if items is None or not items.values:
        return False
    check_node(node)
    emitter, axis, values = replay.emitter, node.attributes["axis"].as_int(), list(items.values)
    if _integer(node, "new_axis", 0):
        values = [emitter.op("Unsqueeze", value, emitter.const([axis])) for value in values]
    return _bound(node, replay, emitter.op("Concat", *values, axis=axis))


@resolves("SequenceMap")
def sequence_map(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__SequenceMap.html: the body for each element, its results in sequences."""
    first = _items(node, 0, replay)
    if first is None or replay.control is None:
        return False
    check_node(node)
    body = node.attributes["body"].as_graph()
    helds = [replay.look_up(value) for value in node.inputs]
    count = len(first.values)
    if any(isinstance(held, Items) and len(held.values) != count for held in helds):
        raise ModelError(f"onnx SequenceMap {node.name!r}: its sequences are not of one length.")
    made: list[list[ir.Value]] = [[] for _ in body.outputs]
    for place in range(count):
        given = [held.values[place] if isinstance(held, Items) else held for held in helds]
        for results, held in zip(made, replay.inline(body, given), strict=True):
            if not isinstance(held, ir.Value):
                raise ModelError(f"onnx SequenceMap {node.name!r}: its body makes something else than tensors.")
            results.append(held)
    dtypes = [value.dtype for value in body.outputs]
    replay.bind_outputs(node, [Items(tuple(values), dtype) for values, dtype in zip(made, dtypes, strict=True)])
    return True


@resolves("Identity")
def identity(node: ir.Node, replay: Replay) -> bool:
    """Of a sequence or an optional; a tensor's stays, as a layer that can be looked at."""
    held = replay.look_up(node.inputs[0])
    return not isinstance(held, ir.Value) and _bound(node, replay, held)


@resolves("Optional")
def optional(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__Optional.html"""
    if replay.control is None:
        return False
    held = replay.look_up(node.inputs[0]) if node.inputs else Option(None)
    if isinstance(held, ir.Value) and not is_tensor(held):
        return False
    kind = node.attributes["type"].value.type if "type" in node.attributes else None
    return _bound(node, replay, Option(held.content if isinstance(held, Option) else held, kind))


@resolves("OptionalHasElement")
def optional_has_element(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html"""
    if replay.control is None:
        return False
    held = replay.look_up(node.inputs[0]) if node.inputs else Option(None)
    if isinstance(held, ir.Value) and (held.type is None or isinstance(held.type, ir.OptionalType)):
        return False
    there = not isinstance(held, Option) or held.content is not None
    return _bound(node, replay, replay.emitter.const(there))


@resolves("OptionalGetElement")
def optional_get_element(node: ir.Node, replay: Replay) -> bool:
    """https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html"""
    if replay.control is None:
        return False
    held = replay.look_up(node.inputs[0])
    if isinstance(held, Option):
        if held.content is None:
            raise ModelError(f"onnx OptionalGetElement {node.name!r}: the optional is empty.")
        held = held.content
    if isinstance(held, ir.Value) and not is_tensor(held):
        return False
    return _bound(node, replay, held)
