"""Random numbers. Core ML's own generator is not specified: the distributions are the same, the numbers are not."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import Lowering, NetworkLayer, integers, network
from workbench.formats.coreml.tensors import like
from workbench.formats.coreml.to_onnx import random
from workbench.formats.coreml.to_onnx.random import Keys, Shape
from workbench.hub import Emitter
from workbench.lowering import Refused

Draw = Callable[[NetworkLayer, Emitter, Shape], ir.Value]
_NEGLIGIBLE = 1e-6


def _keys(layer: NetworkLayer) -> Keys:
    return random.keys(layer.integer("seed"), layer.name, layer.turn)


def _uniform(layer: NetworkLayer, emit: Emitter, shape: Shape) -> ir.Value:
    """Equally distributed over [``minVal``, ``maxVal``)."""
    return random.uniform(emit, shape, _keys(layer), layer.number("minVal"), layer.number("maxVal"))


def _normal(layer: NetworkLayer, emit: Emitter, shape: Shape) -> ir.Value:
    """Normally distributed with ``mean`` and ``stdDev``."""
    return random.normal(emit, shape, _keys(layer), layer.number("mean"), layer.number("stdDev"))


def _bernoulli(layer: NetworkLayer, emit: Emitter, shape: Shape) -> ir.Value:
    """1 with probability ``prob``, else 0."""
    return random.bernoulli(emit, shape, _keys(layer), layer.number("prob"))


def _like(draw: Draw) -> Lowering:
    return lambda layer, emit: draw(layer, emit, emit.op("Shape", layer.x()))


def _static(draw: Draw) -> Lowering:
    return lambda layer, emit: draw(layer, emit, layer.ints("outputShape"))


def _dynamic(draw: Draw) -> Lowering:
    return lambda layer, emit: draw(layer, emit, integers(emit, layer.x()))


for _name, _draw in (("Uniform", _uniform), ("Normal", _normal), ("Bernoulli", _bernoulli)):
    for _form, _make in (("Like", _like), ("Static", _static), ("Dynamic", _dynamic)):
        network.lowers(f"random{_name}{_form}")(_make(_draw))


@network.lowers("categoricalDistribution")
def categorical_distribution(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``numSamples`` indices from each distribution in the last dimension; logits are divided by ``temperature``."""
    x, logits, temperature = layer.x(), layer.flag("isLogits"), layer.number("temperature", 1.0)
    if layer.number("eps") > _NEGLIGIBLE:
        raise Refused(f"eps = {layer.number('eps')}: what it is added to is not specified")
    if temperature != 1 and not logits:
        raise Refused(f"temperature = {temperature} of probabilities: what it does to them is not specified")
    if temperature != 1:
        x = emit.op("Div", x, like(emit, temperature, x))
    return random.categorical(emit, x, layer.integer("numSamples", 1), _keys(layer), logits=logits)
