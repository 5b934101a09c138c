"""Reductions and sorting."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import Lowering, NetworkLayer, floats, network
from workbench.formats.coreml.tensors import like, rank_of
from workbench.hub import Emitter

_REDUCTIONS = {
    "reduceL1": "ReduceL1", "reduceL2": "ReduceL2", "reduceMax": "ReduceMax", "reduceMin": "ReduceMin",
    "reduceSum": "ReduceSum", "reduceProd": "ReduceProd", "reduceMean": "ReduceMean", "reduceLogSum": "ReduceLogSum",
    "reduceSumSquare": "ReduceSumSquare", "reduceLogSumExp": "ReduceLogSumExp",
}  # fmt: skip
_AXES = {"CHW": [-3, -2, -1], "HW": [-2, -1], "C": [-3], "H": [-2], "W": [-1]}
_MODES = {
    "SUM": "ReduceSum", "AVG": "ReduceMean", "PROD": "ReduceProd", "SUMSQUARE": "ReduceSumSquare", "L1": "ReduceL1",
    "L2": "ReduceL2", "MAX": "ReduceMax", "MIN": "ReduceMin",
}  # fmt: skip


def _reduction(target: str) -> Lowering:
    def lowering(layer: NetworkLayer, emit: Emitter) -> ir.Value:
        axes = layer.ints("axes")
        given = None if layer.flag("reduceAll") or not axes else emit.const(axes)
        return emit.op(target, layer.x(), given, keepdims=int(layer.flag("keepDims")))

    return lowering


for _kind, _target in _REDUCTIONS.items():
    network.lowers(_kind)(_reduction(_target))


@network.lowers("reduce")
def reduce(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Over channels, height and width or some of them; the rank stays."""
    x, mode, axes = layer.x(), layer.choice("mode"), _AXES[layer.choice("axis")]
    epsilon = layer.number("epsilon", 1e-6)
    if mode == "ARGMAX":
        return floats(emit, emit.op("ArgMax", x, axis=axes[0], keepdims=1))
    if mode == "LOGSUM":
        logarithm = emit.op("Log", emit.op("Add", x, like(emit, epsilon, x)))
        return emit.op("ReduceSum", logarithm, emit.const(axes), keepdims=1)
    return emit.op(_MODES[mode], x, emit.const(axes), keepdims=1)


def _arg(target: str) -> Lowering:
    return lambda layer, emit: floats(
        emit, emit.op(target, layer.x(), axis=layer.integer("axis"), keepdims=int(not layer.flag("removeDim")))
    )


network.lowers("argMax")(_arg("ArgMax"))
network.lowers("argMin")(_arg("ArgMin"))


@network.lowers("topK")
def top_k(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """The K largest (``useBottomK``: smallest) elements along ``axis``, and their indices as floats."""
    if len(layer.inputs) > 1:
        layer.ignore("K")
        count = emit.op("Reshape", emit.op("Cast", layer.x(1), to=ir.DataType.INT64.value), emit.const([1]))
    else:
        count = emit.const([layer.integer("K")])
    largest = int(not layer.flag("useBottomK"))
    values, indices = emit.ops("TopK", layer.x(), count, outputs=2, axis=layer.integer("axis"), largest=largest)
    return [values, floats(emit, indices)][: layer.outputs]


@network.lowers("argSort")
def arg_sort(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The indices that sort along ``axis``."""
    x = layer.x()
    axis = layer.integer("axis") % rank_of(x)
    size = emit.op("Shape", x, start=axis, end=axis + 1)
    largest = int(layer.flag("descending"))
    return floats(emit, emit.ops("TopK", x, size, outputs=2, axis=axis, largest=largest)[1])


@network.lowers("cumSum")
def cum_sum(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The running sum along ``axis``."""
    return emit.op(
        "CumSum", layer.x(), emit.const(layer.integer("axis")), exclusive=int(layer.flag("excludeFinalSum")),
        reverse=int(layer.flag("reverse")),
    )  # fmt: skip
