"""One step of an optimiser, as https://github.com/onnx/onnx/blob/main/docs/Operators.md defines it, in arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused

_DOMAIN = "ai.onnx.preview.training"


def _groups(node: HubNode, count: int) -> list[list[ir.Value]]:
    """The tensors after the rate and the step count: ``count`` lists of equal length (values, gradients, states)."""
    values = [node.value(index) for index in range(2, len(node.inputs))]
    size, rest = divmod(len(values), count)
    if rest:
        raise Refused(f"{len(values)} tensors, which are no multiple of {count}")
    return [values[start : start + size] for start in range(0, len(values), size)]


def _gradients(k: Kit, values: Sequence[ir.Value], gradients: Sequence[ir.Value], norm: float) -> list[ir.Value]:
    """The gradients with that of the regularisation, norm / 2 · ‖x‖²."""
    if norm == 0:
        return list(gradients)
    return [k("Add", k("Mul", x, norm), gradient) for x, gradient in zip(values, gradients, strict=True)]


def _choose(k: Kit, step: ir.Value, later: Any, first: Any) -> ir.Value:
    """One number from the second step on, another in the first."""
    return k("Where", k("Greater", step, 0), later, first)


@composes("Adagrad", domain=_DOMAIN)
def adagrad(node: HubNode, emit: Emitter) -> Any:
    """h += g²; x −= r / (1 + t · decay) · g / (√h + ε)"""
    k, rate, step = Kit(emit), node.value(0), node.value(1)
    values, given, states = _groups(node, 3)
    gradients = _gradients(k, values, given, node.attr_float("norm_coefficient"))
    epsilon, decay = node.attr_float("epsilon"), node.attr_float("decay_factor")
    share = k("Div", rate, k("Add", k("Mul", k.cast(step, dtype(rate)), decay), 1))
    squares = [k("Add", h, k("Mul", g, g)) for h, g in zip(states, gradients, strict=True)]
    moved = [
        k("Sub", x, k("Div", k("Mul", share, g), k("Add", k("Sqrt", h), epsilon)))
        for x, g, h in zip(values, gradients, squares, strict=True)
    ]
    return [*moved, *squares]


@composes("Adam", domain=_DOMAIN)
def adam(node: HubNode, emit: Emitter) -> Any:
    """v = α v + (1 − α) g; h = β h + (1 − β) g²; x −= r √(1 − βᵗ) / (1 − αᵗ) · v / (√h + ε), then x scaled down."""
    k, rate, step = Kit(emit), node.value(0), node.value(1)
    values, given, means, squares = _groups(node, 4)
    alpha, beta, epsilon = (node.attr_float(name) for name in ("alpha", "beta", "epsilon"))
    gradients = _gradients(k, values, given, node.attr_float("norm_coefficient"))
    kept = 1 - node.attr_float("norm_coefficient_post")
    means = [k("Add", k("Mul", v, alpha), k("Mul", g, 1 - alpha)) for v, g in zip(means, gradients, strict=True)]
    squares = [
        k("Add", k("Mul", h, beta), k("Mul", k("Mul", g, g), 1 - beta)) for h, g in zip(squares, gradients, strict=True)
    ]
    count = k.cast(step, dtype(rate))
    left = [k("Sub", emit.const(1.0, dtype(rate)), k("Pow", emit.const(b, dtype(rate)), count)) for b in (beta, alpha)]
    share = _choose(k, step, k("Div", k("Mul", rate, k("Sqrt", left[0])), left[1]), rate)
    moved = [
        k("Sub", x, k("Div", k("Mul", share, v), k("Add", k("Sqrt", h), epsilon)))
        for x, v, h in zip(values, means, squares, strict=True)
    ]
    return [*(x if kept == 1 else k("Mul", x, kept) for x in moved), *means, *squares]


@composes("Momentum", domain=_DOMAIN)
def momentum(node: HubNode, emit: Emitter) -> Any:
    """v = α v + β g (in the first step β is 1); x −= r v, or by Nesterov x −= r (g + α v)."""
    k, rate, step = Kit(emit), node.value(0), node.value(1)
    values, given, speeds = _groups(node, 3)
    alpha, beta = node.attr_float("alpha"), node.attr_float("beta")
    nesterov = node.attr_string("mode") == "nesterov"
    gradients = _gradients(k, values, given, node.attr_float("norm_coefficient"))
    share = _choose(k, step, *(emit.const(number, dtype(rate)) for number in (beta, 1.0)))
    speeds = [k("Add", k("Mul", v, alpha), k("Mul", share, g)) for v, g in zip(speeds, gradients, strict=True)]
    ways = [k("Add", g, k("Mul", v, alpha)) if nesterov else v for g, v in zip(gradients, speeds, strict=True)]
    return [*(k("Sub", x, k("Mul", rate, way)) for x, way in zip(values, ways, strict=True)), *speeds]
