"""Quantised operators of onnxruntime: dequantised, computed, quantised; products of integers are exact."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from workbench.hub.compositions.integer import centred, dynamic, exact_sum, integer_matmul, requantised
from workbench.hub.compositions.kit import Kit, dims, dtype, integer, number, passed_on
from workbench.hub.compositions.table import CONTRIB, composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused


def _real(k: Kit, node: HubNode, index: int) -> ir.Value:
    """(x − zero point) · scale of the inputs from ``index`` on."""
    return k("Mul", centred(k, node.value(index), node.input(index + 2)), node.value(index + 1))


def _stored(k: Kit, node: HubNode, real: ir.Value, index: int, like: ir.Value) -> ir.Value:
    """The result in the scale and around the zero point that the inputs from ``index`` on are."""
    return requantised(k, k("Div", real, node.value(index)), node.input(index + 1), dtype(like))


@composes("QLinearAdd", "QLinearMul", domain=CONTRIB)
def qlinearadd(node: HubNode, emit: Emitter) -> Any:
    k = Kit(emit)
    made = k(node.operator.removeprefix("QLinear"), _real(k, node, 0), _real(k, node, 3))
    return _stored(k, node, made, 6, node.value(0))


@composes("QLinearSigmoid", "QLinearLeakyRelu", domain=CONTRIB)
def qlinearsigmoid(node: HubNode, emit: Emitter) -> Any:
    k = Kit(emit)
    alpha = number(node, "alpha", 0.01) if node.operator == "QLinearLeakyRelu" else None
    made = k(node.operator.removeprefix("QLinear"), _real(k, node, 0), alpha=alpha)
    return _stored(k, node, made, 3, node.value(0))


@composes("QLinearSoftmax", domain=CONTRIB)
def qlinearsoftmax(node: HubNode, emit: Emitter) -> Any:
    """Before opset 13, over all dimensions from the axis on."""
    k, x = Kit(emit), node.value(0)
    axis, opset, shape = integer(node, "axis", -1), node.attr_int("opset"), dims(x)
    real = _real(k, node, 0)
    if opset < 13:
        rank = len(shape)
        rows = k("Flatten", real, axis=axis % rank)
        made = k.reshape(k("Softmax", rows, axis=1), shape)
    else:
        made = k("Softmax", real, axis=axis)
    return _stored(k, node, made, 3, x)


@composes("QLinearGlobalAveragePool", "QLinearAveragePool", domain=CONTRIB)
def qlinearaveragepool(node: HubNode, emit: Emitter) -> Any:
    k, x = Kit(emit), node.value(0)
    last = integer(node, "channels_last", 0)
    kept = passed_on(node, "channels_last")
    real, rank = _real(k, node, 0), len(dims(x))
    real = k.moved(real, rank - 1, 1) if last else real
    made = k(node.operator.removeprefix("QLinear"), real, **kept)
    return _stored(k, node, k.moved(made, 1, rank - 1) if last else made, 3, x)


@composes("QLinearConcat", domain=CONTRIB)
def qlinearconcat(node: HubNode, emit: Emitter) -> Any:
    """y scale, y zero point, and three inputs for each part."""
    k = Kit(emit)
    parts = [_real(k, node, index) for index in range(2, len(node.inputs), 3)]
    made = k("Concat", *parts, axis=node.attr_int("axis"))
    return _stored(k, node, made, 0, node.value(2))


@composes("MatMulIntegerToFloat", domain=CONTRIB)
def matmulintegertofloat(node: HubNode, emit: Emitter) -> Any:
    """A, B, A scale, B scale, A zero point, B zero point, bias."""
    k = Kit(emit)
    total = integer_matmul(node, k, node.value(0), node.value(1), (node.input(4), node.input(5)))
    scale = node.value(2)
    if len(dims(scale)) == 1 and dims(scale)[0] > 1:
        scale = k.reshape(scale, (-1, 1))
    return _scaled(k, total, k("Mul", scale, node.value(3)), node.input(6))


def _scaled(k: Kit, total: ir.Value, factor: ir.Value, bias: ir.Value | None) -> ir.Value:
    made = k("Mul", k.cast(total, dtype(factor)), factor)
    return made if bias is None else k("Add", made, bias)


@composes("DynamicQuantizeMatMul", domain=CONTRIB)
def dynamicquantizematmul(node: HubNode, emit: Emitter) -> Any:
    """A is quantised by its range, B is stored quantised: A, B, B scale, B zero point, bias."""
    k = Kit(emit)
    data, scale, zero = dynamic(k, node.value(0))
    total = integer_matmul(node, k, data, node.value(1), (zero, node.input(3)))
    return _scaled(k, total, k("Mul", node.value(2), scale), node.input(4))


@composes("QGemm", domain=CONTRIB)
def qgemm(node: HubNode, emit: Emitter) -> Any:
    """alpha · A scale · B scale · (A′ B′ + C); float without a scale of the result."""
    k, alpha = Kit(emit), number(node, "alpha", 1.0)
    turned = integer(node, "transB", 0)
    zero = node.input(5)
    columns = (-1, 1) if turned else (1, -1)
    sides = [centred(k, node.value(0), node.input(2)), centred(k, node.value(3), zero, columns)]
    for index, name in enumerate(("transA", "transB")):
        sides[index] = k.transpose(sides[index], (1, 0)) if integer(node, name, 0) else sides[index]
    total = exact_sum(k, lambda a, b: k("MatMul", a, b), sides[0], sides[1], dims(sides[0])[1])
    if node.input(6) is not None:
        total = k("Add", total, node.value(6))
    factor = k("Mul", k("Mul", node.value(1), node.value(4)), alpha)
    real = k("Mul", k.cast(total, "float32"), factor)
    if node.input(7) is None:
        return real
    if node.input(8) is None:
        raise Refused("the zero point of the result is missing")
    return _stored(k, node, real, 7, node.value(8))
