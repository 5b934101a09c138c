"""Faults as conversions make them, put into converted models: what the accuracy debugger has to find.

A :class:`Fault` changes the hub graph of the converted model and says which node it has changed. Some need something in
the model that few real ones have (a quantised tensor, an average over padding): a :class:`Setting` puts it into the
reference first, in the middle of the real network, so that both sides have it and the conversion is healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from tests.compare.spoiling import Fault, Graph, ints, registry, replace_by, set_attribute, weights

Array = np.ndarray[Any, Any]

FAULTS: list[Fault] = []
fault = registry(FAULTS)


# Kinds that every network can have


@fault("weight 2 % too large", "gain")
def weight_gain(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node, weight in weights(g):
        yield lambda node=node, weight=weight: g.give(node, 1, weight.astype(np.float64) * 1.02)


@fault("bias shifted", "bias")
def bias_shift(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Conv", "Gemm"):
        bias = g.array(node, 2)
        peak = g.peaks.get(node.outputs[0].name or "", (0.0, ()))[0]
        if bias is not None and peak:
            yield lambda node=node, bias=bias, peak=peak: g.give(node, 2, bias.astype(np.float64) + 0.1 * peak)
    for node in g.nodes("Add"):
        for index in (0, 1):
            addend = g.array(node, index)
            peak = g.peaks.get(node.outputs[0].name or "", (0.0, ()))[0]
            if addend is not None and addend.dtype.kind == "f" and addend.size > 1 and peak:
                yield lambda node=node, addend=addend, peak=peak, index=index: g.give(
                    node, index, addend.astype(np.float64) + 0.1 * peak
                )


@fault("axes permuted", "permuted axes")
def permuted(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed(rank=2):
        shape = g.shape(node.outputs[0])
        axes = [axis for axis, size in enumerate(shape) if size > 1]
        if len(axes) >= 2:
            perm = list(range(len(shape)))
            perm[axes[-1]], perm[axes[-2]] = perm[axes[-2]], perm[axes[-1]]
            back = g.constant(np.asarray(shape, np.int64), node.outputs[0].name or "")
            yield lambda node=node, perm=perm, back=back: g.after(
                node, ("Transpose", (), {"perm": perm}), ("Reshape", (back,), {})
            )


@fault("weight transposed", "transposed weight")
def transposed(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node, weight in weights(g):
        if weight.ndim == 4 and weight.shape[2] == weight.shape[3] > 1:
            yield lambda node=node, weight=weight: g.give(node, 1, weight.swapaxes(2, 3))
        elif weight.shape[0] == weight.shape[1] and weight.ndim >= 2:
            yield lambda node=node, weight=weight: g.give(node, 1, weight.swapaxes(0, 1))
        elif weight.ndim == 2:
            yield lambda node=node, weight=weight: g.give(node, 1, weight.T.reshape(weight.shape))


@fault("saturated at half of the peak", "saturated")
def saturated(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed():
        value = node.outputs[0]
        peak = g.peaks[value.name or ""][0]

        def clip(node: ir.Node = node, value: ir.Value = value, peak: float = peak) -> ir.Node:
            bounds = [g.scalar(value, sign * peak / 2, f"{node.name}_{sign}") for sign in (-1, 1)]
            return g.after(node, ("Clip", bounds, {}))

        yield clip


@fault("activation dropped", "activation missing")
def dropped(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes(*ACTIVATIONS):
        yield lambda node=node: replace_by(node, "Identity", {})


ACTIVATIONS = ("Relu", "PRelu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Elu", "Gelu")


@fault("another activation", "other activation", "activation added")
def replaced(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Relu", "PRelu", "Sigmoid", "Tanh"):
        operator, attributes = {
            "Relu": ("LeakyRelu", {"alpha": 0.1}),
            "PRelu": ("Relu", {}),
            "Sigmoid": ("HardSigmoid", {"alpha": 0.2}),
            "Tanh": ("Softsign", {}),
        }[node.op_type]
        yield lambda node=node, operator=operator, attributes=attributes: replace_by(node, operator, attributes)


@fault("two channels exchanged", "channel order")
def exchanged(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed(rank=2):
        shape = g.shape(node.outputs[0])
        axis = next((axis for axis, size in enumerate(shape) if axis and 4 <= size <= 1024), None)
        if axis is not None:
            order = np.arange(shape[axis])
            order[[1, 2]] = order[[2, 1]]

            def swap(node: ir.Node = node, order: Array = order, axis: int = axis) -> ir.Node:
                index = g.constant(order.astype(np.int64), f"{node.name}_order")
                return g.after(node, ("Gather", (index,), {"axis": axis}))

            yield swap


@fault("channels reversed", "channel order")
def reversed_channels(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Conv"):
        weight = g.array(node, 1)
        if (weight is not None and weight.shape[1] > 2 and node.attributes.get("group") is None) or (
            weight is not None and weight.shape[1] > 2 and node.attributes["group"].as_int() == 1
        ):
            yield lambda node=node, weight=weight: g.give(node, 1, weight[:, ::-1])
    for node in g.computed(rank=2):
        shape = g.shape(node.outputs[0])
        if 2 < shape[-1] <= 1024:
            order = np.arange(shape[-1])[::-1].astype(np.int64)

            def turn(node: ir.Node = node, order: Array = order, axis: int = len(shape) - 1) -> ir.Node:
                return g.after(node, ("Gather", (g.constant(order, f"{node.name}_order"),), {"axis": axis}))

            yield turn


@fault("NaN in the weight", "NaN")
def nan_weight(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node, weight in weights(g):
        spoilt = weight.astype(np.float64).copy()
        spoilt.reshape(-1)[weight.size // 2] = np.nan
        yield lambda node=node, spoilt=spoilt: g.give(node, 1, spoilt)


@fault("root of negative numbers", "NaN")
def nan_root(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed():
        value = node.outputs[0]
        peak = g.peaks[value.name or ""][0]

        def root(node: ir.Node = node, value: ir.Value = value, peak: float = peak) -> ir.Node:
            return g.after(node, ("Sub", (g.scalar(value, peak, f"{node.name}_peak"),), {}), ("Sqrt", (), {}))

        yield root


@fault("quotient by zero", "infinity", "NaN")
def division(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed():

        def divide(node: ir.Node = node) -> ir.Node:
            return g.after(node, ("Div", (g.scalar(node.outputs[0], 0.0, f"{node.name}_zero"),), {}))

        yield divide


@fault("weight zeroed", "zeroed")
def zeroed(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node, weight in weights(g):
        yield lambda node=node, weight=weight: g.give(node, 1, np.zeros_like(weight))


@fault("sign lost", "sign")
def negated(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.computed():
        yield lambda node=node: g.after(node, ("Neg", (), {}))


# Kinds of convolutional networks


@fault("padding at the other end", "padding", "shifted", "border")
def padding(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Conv", "MaxPool", "AveragePool"):
        pads = ints(node, "pads")
        rank = len(pads) // 2
        if pads and min(pads[rank:]) > 0:
            moved = [pad + 1 for pad in pads[:rank]] + [pad - 1 for pad in pads[rank:]]
            yield lambda node=node, moved=moved: set_attribute(node, "pads", moved)
    for node in g.nodes("Pad"):
        pads = g.array(node, 1)
        half = 0 if pads is None else len(pads) // 2
        if pads is not None and (pads[:half] != pads[half:]).any():
            turned = np.concatenate([pads[half:], pads[:half]])
            yield lambda node=node, turned=turned: g.give(node, 1, turned)


@fault("dilation 2", "stride or dilation")
def dilation(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Conv"):
        weight, pads = g.array(node, 1), ints(node, "pads")
        if (
            weight is not None
            and weight.ndim == 4
            and weight.shape[2:] == (3, 3)
            and ints(node, "dilations")
            in (
                [],
                [1, 1],
            )
        ):
            pads = pads or [0, 0, 0, 0]

            def dilate(node: ir.Node = node, pads: list[int] = pads) -> ir.Node:
                set_attribute(node, "dilations", [2, 2])
                return set_attribute(node, "pads", [pad + 1 for pad in pads])

            yield dilate


@fault("average instead of maximum", "pooling kind")
def pooling_kind(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("MaxPool"):

        def change(node: ir.Node = node) -> ir.Node:
            node.op_type = "AveragePool"
            node.attributes.pop("storage_order", None)
            return node

        yield change


# Kinds that need a setting


@fault("padding counted by the average", "pooling divisor", setting="average")
def divisor(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("AveragePool"):
        counted = node.attributes["count_include_pad"].as_int() if "count_include_pad" in node.attributes else 0
        yield lambda node=node, counted=counted: set_attribute(node, "count_include_pad", 1 - counted)


@fault("rounded down", "off by one", setting="quantised")
def rounding(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("QuantizeLinear"):
        scale = g.array(node, 1)
        if scale is not None and scale.size == 1:

            def lower(node: ir.Node = node, scale: Array = scale) -> ir.Node:
                source = node.inputs[0]
                assert source is not None
                step = ir.Node(
                    "", "Sub", [source, g.scalar(source, float(scale) / 2, f"{node.name}_half")], num_outputs=1
                )
                step.name = step.outputs[0].name = f"{node.name}/lowered"
                step.metadata_props.update(node.metadata_props)
                g.graph.insert_before(node, (step,))
                node.replace_input_with(0, step.outputs[0])
                return node

            yield lower


@fault("another epsilon", "epsilon", "scale and bias", setting="normalised")
def epsilon(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("LayerNormalization", "BatchNormalization", "InstanceNormalization"):
        yield lambda node=node: set_attribute(node, "epsilon", node.attributes["epsilon"].as_float() * 1000)
    for node in g.nodes("Add"):
        for index in (0, 1):
            own = g.array(node, index)
            if own is not None and own.size == 1 and 0 < float(own.reshape(-1)[0]) < 0.01:
                yield lambda node=node, own=own, index=index: g.give(node, index, own.astype(np.float64) * 1000)


@fault("softmax along another axis", "axis", setting="softmax")
def softmax_axis(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Softmax"):
        shape = g.shape(node.outputs[0])
        own = node.attributes["axis"].as_int() % len(shape) if "axis" in node.attributes else len(shape) - 1
        for axis, size in enumerate(shape):
            if axis != own and size > 1:
                yield lambda node=node, axis=axis: set_attribute(node, "axis", axis)


@fault("inputs of a concatenation exchanged", "input order", "channel order", setting="joined")
def concat_order(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Concat"):
        shapes = {g.shape(value) for value in node.inputs}
        if len(node.inputs) >= 2 and len(shapes) == 1 and shapes != {()}:

            def turn(node: ir.Node = node) -> ir.Node:
                first, second = node.inputs[0], node.inputs[1]
                node.replace_input_with(0, second)
                node.replace_input_with(1, first)
                return node

            yield turn


@fault("indices one too high", "indices", "shifted", "channel order", setting="gathered")
def index_offset(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    for node in g.nodes("Gather"):
        shape = g.shape(node.inputs[0])
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        if not shape or shape[axis] < 4:
            continue

        def add(node: ir.Node = node, last: int = shape[axis] - 1) -> ir.Node:
            indices = node.inputs[1]
            assert indices is not None
            kind = indices.dtype.numpy()
            steps = []
            for operator, number in (("Add", 1), ("Min", last)):
                source = steps[-1].outputs[0] if steps else indices
                more = g.constant(np.asarray(number, kind), f"{node.name}_{operator}")
                steps.append(ir.Node("", operator, [source, more], num_outputs=1, name=f"{node.name}/{operator}"))
                steps[-1].outputs[0].name = f"{node.name}/{operator}"
            g.graph.insert_before(node, steps)
            node.replace_input_with(1, steps[-1].outputs[0])
            return node

        yield add


@fault("beyond float16", "overflow", setting="large", half=True)
def overflow(g: Graph) -> Iterator[Callable[[], ir.Node]]:
    """Nothing is injected: the reference has values that float16 does not hold, and the conversion is to float16."""
    for node in g.nodes("Mul"):
        if node.inputs[0] is node.inputs[1] and "setting_large" in f"{node.name} {node.outputs[0].name}":
            yield lambda node=node: node
