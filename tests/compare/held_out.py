"""Faults that the accuracy debugger was not tuned on: other kinds, other magnitudes, other ways to make them.

Kept apart from :mod:`tests.compare.faults`, whose cases were looked at while the signatures were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from tests.compare.spoiling import Fault, Graph, ints, registry, replace_by, set_attribute, weights

Array = np.ndarray[Any, Any]
Injections = Iterator[Callable[[], ir.Node]]

HELD_OUT: list[Fault] = []
fault = registry(HELD_OUT)

# Weights and biases


@fault("weight 7 % too small", "gain")
def smaller_weight(g: Graph) -> Injections:
    for node, weight in weights(g):
        yield lambda node=node, weight=weight: g.give(node, 1, weight.astype(np.float64) * 0.93)


@fault("output channels scaled one by one", "gain", "scale and bias")
def scaled_channels(g: Graph) -> Injections:
    for node, weight in weights(g):
        shape = [1] * weight.ndim
        axis = 0 if node.op_type == "Conv" else weight.ndim - 1
        shape[axis] = weight.shape[axis]
        factors = np.random.default_rng(2).uniform(0.8, 1.25, shape)
        if weight.shape[axis] > 2:
            yield lambda node=node, weight=weight, factors=factors: g.give(node, 1, weight * factors)


@fault("bias of each channel moved", "bias")
def moved_bias(g: Graph) -> Injections:
    for node, index, bias in biases(g):
        peak = g.peaks.get(node.outputs[0].name or "", (0.0, ()))[0]
        moved = bias + np.random.default_rng(3).normal(0, 0.05 * peak, bias.shape)
        if bias.size > 1 and peak:
            yield lambda node=node, index=index, moved=moved: g.give(node, index, moved)


@fault("bias lost", "bias missing", "bias")
def lost_bias(g: Graph) -> Injections:
    for node, index, bias in biases(g):
        if bias.any():
            yield lambda node=node, index=index, bias=bias: g.give(node, index, np.zeros_like(bias))


def biases(g: Graph) -> Iterator[tuple[ir.Node, int, Array]]:
    for node in g.nodes("Conv", "Gemm"):
        bias = g.array(node, 2)
        if bias is not None:
            yield node, 2, bias.astype(np.float64)
    for node in g.nodes("Add"):
        for index in (0, 1):
            addend = g.array(node, index)
            if addend is not None and addend.dtype.kind == "f" and addend.size > 1:
                yield node, index, addend.astype(np.float64)


@fault("kernel mirrored", "flipped weight")
def mirrored(g: Graph) -> Injections:
    for node, weight in weights(g):
        if node.op_type == "Conv" and max(weight.shape[2:]) > 1:
            axes = tuple(range(2, weight.ndim))
            yield lambda node=node, weight=weight, axes=axes: g.give(node, 1, np.flip(weight, axes))


@fault("output channels of the weight rotated", "weight order", "channel order")
def rotated_weight(g: Graph) -> Injections:
    for node, weight in weights(g):
        axis = 0 if node.op_type == "Conv" else weight.ndim - 1
        if weight.shape[axis] > 2:
            yield lambda node=node, weight=weight, axis=axis: g.give(node, 1, np.roll(weight, 1, axis))


@fault("halves of the weight's input channels exchanged", "weight order")
def exchanged_halves(g: Graph) -> Injections:
    for node, weight in weights(g):
        axis = 1 if node.op_type == "Conv" else weight.ndim - 2
        count = weight.shape[axis]
        if count >= 4 and count % 2 == 0:
            turned = np.roll(weight, count // 2, axis)
            yield lambda node=node, turned=turned: g.give(node, 1, turned)


@fault("weight read in the other order of memory", "transposed weight")
def reread(g: Graph) -> Injections:
    """Rows by columns where columns by rows were meant, the last two axes of a kernel exchanged."""
    for node, weight in weights(g):
        if weight.ndim >= 4 and weight.shape[-1] == weight.shape[-2] > 1:
            yield lambda node=node, weight=weight: g.give(node, 1, weight.swapaxes(-1, -2))
        elif weight.ndim == 2:
            yield lambda node=node, weight=weight: g.give(node, 1, weight.reshape(weight.shape[::-1]).T)


# Activations and what becomes of values


@fault("ended above at 60 % of the peak", "saturated")
def ended(g: Graph) -> Injections:
    for node in g.computed():
        value = node.outputs[0]
        peak = g.peaks[value.name or ""][0]

        def clip(node: ir.Node = node, value: ir.Value = value, peak: float = peak) -> ir.Node:
            return g.after(node, ("Min", (g.scalar(value, 0.6 * peak, f"{node.name}_high"),), {}))

        yield clip


@fault("ReLU added", "activation added")
def added(g: Graph) -> Injections:
    for node in g.nodes("Conv", "MatMul", "Gemm", "Add"):
        if (g.peaks.get(node.outputs[0].name or "") or (0.0,))[0]:
            yield lambda node=node: g.after(node, ("Relu", (), {}))


@fault("another nonlinearity", "other activation", "activation added")
def nonlinearity(g: Graph) -> Injections:
    others: dict[str, tuple[str, dict[str, Any]]] = {
        "Relu": ("Elu", {"alpha": 1.0}),
        "PRelu": ("LeakyRelu", {"alpha": 0.01}),
        "Sigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
        "Tanh": ("Sigmoid", {}),
        "Erf": ("Tanh", {}),
        "Gelu": ("Relu", {}),
    }
    for node in g.nodes(*others):
        yield lambda node=node: replace_by(node, *others[node.op_type])


@fault("slope doubled", "other activation", "gain", "activation added")
def slope(g: Graph) -> Injections:
    for node in g.nodes("PRelu"):
        own = g.array(node, 1)
        if own is not None:
            yield lambda node=node, own=own: g.give(node, 1, 2 * own.astype(np.float64))


@fault("operand dropped", "layer missing")
def skipped(g: Graph) -> Injections:
    """An addition of two computed tensors, of which only one is left."""
    for node in g.nodes("Add", "Mul"):
        if node.inputs[0] is node.inputs[1] or any(g.array(node, index) is not None for index in (0, 1)):
            continue
        if g.shape(node.inputs[0]) != g.shape(node.outputs[0]):
            continue

        def drop(node: ir.Node = node) -> ir.Node:
            node.op_type = "Identity"
            node.resize_inputs(1)
            return node

        yield drop


@fault("logarithm of negative numbers", "NaN", "infinity")
def logarithm(g: Graph) -> Injections:
    for node in g.computed():
        peak = g.peaks[node.outputs[0].name or ""][0]

        def log(node: ir.Node = node, peak: float = peak) -> ir.Node:
            value = node.outputs[0]
            return g.after(node, ("Sub", (g.scalar(value, peak / 3, f"{node.name}_less"),), {}), ("Log", (), {}))

        yield log


@fault("infinity in the bias", "infinity", "NaN")
def infinite_bias(g: Graph) -> Injections:
    for node, index, bias in biases(g):
        spoilt = bias.copy()
        spoilt.reshape(-1)[bias.size // 3] = np.inf
        yield lambda node=node, index=index, spoilt=spoilt: g.give(node, index, spoilt)


# Order and place


@fault("channels rotated", "channel order")
def rotated(g: Graph) -> Injections:
    for node in g.computed(rank=3):
        count = g.shape(node.outputs[0])[1]
        if 4 <= count <= 1024:
            order = np.roll(np.arange(count), 2).astype(np.int64)

            def turn(node: ir.Node = node, order: Array = order) -> ir.Node:
                return g.after(node, ("Gather", (g.constant(order, f"{node.name}_order"),), {"axis": 1}))

            yield turn


@fault("channels last read as channels first", "permuted axes")
def relaid(g: Graph) -> Injections:
    for node in g.computed(rank=3):
        shape = g.shape(node.outputs[0])
        if shape[1] > 1 and int(np.prod(shape[2:])) > 1:
            perm = [0, *range(2, len(shape)), 1]
            back = g.constant(np.asarray(shape, np.int64), node.outputs[0].name or "")
            yield lambda node=node, perm=perm, back=back: g.after(
                node, ("Transpose", (), {"perm": perm}), ("Reshape", (back,), {})
            )


@fault("one column on", "shifted", "indices", "channel order", "border")
def moved_on(g: Graph) -> Injections:
    for node in g.computed(rank=4):
        width = g.shape(node.outputs[0])[3]
        if width >= 6:
            order = np.clip(np.arange(width) + 1, 0, width - 1)

            def move(node: ir.Node = node, order: Array = order) -> ir.Node:
                return g.after(node, ("Gather", (g.constant(order, f"{node.name}_places"),), {"axis": 3}))

            yield move


@fault("all of the padding at the end", "padding", "shifted", "border")
def padding_at_end(g: Graph) -> Injections:
    for node in g.nodes("Conv", "MaxPool", "AveragePool"):
        pads = ints(node, "pads")
        rank = len(pads) // 2
        if pads and max(pads[:rank]) > 0:
            moved = [0] * rank + [begin + end for begin, end in zip(pads[:rank], pads[rank:], strict=True)]
            yield lambda node=node, moved=moved: set_attribute(node, "pads", moved)


@fault("padded with the border's values", "border", "padding")
def repeated_border(g: Graph) -> Injections:
    for node in g.nodes("Conv"):
        pads = ints(node, "pads")
        shape = g.shape(node.inputs[0])
        if pads and max(pads) > 0 and shape and min(shape[2:]) > max(pads) + 2:
            full = np.asarray([0, 0, *pads[: len(pads) // 2], 0, 0, *pads[len(pads) // 2 :]], np.int64)

            def repeat(node: ir.Node = node, full: Array = full, pads: list[int] = pads) -> ir.Node:
                g.before(node, 0, ("Pad", (g.constant(full, f"{node.name}_pads"),), {"mode": "edge"}))
                return set_attribute(node, "pads", [0] * len(pads))

            yield repeat


# With a setting


@fault("zero point one too low", "bias", setting="asymmetric")
def zero_point(g: Graph) -> Injections:
    for node in g.nodes("DequantizeLinear"):
        zero = g.array(node, 2)
        if zero is not None and zero.size == 1 and int(zero.reshape(-1)[0]) > 0:
            yield lambda node=node, zero=zero: g.give(node, 2, zero - np.asarray(1, zero.dtype))


@fault("scale of the codes 10 % too large", "gain", setting="asymmetric")
def code_scale(g: Graph) -> Injections:
    for node in g.nodes("DequantizeLinear"):
        scale = g.array(node, 1)
        if scale is not None and scale.size == 1:
            yield lambda node=node, scale=scale: g.give(node, 1, scale.astype(np.float64) * 1.1)


@fault("operands of a subtraction exchanged", "sign", "input order", setting="subtracted")
def exchanged_operands(g: Graph) -> Injections:
    for node in g.nodes("Sub"):
        if all(g.array(node, index) is None for index in (0, 1)) and node.inputs[0] is not node.inputs[1]:

            def exchange(node: ir.Node = node) -> ir.Node:
                first, second = node.inputs
                node.replace_input_with(0, second)
                node.replace_input_with(1, first)
                return node

            yield exchange


@fault("resized by other pixel centres", "interpolation", "shifted", setting="resized")
def pixel_centres(g: Graph) -> Injections:
    for node in g.nodes("Resize"):
        yield lambda node=node: set_attribute(node, "coordinate_transformation_mode", "asymmetric")


@fault("resized to the nearest", "interpolation", "shifted", setting="resized")
def nearest(g: Graph) -> Injections:
    for node in g.nodes("Resize"):
        yield lambda node=node: set_attribute(node, "mode", "nearest")


@fault("epsilon 100 times as large", "epsilon", "scale and bias", "gain", setting="batch normalised")
def larger_epsilon(g: Graph) -> Injections:
    for node in g.nodes("BatchNormalization"):
        yield lambda node=node: set_attribute(node, "epsilon", node.attributes["epsilon"].as_float() * 100)


@fault("mean left out", "bias", setting="batch normalised")
def no_mean(g: Graph) -> Injections:
    for node in g.nodes("BatchNormalization"):
        mean = g.array(node, 3)
        if mean is not None and mean.any():
            yield lambda node=node, mean=mean: g.give(node, 3, np.zeros_like(mean))


@fault("softmax over all that follow", "axis", setting="softmax")
def flat_softmax(g: Graph) -> Injections:
    """As the operator was before opset 13: over the axis and all behind it."""
    for node in g.nodes("Softmax"):
        shape = g.shape(node.outputs[0])
        if len(shape) >= 3 and shape[1] > 1:
            flat = g.constant(np.asarray([shape[0], -1], np.int64), f"{node.name}_flat")
            back = g.constant(np.asarray(shape, np.int64), f"{node.name}_back")

            def flatten(node: ir.Node = node, flat: ir.Value = flat, back: ir.Value = back) -> ir.Node:
                g.before(node, 0, ("Reshape", (flat,), {}))
                set_attribute(node, "axis", 1)
                return g.after(node, ("Reshape", (back,), {}))

            yield flatten


@fault("indices one too low", "indices", "shifted", "channel order", setting="gathered")
def indices_low(g: Graph) -> Injections:
    for node in g.nodes("Gather"):
        indices, shape = g.array(node, 1), g.shape(node.inputs[0])
        if indices is not None and indices.size > 3 and shape:
            yield lambda node=node, indices=indices: g.give(node, 1, np.maximum(indices - 1, 0))
