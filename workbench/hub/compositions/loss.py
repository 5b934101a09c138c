"""Losses of classification: the picked logarithms of probabilities, weighted and reduced."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from workbench.hub.compositions.kit import Kit, dims, dtype, wanted
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode


@composes("NegativeLogLikelihoodLoss", since=22)
def negativeloglikelihoodloss_22(node: HubNode, emit: Emitter) -> Any:
    """−weight[target] · input[n, target, …]; input [N, C, …], target [N, …]."""
    return _loss(node, Kit(emit), node.value(0))


@composes("SoftmaxCrossEntropyLoss", since=13)
def softmaxcrossentropyloss_13(node: HubNode, emit: Emitter) -> Any:
    """The same of the logarithm of the softmax over the classes, which is the second output."""
    k = Kit(emit)
    logarithms = k("LogSoftmax", node.value(0), axis=1)
    loss = _loss(node, k, logarithms)
    return [loss, logarithms] if wanted(node, 1) else loss


def _loss(node: HubNode, k: Kit, logarithms: ir.Value) -> ir.Value:
    shape, target, ignored = dims(logarithms), node.value(1), node.attr_int("ignore_index", None)
    rows = k.reshape(target, (shape[0], -1)) if len(shape) != 3 else target
    columns = k.reshape(logarithms, (*shape[:2], -1)) if len(shape) != 3 else logarithms
    counted = None if ignored is None else k("Not", k("Equal", rows, ignored))
    chosen = rows if counted is None else k("Where", counted, rows, 0)
    picked = k("GatherElements", columns, k("Unsqueeze", chosen, [1]), axis=1)
    loss = k("Neg", k("Squeeze", picked, [1]))
    weight = None if node.input(2) is None else k("Gather", node.value(2), chosen, axis=0)
    if weight is not None:
        loss = k("Mul", loss, weight)
    if counted is not None:
        loss = k("Where", counted, loss, 0.0)
        weight = k.cast(counted, dtype(loss)) if weight is None else k("Where", counted, weight, 0.0)
    reduction = node.attr_string("reduction")
    if reduction == "none":
        return k.reshape(loss, (shape[0], *shape[2:]))
    total = k("ReduceSum", loss, keepdims=0)
    if reduction == "sum":
        return total
    return k("Div", total, k("ReduceSum", weight, keepdims=0) if weight is not None else float(_size(loss)))


def _size(value: ir.Value) -> int:
    rows, columns = dims(value)
    return rows * columns
