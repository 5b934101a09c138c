"""What some faults need, put into the middle of a real network before it is converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from tests.runtime import serialized
from workbench.model import Model

Array = np.ndarray[Any, Any]
Steps = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]
PREFIX = "setting"


def with_setting(model: Model, name: str, tensors: Mapping[str, Array], seed: int) -> onnx.ModelProto | None:
    """The network, in the hub's form, with the setting behind one of its tensors; ``None`` where no tensor takes it.

    Args:
        model: the network; it is not changed.
        name: of :data:`SETTINGS`.
        tensors: its tensors on a sample.
        seed: which of the tensors is taken.
    """
    proto = onnx.load_model_from_string(serialized(ir.to_proto(model.graph)))
    takes, make = SETTINGS[name]
    outputs = {value.name for value in proto.graph.output}
    makers = {output: place for place, node in enumerate(proto.graph.node) for output in node.output}
    fitting = [
        tensor
        for tensor in sorted(set(tensors) & set(makers) - outputs)
        if tensors[tensor].dtype == np.float32 and takes(tensors[tensor]) and np.ptp(tensors[tensor]) > 0
    ]
    if not fitting:
        return None
    chosen = fitting[int(np.random.default_rng(seed).integers(len(fitting)))]
    nodes, constants = make(chosen, tensors[chosen])
    for node in proto.graph.node:
        for index, read in enumerate(node.input):
            if read == chosen:
                node.input[index] = f"{PREFIX}_out"
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*kept[: makers[chosen] + 1], *nodes, *kept[makers[chosen] + 1 :]])
    proto.graph.initializer.extend(constants)
    return proto


def _constant(name: str, array: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, dtype), f"{PREFIX}_{name}")


def _node(operator: str, inputs: list[str], output: str = "out", **attributes: Any) -> onnx.NodeProto:
    named = [f"{PREFIX}_{name[1:]}" if name.startswith("$") else name for name in inputs]
    return helper.make_node(operator, named, [f"{PREFIX}_{output}"], name=f"{PREFIX}_{output}", **attributes)


def _quantised(tensor: str, array: Array) -> Steps:
    constants = [_constant("scale", np.abs(array).max() / 127), _constant("zero", 0, np.int8)]
    nodes = [
        _node("QuantizeLinear", [tensor, "$scale", "$zero"], "codes"),
        _node("DequantizeLinear", ["$codes", "$scale", "$zero"]),
    ]
    return nodes, constants


def _average(tensor: str, array: Array) -> Steps:
    return [_node("AveragePool", [tensor], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], []


def _normalised(tensor: str, array: Array) -> Steps:
    """Layer normalisation of small values, so that epsilon counts."""
    deviation = float(array.std(axis=-1).mean())
    constants = [
        _constant("scale", np.full(array.shape[-1], max(deviation, 1e-3))),
        _constant("small", 0.03 / max(deviation, 1e-6)),
    ]
    nodes = [
        _node("Mul", [tensor, "$small"], "reduced"),
        _node("LayerNormalization", ["$reduced", "$scale"], axis=-1, epsilon=1e-5),
    ]
    return nodes, constants


def _softmax(tensor: str, array: Array) -> Steps:
    return [_node("Softmax", [tensor], axis=array.ndim - 1)], []


def _joined(tensor: str, array: Array) -> Steps:
    """Both halves of the channels, one of them squared, joined: the order counts."""
    half = array.shape[1] // 2
    constants = [_constant("sizes", [half, half], np.int64)]
    split = helper.make_node(
        "Split", [tensor, f"{PREFIX}_sizes"], [f"{PREFIX}_a", f"{PREFIX}_b"], name=f"{PREFIX}_split", axis=1
    )
    return [split, _node("Tanh", ["$b"], "c"), _node("Concat", ["$a", "$c"], axis=1)], constants


def _gathered(tensor: str, array: Array) -> Steps:
    order = np.arange(array.shape[1])[::-1]
    return [_node("Gather", [tensor, "$order"], axis=1)], [_constant("order", order, np.int64)]


def _large(tensor: str, array: Array) -> Steps:
    """Squares of a hundred thousand on the way; float16 ends at 65504."""
    peak = float(np.abs(array).max())
    constants = [_constant("up", 400 / peak), _constant("down", 1e-3)]
    nodes = [
        _node("Mul", [tensor, "$up"], "scaled"),
        _node("Mul", ["$scaled", "$scaled"], "large"),
        _node("Mul", ["$large", "$down"]),
    ]
    return nodes, constants


def _asymmetric(tensor: str, array: Array) -> Steps:
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    scale = (high - low) / 255
    constants = [_constant("scale", scale), _constant("zero", round(-low / scale), np.uint8)]
    nodes = [
        _node("QuantizeLinear", [tensor, "$scale", "$zero"], "codes"),
        _node("DequantizeLinear", ["$codes", "$scale", "$zero"]),
    ]
    return nodes, constants


def _subtracted(tensor: str, array: Array) -> Steps:
    """A half of the channels less the other half, and that twice beside itself."""
    half = array.shape[1] // 2
    split = helper.make_node(
        "Split", [tensor, f"{PREFIX}_sizes"], [f"{PREFIX}_a", f"{PREFIX}_b"], name=f"{PREFIX}_split", axis=1
    )
    nodes = [split, _node("Sub", ["$a", "$b"], "less"), _node("Concat", ["$less", "$b"], axis=1)]
    return nodes, [_constant("sizes", [half, half], np.int64)]


def _resized(tensor: str, array: Array) -> Steps:
    """Twice as large by linear interpolation, and small again by leaving out every second."""
    constants = [
        _constant("scales", [1, 1, 2, 2]),
        _constant("starts", [0, 0], np.int64),
        _constant("ends", [1 << 30, 1 << 30], np.int64),
        _constant("axes", [2, 3], np.int64),
        _constant("steps", [2, 2], np.int64),
    ]
    nodes = [
        _node("Resize", [tensor, "", "$scales"], "larger", mode="linear", coordinate_transformation_mode="half_pixel"),
        _node("Slice", ["$larger", "$starts", "$ends", "$axes", "$steps"]),
    ]
    return nodes, constants


def _batch_normalised(tensor: str, array: Array) -> Steps:
    """With a variance so small that epsilon counts."""
    count = array.shape[1]
    rng = np.random.default_rng(5)
    constants = [
        _constant("scale", rng.uniform(0.01, 0.05, count)),
        _constant("shift", rng.normal(0, 0.1, count)),
        _constant("mean", rng.normal(0, 0.1, count)),
        _constant("variance", rng.uniform(1e-3, 4e-3, count)),
    ]
    return [_node("BatchNormalization", [tensor, "$scale", "$shift", "$mean", "$variance"], epsilon=1e-4)], constants


def _has_size(array: Array) -> bool:
    return array.ndim >= 3 and array.size >= 64


def _is_image(array: Array) -> bool:
    return array.ndim == 4 and min(array.shape[2:]) >= 4


def _has_channels(array: Array) -> bool:
    return array.ndim >= 3 and array.shape[1] >= 6 and array.shape[1] % 2 == 0 and array.size >= 64


SETTINGS: dict[str, tuple[Callable[[Array], bool], Callable[[str, Array], Steps]]] = {
    "quantised": (_has_size, _quantised),
    "asymmetric": (_has_size, _asymmetric),
    "subtracted": (_has_channels, _subtracted),
    "resized": (_is_image, _resized),
    "batch normalised": (_has_channels, _batch_normalised),
    "average": (_is_image, _average),
    "normalised": (lambda array: _has_size(array) and array.shape[-1] >= 4, _normalised),
    "softmax": (lambda array: _has_size(array) and min(array.shape[-2:]) > 1, _softmax),
    "joined": (_has_channels, _joined),
    "gathered": (_has_channels, _gathered),
    "large": (lambda array: _has_size(array) and float(np.abs(array).max()) > 0.1, _large),
}
"""Name → which tensors take it, and what is put behind them."""
