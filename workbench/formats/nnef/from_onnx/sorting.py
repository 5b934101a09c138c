"""Sorting: https://onnx.ai/onnx/operators/onnx__TopK.html. Each element's place is how many come before it."""

from __future__ import annotations

import math

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused

_LARGEST = 1 << 22  # comparisons


@TABLE.lowers("TopK")
def topk_24(node: HubNode, b: Builder) -> list[Tensor]:
    """The ``k`` largest or smallest along an axis, in their order, and where they were; of equal ones the first."""
    node.ignore("sorted")  # sorted is one of the orders that "not sorted" allows
    x, axis, count = operand(node, b, node.value(0)), node.axis(), int(node.require_constant(1).reshape(-1)[0])
    extent = x.shape[axis]
    if math.prod(x.shape) * extent > _LARGEST:
        raise Refused("too many pairs would be compared")
    if count == 0:
        raise Refused("the result holds no elements, which NNEF cannot say")
    if node.dtype(node.value(0)).startswith(("float", "bfloat")):
        node.approximate("rows with NaN in them are not sorted")
    order = [*(a for a in range(x.rank) if a != axis), axis]
    lines = b.transpose(x, order)
    rows = b.reshape(lines, (math.prod(lines.shape[:-1]), 1, extent))
    own = b.transpose(rows, (0, 2, 1))  # [rows, element, what it is compared with]
    before = b.op("gt" if node.attr_int("largest") else "lt", rows, own)
    earlier = b.const(np.tri(extent, k=-1, dtype=bool)[None], "logical")
    before = b.op("or", before, b.op("and", b.op("eq", rows, own), earlier))
    counted = b.op("sum_reduce", b.op("select", before, b.number(1.0), b.number(0.0)), axes=[2])
    place = b.op("eq", counted, b.const(np.arange(count)[None, None]))  # [rows, element, place]
    shape = (*lines.shape[:-1], count)
    back = [order.index(a) for a in range(x.rank)]
    found = []
    for what in (own, b.const(np.arange(extent)[None, :, None])):
        picked = b.op("sum_reduce", b.op("select", place, what, b.number(0.0)), axes=[1])
        found.append(b.transpose(b.reshape(picked, shape), back))
    return [b.like(found[0], node.outputs[0]), b.integer(found[1])]
