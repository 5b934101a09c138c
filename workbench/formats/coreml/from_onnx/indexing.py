"""Gathering, scattering, selecting by rank. MIL: ``scatter_gather``, ``topk``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.slicing import Pick, entire, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import IOS16, ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import is_open, same
from workbench.lowering import Refused

_MODES = {"none": "update", "add": "add", "mul": "mul", "min": "min", "max": "max"}


def positive(node: HubNode, index: int, sizes: Any, t: ProgramTarget) -> Var:
    """The indices counted from the front: MIL's operators understand no negative ones from iOS17 on.

    Args:
        sizes: the size of the axis, or the sizes of the axes that the last dimension of the indices speaks of.
    """
    if is_open(sizes if isinstance(sizes, tuple) else (sizes,)):
        return _positive_of_open(node, index, sizes, t)
    value, bounds = node.value(index), np.asarray(sizes, dtype=np.int64)
    constant = node.constant(index)
    if constant is not None:
        if ((constant < -bounds) | (constant >= bounds)).any():
            raise Refused(f"an index lies outside of the data's shape {bounds.tolist()}")
        return t.const(np.where(constant < 0, constant + bounds, constant), value.name or "indices")
    x = t.var(value)
    size = np.int32(bounds) if bounds.ndim == 0 else t.const(bounds, "sizes")
    return t.op("select", cond=t.op("less", x=x, y=np.int32(0)), a=t.op("add", x=x, y=size), b=x)


def _positive_of_open(node: HubNode, index: int, sizes: Any, t: ProgramTarget) -> Var:
    """The same where a size is open; constants have to lie within the smallest."""
    constant, value = node.constant(index), node.value(index)
    listed = sizes if isinstance(sizes, tuple) else (sizes,)
    if constant is not None:
        for place, size in enumerate(listed):
            column = constant[..., place] if isinstance(sizes, tuple) else constant
            if column.size and (int(column.max()) >= size or -int(column.min()) > size):
                raise Refused(f"an index lies outside of the data's shape {list(listed)}")
        if (constant >= 0).all():
            return t.var(value)
    x = t.var(value)
    size = t.dimensions.vector(list(sizes)) if isinstance(sizes, tuple) else t.dimensions.scalar(sizes)
    return t.op("select", cond=t.op("less", x=x, y=np.int32(0)), a=t.op("add", x=x, y=size), b=x)


def through_int32(t: ProgramTarget, x: Var, make: Callable[[Var], Var]) -> Var:
    """Apply an operation that MIL does not have for booleans."""
    return t.cast(make(t.cast(x, "int32")), "bool") if t.kind(x) == "bool" else make(x)


@lowers("Gather", since=13)
def gather_13(node: HubNode, t: ProgramTarget) -> Any:
    x, axis = t.var(node.value(0)), node.axis()
    indices = positive(node, 1, t.shape(x)[axis], t)
    if indices.shape:
        return through_int32(t, x, lambda data: t.op("gather", x=data, indices=indices, axis=axis))
    picked = t.reshape(indices, (1,))  # of one index: gather a slice of one, and drop the axis
    found = through_int32(t, x, lambda data: t.op("gather", x=data, indices=picked, axis=axis))
    return t.op("squeeze", x=found, axes=[axis])


@lowers("GatherElements", since=13)
def gatherelements_13(node: HubNode, t: ProgramTarget) -> Any:
    x, axis = t.var(node.value(0)), node.axis()
    shape = node.shape(node.value(1))
    if any(own > size for place, (own, size) in enumerate(zip(shape, t.shape(x), strict=True)) if place != axis):
        raise Refused("the indices are larger than the data beside the axis")
    if any(own < size for place, (own, size) in enumerate(zip(shape, t.shape(x), strict=True)) if place != axis):
        x = sliced(t, x, [entire(size if place == axis else shape[place]) for place, size in enumerate(t.shape(x))])
    indices = positive(node, 1, t.shape(x)[axis], t)
    return through_int32(t, x, lambda data: t.op("gather_along_axis", x=data, indices=indices, axis=axis))


@lowers("GatherND", since=13)
def gathernd_13(node: HubNode, t: ProgramTarget) -> Any:
    x, batch = t.var(node.value(0)), node.attr_int("batch_dims")
    depth = node.shape(node.value(1))[-1]
    indices = positive(node, 1, t.shape(x)[batch : batch + depth], t)
    if batch and t.specification < IOS16:
        raise Refused("Core ML gathers within a batch from iOS16 on", "pass target='iOS16' or a later one")
    extra = {"batch_dims": batch} if batch else {}
    return through_int32(t, x, lambda data: t.op("gather_nd", x=data, indices=indices, **extra))


@lowers("ScatterElements", since=18)
def scatterelements_18(node: HubNode, t: ProgramTarget) -> Any:
    """Where indices repeat, ONNX leaves open which update wins; with a reduction the order does not matter."""
    return _scatter(node, t, "scatter_along_axis", node.shape(node.value(0))[node.axis()], axis=node.axis())


@lowers("ScatterND", since=18)
def scatternd_18(node: HubNode, t: ProgramTarget) -> Any:
    depth = node.shape(node.value(1))[-1]
    return _scatter(node, t, "scatter_nd", node.shape(node.value(0))[:depth])


def _scatter(node: HubNode, t: ProgramTarget, operator: str, sizes: Any, **extra: Any) -> Var:
    mode = _MODES[node.attr_string("reduction") or "none"]
    indices, data, updates = positive(node, 1, sizes, t), t.var(node.value(0)), t.var(node.value(2))
    if t.kind(data) == "bool" and mode != "update":
        raise Refused("booleans cannot be scattered with a reduction in Core ML")
    if t.kind(data) == "bool":
        data, updates = t.cast(data, "int32"), t.cast(updates, "int32")
    block = data
    if operator == "scatter_along_axis":  # MIL's indices span the data beside the axis, ONNX's may be fewer
        given = t.shape(indices)
        spans = [size if place == extra["axis"] else given[place] for place, size in enumerate(t.shape(data))]
        block = sliced(t, data, [entire(span) for span in spans])
    block = t.op(operator, data=block, indices=indices, updates=updates, mode=mode, **extra)
    return t.cast(_restored(t, block, data), t.kind(t.var(node.value(0))))


def _restored(t: ProgramTarget, block: Var, data: Var) -> Var:
    """The data with their first corner replaced by the block."""
    for axis, (own, size) in enumerate(zip(t.shape(block), t.shape(data), strict=True)):
        if not same(own, size) and own < size:
            picks = [entire(span) for span in t.shape(block)]
            picks[axis] = Pick(own, size - own)
            block = t.op("concat", values=[block, sliced(t, data, picks)], axis=axis)
    return block


@lowers("OneHot", since=11)
def onehot_11(node: HubNode, t: ProgramTarget) -> Any:
    """By comparing with every position: an index outside of the depth selects nothing, as ONNX says."""
    depth = int(node.require_constant(1).reshape(-1)[0])
    off, on = node.require_constant(2)
    indices = t.var(node.value(0))
    if t.is_float(indices):
        indices = t.cast(indices, "int32")
    rank = len(indices.shape) + 1
    axis = node.attr_int("axis") % rank
    counted = t.op("select", cond=t.op("less", x=indices, y=np.int32(0)),
                   a=t.op("add", x=indices, y=np.int32(depth)), b=indices)  # fmt: skip
    shape = list(t.shape(indices))
    shape.insert(axis, 1)
    positions = np.arange(depth, dtype=np.int32).reshape([depth if place == axis else 1 for place in range(rank)])
    chosen = t.op("equal", x=t.reshape(counted, shape), y=t.const(positions, "positions"))
    if np.asarray(on).dtype == np.bool_:
        raise Refused("booleans by one-hot", "use numbers for on and off, and cast the result")
    return t.select(chosen, t.const(on, "on"), t.const(off, "off"), node.shape(node.outputs[0]))


@lowers("TopK", since=24)
def topk_24(node: HubNode, t: ProgramTarget) -> Any:
    """Sorted, whether the node asks for it or not: without ``sorted`` ONNX allows any order."""
    node.ignore("sorted")
    x, axis = t.var(node.value(0)), node.axis()
    count = int(node.require_constant(1).reshape(-1)[0])
    ascending = not node.attr_int("largest")
    return list(t.op("topk", x=x, k=count, axis=axis, ascending=ascending))
