"""Products and reductions that tract has in one piece, and those of integers."""

from __future__ import annotations

import numpy as np

from workbench.formats.nnef.from_onnx.algebra import reduced, reduced_axes
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.formats.nnef.tract.builder import TractBuilder
from workbench.formats.nnef.tract.from_onnx.arithmetic import standard, whole, wrapped
from workbench.formats.nnef.tract.from_onnx.table import TABLE
from workbench.hub import HubNode

_REDUCTIONS = {"ReduceSum": "sum_reduce", "ReduceMax": "max_reduce", "ReduceMin": "min_reduce"}


@TABLE.lowers(*_REDUCTIONS)
def reduce(node: HubNode, b: TractBuilder) -> object:
    """Sum, maximum, minimum; of integers in int64, then in their own range."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    x = b.whole_numbers(node.value(0))
    axes = reduced_axes(node, x)
    if axes is None:
        node.ignore("keepdims")
        return x
    if node.operator != "ReduceSum":
        return reduced(node, b, _REDUCTIONS[node.operator], x, axes)
    if node.dtype(node.value(0)) == "int64":
        made = _summed(b, x, axes)
        return made if node.attr_int("keepdims") or not axes else b.op("squeeze", made, axes=axes)
    return wrapped(node, b, reduced(node, b, "sum_reduce", x, axes))


def _summed(b: TractBuilder, x: Tensor, axes: list[int]) -> Tensor:
    """Sums of int64, halving each axis until one slice is left: tract's own keep the lower 32 bits."""
    for axis in axes:
        while x.shape[axis] > 1:
            extent, half = x.shape[axis], x.shape[axis] // 2
            parts = [
                b.op("slice", x, axes=[axis], begin=[begin], end=[begin + length])
                for begin, length in ((0, half), (half, half), (2 * half, extent % 2))
                if length
            ]
            total = b.op("add", parts[0], parts[1])
            x = b.op("concat", [total, parts[2]], axis=axis) if len(parts) > 2 else total
    return x


@TABLE.lowers("ReduceProd")
def reduceprod_18(node: HubNode, b: TractBuilder) -> object:
    """The product."""
    dtype = node.dtype(node.value(0))
    if not whole(dtype) and not dtype.startswith("float"):
        return standard(node, b)
    x = b.whole_numbers(node.value(0)) if whole(dtype) else b.tensor(node.value(0))
    axes = reduced_axes(node, x) or []
    made = reduced(node, b, "tract_core_product_reduce", x, axes)
    if not axes:
        node.ignore("keepdims")
    return wrapped(node, b, made) if whole(dtype) else made


@TABLE.lowers("ArgMax", "ArgMin")
def arg_13(node: HubNode, b: TractBuilder) -> object:
    """The position of the first or last extreme value along an axis."""
    dtype = node.dtype(node.value(0))
    if not whole(dtype) and not dtype.startswith("float"):
        return standard(node, b)
    x, axis = b.tensor(node.value(0)), node.axis()
    name = "argmax_reduce" if node.operator == "ArgMax" else "argmin_reduce"
    if node.attr_int("select_last_index"):
        name = f"tract_core_{name}_last"
    found = b.op(name, x, axes=[axis])
    return found if node.attr_int("keepdims") else b.op("squeeze", found, axes=[axis])


@TABLE.lowers("LogSoftmax")
def logsoftmax_13(node: HubNode, b: TractBuilder) -> object:
    """Along one axis; tract's own is of float32."""
    if b.scalar_dtype == "float64":
        return standard(node, b)
    return b.op("tract_core_log_softmax", b.tensor(node.value(0)), axes=[node.axis()])


@TABLE.lowers("Einsum")
def einsum_12(node: HubNode, b: TractBuilder) -> object:
    """A product over named axes; that of integers, and a diagonal, as the standard dialect says it."""
    values = [value for value in node.inputs if value is not None]
    equation = (node.attr_string("equation") or "").replace(" ", "")
    expression = explicit(equation, [node.rank(value) for value in values])
    twice = any(len(set(term)) < len(term) for term in expression.split("->")[0].split(","))
    if twice or any(not node.dtype(value).startswith("float") for value in values):
        return standard(node, b)
    acc = b.datum("scalar")
    return b.op("tract_core_einsum", [b.tensor(value) for value in values], expr=expression, acc=acc, output="")


def explicit(equation: str, ranks: list[int]) -> str:
    """The equation with its result, and with names for the axes that dots stand for."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    spread = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term]
    free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation]
    dots = "".join(free[: max(spread, default=0)])
    counts = iter(spread)
    named = [term.replace("...", dots[len(dots) - next(counts) :]) if "..." in term else term for term in terms]
    if arrow:
        return f"{','.join(named)}->{output.replace('...', dots)}"
    letters = "".join(terms).replace(".", "")
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
    return f"{','.join(named)}->{dots}{''.join(once)}"


@TABLE.lowers("CumSum")
def cumsum_14(node: HubNode, b: TractBuilder) -> object:
    """Running sums; of integers by as many sums of slices as halve the axis, which stay exact."""
    if not whole(node.dtype(node.value(0))):
        return standard(node, b)
    x = b.whole_numbers(node.value(0))
    axis = int(node.require_constant(1).reshape(-1)[0]) % x.rank
    reverse, exclusive = bool(node.attr_int("reverse")), bool(node.attr_int("exclusive"))
    extent, step = x.shape[axis], 1
    if exclusive:
        x = _shifted(b, x, axis, 1, reverse)
    while step < extent:
        x = b.op("add", x, _shifted(b, x, axis, step, reverse))
        step *= 2
    return wrapped(node, b, x)


def _shifted(b: TractBuilder, x: Tensor, axis: int, step: int, reverse: bool) -> Tensor:
    """Moved along the axis by some places, zeros where nothing comes from."""
    extent = x.shape[axis]
    if step >= extent:
        return b.const(np.zeros(x.shape, np.int64), "integer")
    zeros = b.const(np.zeros([step if a == axis else size for a, size in enumerate(x.shape)], np.int64), "integer")
    begin, end = (step, extent) if reverse else (0, extent - step)
    kept = b.op("slice", x, axes=[axis], begin=[begin], end=[end])
    return b.op("concat", [kept, zeros] if reverse else [zeros, kept], axis=axis)
