"""Products, reductions, normalisation, transforms and the steps of recurrent cells."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import rank_of
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast, datum_type, dtype_of
from workbench.hub import Emitter
from workbench.lowering import Refused


def einsum(e: Emitter, expression: str, inputs: list[ir.Value], dtype: str) -> ir.Value:
    """An Einsum computed in a dtype.

    Raises:
        Refused: tract's notation of axes says more than ONNX's does.
    """
    names = sorted(set(expression) - set(",->"))
    if not all(name in string.ascii_letters for name in names):
        if len(names) > len(string.ascii_letters):
            raise Refused("the expression has more axes than letters")
        expression = expression.translate(str.maketrans("".join(names), string.ascii_letters[: len(names)]))
    _check_broadcast(expression, inputs)
    return e.op("Einsum", *(cast(e, value, dtype) for value in inputs), equation=expression)


def _check_broadcast(expression: str, inputs: list[ir.Value]) -> None:
    """Refuse an axis that is of size 1 in one input and of another in the next: tract broadcasts it, ONNX does not."""
    sizes: dict[str, set[Any]] = {}
    for names, value in zip(expression.split("->")[0].split(","), inputs, strict=True):
        for name, dim in zip(names, value.shape or (), strict=True):
            sizes.setdefault(name, set()).add(dim)
    spread = [name for name, found in sizes.items() if len(found) > 1 and 1 in found]
    if spread:
        raise Refused(f"the axis {spread[0]!r} of the product is broadcast")


@TABLE.lowers("tract_core_einsum")
def einsum_op(node: TractNode, e: Emitter) -> ir.Value:
    """A product over named axes, accumulated in a dtype."""
    dtype = datum_type(node.attr("acc"))
    return einsum(e, node.attr("expr"), node.tensors("inputs"), dtype)


@TABLE.lowers("matmul")
def matmul(node: TractNode, e: Emitter) -> ir.Value:
    """The product of the last two axes; in the dtype of the first."""
    a, b = node.tensor("A"), cast(e, node.tensor("B"), dtype_of(node.tensor("A")))
    turned = [
        e.op("Transpose", value, perm=[*range(rank_of(value) - 2), rank_of(value) - 1, rank_of(value) - 2])
        if node.attr(name)
        else value
        for value, name in ((a, "transposeA"), (b, "transposeB"))
    ]
    return e.op("MatMul", *turned)


@TABLE.lowers("tract_core_matmul", "tract_core_qmatmul")
def legacy_matmul(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: how the numbers name axes has changed from one tract to the next, which sums over others now."""
    raise Refused("the meaning of its numbered axes differs between versions of tract", "write tract_core_einsum")


@TABLE.lowers("tract_core_stft")
def stft(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: it has not been written."""
    raise Refused("transforms of frames are not read in this version of the workbench")


@TABLE.lowers("tract_core_einsum_q", "tract_core_qconv")
def quantized(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: the rounding of tract's quantised kernels is their own."""
    raise Refused("it computes with quantised numbers, whose roundings tract does not state")


@TABLE.lowers("tract_core_product_reduce")
def product(node: TractNode, e: Emitter) -> ir.Value:
    """The product over axes, which stay."""
    return e.op("ReduceProd", node.tensor("input"), e.const(node.attr("axes")), keepdims=1)


@TABLE.lowers("tract_core_cumsum")
def cumsum(node: TractNode, e: Emitter) -> ir.Value:
    """Running sums along an axis."""
    axis = e.const(np.asarray(node.attr("axis")))
    flags = {name: int(node.attr(name)) for name in ("exclusive", "reverse")}
    return e.op("CumSum", node.tensor("input"), axis, exclusive=flags["exclusive"], reverse=flags["reverse"])


@TABLE.lowers("tract_core_argmax_reduce_last", "tract_core_argmin_reduce_last")
def last_extreme(node: TractNode, e: Emitter) -> ir.Value:
    """The position of the last extreme value along one axis."""
    axes = node.attr("axes")
    if len(axes) != 1:
        raise Refused(f"positions over the axes {axes} together")
    operator = "ArgMax" if "argmax" in node.name else "ArgMin"
    return e.op(operator, node.tensor("input"), axis=axes[0], keepdims=1, select_last_index=1)


@TABLE.lowers("tract_core_softmax", "tract_core_log_softmax")
def softmax(node: TractNode, e: Emitter) -> ir.Value:
    """Over axes together; ``exp`` once chose an implementation."""
    x, axes = node.tensor("x"), node.attr("axes")
    logarithm = node.name == "tract_core_log_softmax"
    if len(axes) == 1:
        return e.op("LogSoftmax" if logarithm else "Softmax", x, axis=axes[0])
    over = e.const(axes)
    centred = e.op("Sub", x, e.op("ReduceMax", x, over, keepdims=1))
    exponentials = e.op("Exp", centred)
    total = e.op("ReduceSum", exponentials, over, keepdims=1)
    return e.op("Sub", centred, e.op("Log", total)) if logarithm else e.op("Div", exponentials, total)


@TABLE.lowers("tract_core_rms_norm", "tract_transformers_rms_norm")
def rms_norm(node: TractNode, e: Emitter) -> ir.Value:
    """``x / sqrt(mean(x²) + eps)`` along an axis; float16 by way of float32."""
    x, dtype = node.tensor("input"), dtype_of(node.tensor("input"))
    wide = "float32" if dtype == "float16" else dtype
    x = cast(e, x, wide)
    mean = e.op("ReduceMean", e.op("Mul", x, x), e.const([node.attr("axis")]), keepdims=1)
    size = e.op("Sqrt", e.op("Add", mean, e.const(np.asarray(node.attr("eps")), wide)))
    return cast(e, e.op("Div", x, size), dtype)


@TABLE.lowers("tract_core_topk")
def topk(node: TractNode, e: Emitter) -> list[ir.Value]:
    """The ``k`` largest or smallest in their order, and where they were."""
    count = e.op("Reshape", node.as_integers(node.tensor("k")), e.const([1]))
    largest = int(node.attr("largest"))
    return e.ops("TopK", node.tensor("input"), count, outputs=2, axis=node.attr("axis"), largest=largest, sorted=1)


@TABLE.lowers("tract_core_fft")
def fft(node: TractNode, e: Emitter) -> ir.Value:
    """The discrete Fourier transform of pairs of real and imaginary parts; the inverse is not divided by the size."""
    x, axis = node.tensor("input"), e.const(np.asarray(node.attr("axis")))
    if not node.attr("inverse"):
        return e.op("DFT", x, None, axis)
    made = e.op("DFT", x, None, axis, inverse=1)
    size = e.op("Shape", x, start=node.attr("axis"), end=node.attr("axis") + 1)
    return e.op("Mul", made, cast(e, size, dtype_of(x)))


def _part(e: Emitter, x: ir.Value, index: int, size: int) -> ir.Value:
    axis = rank_of(x) - 1
    return e.op("Slice", x, e.const([index * size]), e.const([(index + 1) * size]), e.const([axis]))


@TABLE.lowers("tract_core_lstm_epilogue")
def lstm_epilogue(node: TractNode, e: Emitter) -> list[ir.Value]:
    """Gates i, o, f, c, side by side, and the cell's state → the hidden and the cell's next state."""
    x, hidden = node.tensor("preact"), node.attr("hidden")
    i, o, f = (e.op("Sigmoid", _part(e, x, index, hidden)) for index in range(3))
    c = e.op("Tanh", _part(e, x, 3, hidden))
    cell = e.op("Add", e.op("Mul", f, node.tensor("c_prev")), e.op("Mul", i, c))
    return [e.op("Mul", o, e.op("Tanh", cell)), cell]


@TABLE.lowers("tract_core_gru_epilogue")
def gru_epilogue(node: TractNode, e: Emitter) -> ir.Value:
    """Gates z, r, h of the input and of the hidden state → the next hidden state."""
    hidden = node.attr("hidden")
    x, r = ([_part(e, node.tensor(name), index, hidden) for index in range(3)] for name in ("xh", "rh"))
    update, reset = (e.op("Sigmoid", e.op("Add", x[index], r[index])) for index in range(2))
    made = e.op("Tanh", e.op("Add", x[2], e.op("Mul", reset, r[2])))
    return e.op("Add", made, e.op("Mul", update, e.op("Sub", node.tensor("h_prev"), made)))
