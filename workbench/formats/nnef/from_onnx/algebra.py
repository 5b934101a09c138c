"""Matrix products, reductions and normalisation: https://onnx.ai/onnx/operators/."""

from __future__ import annotations

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.elementwise import operand
from workbench.formats.nnef.from_onnx.movement import sliced
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused


@TABLE.lowers("MatMul")
def matmul_13(node: HubNode, b: Builder) -> Tensor:
    """numpy's matmul: vectors become matrices and leave the result again."""
    x, y = operand(node, b, node.value(0)), operand(node, b, node.value(1))
    squeezed = [axis for axis, tensor in ((-2, x), (-1, y)) if tensor.rank == 1]
    x = b.reshape(x, (1, *x.shape)) if x.rank == 1 else x
    y = b.reshape(y, (*y.shape, 1)) if y.rank == 1 else y
    rank = max(x.rank, y.rank)
    product = b.op("matmul", b.with_rank(x, rank), b.with_rank(y, rank))
    return b.op("squeeze", product, axes=sorted(axis + rank for axis in squeezed)) if squeezed else product


@TABLE.lowers("Gemm")
def gemm_13(node: HubNode, b: Builder) -> Tensor:
    """``alpha · A' · B' + beta · C``."""
    a, w = operand(node, b, node.value(0)), operand(node, b, node.value(1))
    transposed_a, transposed_b = bool(node.attr_int("transA")), bool(node.attr_int("transB"))
    alpha, beta = node.attr_float("alpha"), node.attr_float("beta")
    c = None if node.input(2) is None else operand(node, b, node.value(2))
    plain = alpha == 1.0 and beta == 1.0 and not transposed_a and transposed_b
    if plain and c is not None and c.array is not None and c.shape in ((w.shape[0],), (1, w.shape[0])):
        return b.op("linear", a, w, b.reshape(c, (1, w.shape[0])))
    product = b.op("matmul", a, w, transposeA=transposed_a, transposeB=transposed_b)
    if alpha != 1.0:
        product = b.op("mul", product, b.number(alpha))
    if c is None or beta == 0.0:
        return product
    if beta != 1.0:
        c = b.const(c.array * np.float64(beta)) if c.array is not None else b.op("mul", c, b.number(beta))
    return b.op("add", *b.aligned(product, c))


# reductions


def reduced_axes(node: HubNode, x: Tensor) -> list[int] | None:
    """The axes to reduce; ``None`` if the node is the identity."""
    given = node.constant(1) if node.input(1) is None else node.require_constant(1)
    noop = bool(node.attr_int("noop_with_empty_axes"))
    if given is None or given.size == 0:
        return None if noop else list(range(x.rank))
    return sorted({int(axis) % x.rank for axis in given.reshape(-1)})


def reduced(node: HubNode, b: Builder, name: str, x: Tensor, axes: list[int]) -> Tensor:
    result = b.op(name, x, axes=axes) if axes else x
    if not node.attr_int("keepdims") and axes:
        result = b.op("squeeze", result, axes=axes)
    return result


_REDUCTIONS = {
    "ReduceSum": "sum_reduce",
    "ReduceMean": "mean_reduce",
    "ReduceMax": "max_reduce",
    "ReduceMin": "min_reduce",
}


@TABLE.lowers(*_REDUCTIONS)
def reduce(node: HubNode, b: Builder) -> Tensor:
    """Sum, mean, maximum, minimum; of logical tensors any and all."""
    if node.dtype(node.value(0)) == "bool":
        flags = b.logical(b.tensor(node.value(0)))
        axes = reduced_axes(node, flags)
        name = "any_reduce" if node.operator == "ReduceMax" else "all_reduce"
        return flags if axes is None else reduced(node, b, name, flags, axes)
    x = operand(node, b, node.value(0))
    axes = reduced_axes(node, x)
    if axes is None:
        node.ignore("keepdims")
        return x
    return reduced(node, b, _REDUCTIONS[node.operator], x, axes)


@TABLE.lowers("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
def reduce_composed(node: HubNode, b: Builder) -> Tensor:
    """Sums of powers and of exponentials."""
    x = operand(node, b, node.value(0))
    axes = reduced_axes(node, x)
    if axes is None:
        axes = []
    if node.operator == "ReduceLogSumExp":
        top = b.op("max_reduce", x, axes=axes) if axes else x
        total = b.op("sum_reduce", b.op("exp", b.op("sub", x, top)), axes=axes)
        result = b.op("add", b.op("log", total), top)
        return b.op("squeeze", result, axes=axes) if axes and not node.attr_int("keepdims") else result
    inner = {"ReduceL1": "abs", "ReduceL2": "sqr", "ReduceSumSquare": "sqr"}.get(node.operator)
    total = reduced(node, b, "sum_reduce", b.op(inner, x) if inner else x, axes)
    outer = {"ReduceL2": "sqrt", "ReduceLogSum": "log"}.get(node.operator)
    return b.op(outer, total) if outer else total


@TABLE.lowers("ReduceProd")
def reduceprod_18(node: HubNode, b: Builder) -> Tensor:
    """The product, halving each axis until one slice is left."""
    x = operand(node, b, node.value(0))
    axes = reduced_axes(node, x) or []
    for axis in axes:
        while x.shape[axis] > 1:
            extent, half = x.shape[axis], x.shape[axis] // 2
            parts = [sliced(b, x, [axis], [i * half], [(i + 1) * half], [1]) for i in range(2)]
            product = b.op("mul", *parts)
            rest = sliced(b, x, [axis], [2 * half], [extent], [1]) if extent % 2 else None
            x = product if rest is None else b.op("concat", [product, rest], axis=axis)
    return b.op("squeeze", x, axes=axes) if axes and not node.attr_int("keepdims") else x


@TABLE.lowers("ArgMax", "ArgMin")
def arg_13(node: HubNode, b: Builder) -> Tensor:
    """The position of the first or last extreme value along an axis."""
    x, axis = operand(node, b, node.value(0)), node.axis()
    name, last, extent = "argmax_reduce" if node.operator == "ArgMax" else "argmin_reduce", 0, x.shape[axis]
    if node.attr_int("select_last_index"):  # the first from behind
        x, last = sliced(b, x, [axis], [-1], [-extent - 1], [-1]), extent - 1
    found = b.op(name, x, axes=[axis])
    found = b.integer(b.op("sub", b.number(float(last)), b.scalar(found))) if last else found
    return found if node.attr_int("keepdims") else b.op("squeeze", found, axes=[axis])


@TABLE.lowers("CumSum")
def cumsum_14(node: HubNode, b: Builder) -> Tensor:
    """Running sums, by a product with a triangle of ones."""
    x = operand(node, b, node.value(0))
    axis = int(node.require_constant(1).reshape(-1)[0]) % x.rank
    extent = x.shape[axis]
    if extent > 4096:
        raise Refused(f"the triangle of ones for {extent} values is too large to write")
    ones = np.triu(np.ones((extent, extent)), 1 if node.attr_int("exclusive") else 0)
    matrix = ones.T if node.attr_int("reverse") else ones
    order = [*(a for a in range(x.rank) if a != axis), axis]
    last = b.transpose(x, order)
    rows = b.reshape(last, (-(-int(np.prod(last.shape)) // extent), extent))
    summed = b.reshape(b.op("matmul", rows, b.const(matrix)), last.shape)
    return b.transpose(summed, [order.index(a) for a in range(x.rank)])


# normalisation


def _channels(b: Builder, x: Tensor) -> Tensor:
    """``[channels]`` as ``[1, channels]``."""
    return b.reshape(x, (1, *x.shape))


@TABLE.lowers("BatchNormalization")
def batchnormalization_15(node: HubNode, b: Builder) -> list[Tensor | None]:
    """With the recorded statistics."""
    if node.attr_int("training_mode"):
        raise Refused("training_mode is 1", "export the model for inference")
    node.ignore("momentum")  # of training
    x, scale, offset, mean, variance = (b.tensor(node.value(index)) for index in range(5))
    parameters = [_channels(b, value) for value in (mean, variance, offset, scale)]
    return [b.op("batch_normalization", x, *parameters, epsilon=node.attr_float("epsilon")), None, None]


def _standardized(b: Builder, x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(x - mean) / sqrt(variance + epsilon)``, the mean, and the reciprocal of the deviation."""
    mean = b.op("mean_reduce", x, axes=axes)
    centred = b.op("sub", x, mean)
    variance = b.op("mean_reduce", b.op("mul", centred, centred), axes=axes)
    deviation = b.op("sqrt", b.op("add", variance, b.number(epsilon)))
    return b.op("div", centred, deviation), mean, b.op("rcp", deviation)


@TABLE.lowers("LayerNormalization")
def layernormalization_17(node: HubNode, b: Builder) -> list[Tensor]:
    """Standardised over the axes from ``axis`` on, then scaled and shifted."""
    node.ignore("stash_type")  # the precision of the mean, one in NNEF
    x = b.tensor(node.value(0))
    y, mean, inverse = _standardized(b, x, list(range(node.axis(), x.rank)), node.attr_float("epsilon"))
    y = b.op("mul", *b.aligned(y, b.tensor(node.value(1))))
    if node.input(2) is not None:
        y = b.op("add", *b.aligned(y, b.tensor(node.value(2))))
    return [y, mean, inverse]


@TABLE.lowers("RMSNormalization")
def rmsnormalization_23(node: HubNode, b: Builder) -> Tensor:
    """``x / sqrt(mean(x²) + epsilon) · scale``."""
    node.ignore("stash_type")
    x = b.tensor(node.value(0))
    axes = list(range(node.axis(), x.rank))
    mean = b.op("mean_reduce", b.op("mul", x, x), axes=axes)
    y = b.op("div", x, b.op("sqrt", b.op("add", mean, b.number(node.attr_float("epsilon")))))
    return b.op("mul", *b.aligned(y, b.tensor(node.value(1))))


@TABLE.lowers("InstanceNormalization")
def instancenormalization_22(node: HubNode, b: Builder) -> Tensor:
    """Standardised over the spatial axes, then scaled and shifted by channel."""
    x = b.tensor(node.value(0))
    y, _, _ = _standardized(b, x, list(range(2, x.rank)), node.attr_float("epsilon"))
    scale, shift = (_spread(b, b.tensor(node.value(index)), x.rank) for index in (1, 2))
    return b.op("add", b.op("mul", y, scale), shift)


def _spread(b: Builder, parameter: Tensor, rank: int) -> Tensor:
    """``[channels]`` as ``[1, channels, 1, …]``."""
    return b.reshape(parameter, (1, *parameter.shape, *[1] * (rank - 2)))


@TABLE.lowers("GroupNormalization")
def groupnormalization_21(node: HubNode, b: Builder) -> Tensor:
    """Standardised over groups of channels, then scaled and shifted by channel."""
    node.ignore("stash_type")
    x, groups = b.tensor(node.value(0)), node.attr_int("num_groups")
    grouped = b.reshape(x, (x.shape[0], groups, -(-int(np.prod(x.shape[1:])) // groups)))
    y, _, _ = _standardized(b, grouped, [2], node.attr_float("epsilon"))
    scale, shift = (_spread(b, b.tensor(node.value(index)), x.rank) for index in (1, 2))
    return b.op("add", b.op("mul", b.reshape(y, x.shape), scale), shift)


@TABLE.lowers("LpNormalization")
def lpnormalization_22(node: HubNode, b: Builder) -> Tensor:
    """``x / norm`` along an axis, zero where the norm is zero; p = 1 or 2."""
    x, axes = b.tensor(node.value(0)), [node.axis()]
    if node.attr_int("p") == 1:
        norm = b.op("sum_reduce", b.op("abs", x), axes=axes)
    else:
        norm = b.op("sqrt", b.op("sum_reduce", b.op("mul", x, x), axes=axes))
    zero = b.op("eq", norm, b.number(0.0))
    return b.op("div", x, b.op("select", zero, b.number(1.0), norm))
