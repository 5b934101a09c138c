"""Elementwise layers."""

from __future__ import annotations

import functools

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import Lowering, NetworkLayer, floats, network
from workbench.formats.coreml.tensors import like
from workbench.formats.coreml.to_onnx.elementwise import remainder
from workbench.hub import Emitter
from workbench.lowering import Refused

_UNARY = {
    "ceil": "Ceil", "floor": "Floor", "sign": "Sign", "round": "Round", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asinh": "Asinh",
    "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf", "copy": "Identity",
}  # fmt: skip
_BINARY = {
    "addBroadcastable": "Add", "subtractBroadcastable": "Sub", "multiplyBroadcastable": "Mul",
    "divideBroadcastable": "Div", "powBroadcastable": "Pow", "minBroadcastable": "Min", "maxBroadcastable": "Max",
}  # fmt: skip
_COMPARISONS = {
    "equal": "Equal", "lessThan": "Less", "lessEqual": "LessOrEqual", "greaterThan": "Greater",
    "greaterEqual": "GreaterOrEqual",
}  # fmt: skip
_LOGIC = {"logicalOr": "Or", "logicalXor": "Xor", "logicalAnd": "And"}
_NARY = {"max": "Max", "min": "Min", "average": "Mean"}


def _truth(emit: Emitter, value: ir.Value) -> ir.Value:
    """Anything but zero is true."""
    return emit.op("Cast", value, to=ir.DataType.BOOL.value)


def _unary(target: str) -> Lowering:
    return lambda layer, emit: emit.op(target, layer.x())


def _binary(target: str) -> Lowering:
    return lambda layer, emit: emit.op(target, layer.x(0), layer.x(1))


def _nary(target: str) -> Lowering:
    return lambda layer, emit: emit.op(target, *layer.inputs)


def _second(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The second input, or the number ``alpha`` in its place."""
    if len(layer.inputs) > 1:
        layer.ignore("alpha")
        return layer.x(1)
    return like(emit, layer.number("alpha"), layer.x())


def _comparison(target: str) -> Lowering:
    return lambda layer, emit: floats(emit, emit.op(target, layer.x(), _second(layer, emit)))


def _logic(target: str) -> Lowering:
    return lambda layer, emit: floats(emit, emit.op(target, _truth(emit, layer.x(0)), _truth(emit, layer.x(1))))


for _table, _make in (
    (_UNARY, _unary),
    (_BINARY, _binary),
    (_COMPARISONS, _comparison),
    (_LOGIC, _logic),
    (_NARY, _nary),
):
    for _kind, _target in _table.items():
        network.lowers(_kind)(_make(_target))


@network.lowers("notEqual")
def not_equal(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """1 where the inputs differ."""
    return floats(emit, emit.op("Not", emit.op("Equal", layer.x(), _second(layer, emit))))


@network.lowers("logicalNot")
def logical_not(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """1 where the input is zero."""
    return floats(emit, emit.op("Not", _truth(emit, layer.x())))


@network.lowers("modBroadcastable")
def mod(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The remainder with the sign of the divisor."""
    return remainder(emit, layer.x(0), layer.x(1))


@network.lowers("floorDivBroadcastable")
def floor_div(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``floor(x / y)``"""
    return emit.op("Floor", emit.op("Div", layer.x(0), layer.x(1)))


@network.lowers("exp2")
def exp2(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``2 ** x``"""
    return emit.op("Pow", like(emit, 2.0, layer.x()), layer.x())


@network.lowers("whereBroadcastable")
def where(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The second input where the first is not zero, the third elsewhere."""
    return emit.op("Where", _truth(emit, layer.x(0)), layer.x(1), layer.x(2))


def _folded(layer: NetworkLayer, emit: Emitter, target: str) -> ir.Value:
    """Over all inputs, or of the only one and ``alpha``."""
    if len(layer.inputs) == 1:
        return emit.op(target, layer.x(), _second(layer, emit))
    layer.ignore("alpha")
    return functools.reduce(lambda a, b: emit.op(target, a, b), layer.inputs)


@network.lowers("add")
def add(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The sum of the inputs."""
    return _folded(layer, emit, "Add")


@network.lowers("multiply")
def multiply(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The product of the inputs."""
    return _folded(layer, emit, "Mul")


@network.lowers("unary")
def unary(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """A function of ``scale * x + shift``; INVERSE and RSQRT add ``epsilon`` (1e-6 if unset), LOG if it is set."""
    x = layer.x()
    scale, shift, alpha = layer.number("scale", 1.0), layer.number("shift"), layer.number("alpha")
    kind = layer.choice("type")
    epsilon = layer.number("epsilon", 0.0 if kind == "LOG" else 1e-6)
    if scale != 1.0:
        x = emit.op("Mul", x, like(emit, scale, x))
    if shift != 0.0:
        x = emit.op("Add", x, like(emit, shift, x))
    if kind in ("RSQRT", "INVERSE", "LOG") and epsilon:
        x = emit.op("Add", x, like(emit, epsilon, x))
    if kind in ("RSQRT", "INVERSE"):
        return emit.op("Reciprocal", emit.op("Sqrt", x) if kind == "RSQRT" else x)
    if kind in ("POWER", "THRESHOLD"):
        return emit.op("Pow" if kind == "POWER" else "Max", x, like(emit, alpha, x))
    return emit.op({"SQRT": "Sqrt", "EXP": "Exp", "LOG": "Log", "ABS": "Abs"}[kind], x)


def _per_channel(layer: NetworkLayer, emit: Emitter, name: str, shape_name: str) -> ir.Value:
    """A parameter of shape [1], [C], [1, H, W] or [C, H, W], aligned with the last three dimensions."""
    shape = layer.ints(shape_name, (1,))
    if len(shape) not in (1, 3):
        raise Refused(f"{shape_name} = {shape} is neither [C] nor [C, H, W]")
    full = [*shape, 1, 1] if len(shape) == 1 else shape
    return layer.weights(emit, name, full)


@network.lowers("scale")
def scale(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``scale * x + bias``"""
    result = emit.op("Mul", layer.x(), _per_channel(layer, emit, "scale", "shapeScale"))
    if not layer.flag("hasBias"):
        layer.ignore("shapeBias", "bias")
        return result
    return emit.op("Add", result, _per_channel(layer, emit, "bias", "shapeBias"))


@network.lowers("bias")
def bias(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``x + bias``"""
    return emit.op("Add", layer.x(), _per_channel(layer, emit, "bias", "shape"))


@network.lowers("dot")
def dot(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The sum of products along dimension -3, of normalised vectors if ``cosineSimilarity``."""
    axis = emit.const([-3])
    product = emit.op("ReduceSum", emit.op("Mul", layer.x(0), layer.x(1)), axis, keepdims=1)
    if not layer.flag("cosineSimilarity"):
        return product
    norms = [emit.op("ReduceL2", value, axis, keepdims=1) for value in layer.inputs]
    return emit.op("Div", product, emit.op("Mul", norms[0], norms[1]))
