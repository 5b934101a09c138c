"""Weights and parameters: products, normalisations, recurrences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.variants.kit import (
    Variant,
    exchanging,
    giving,
    integer,
    known_array,
    setting,
    together,
    varies,
)

Array = np.ndarray[Any, Any]


EPSILONS = (0.0, 1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@varies("MatMul Gemm")
def product(node: ir.Node) -> Iterator[Variant]:
    """A weight that is transposed, operands that are exchanged, no bias."""
    for index in (1, 0):
        weight = known_array(node, index)
        if weight is not None and weight.ndim >= 2 and weight.shape[-1] == weight.shape[-2] > 1:
            turned = weight.swapaxes(-1, -2)
            yield Variant("transposed weight", "rows and columns of the weight exchanged", giving(index, turned))
        elif weight is not None and weight.ndim == 2 and min(weight.shape) > 1:
            text = "the weight's elements in the order of its {}"
            mixed = weight.T.reshape(weight.shape), weight.reshape(weight.T.shape).T
            yield Variant("transposed weight", text.format("columns"), giving(index, mixed[0]))
            yield Variant("transposed weight", text.format("rows"), giving(index, mixed[1]))
        if weight is not None:
            yield Variant("zeroed", "the weight is zero", giving(index, np.zeros_like(weight)))
    if len(node.inputs) > 2 and (bias := known_array(node, 2)) is not None:
        yield Variant("bias missing", "there is no bias", giving(2, np.zeros_like(bias)))
    if known_array(node, 0) is None and known_array(node, 1) is None:
        yield Variant("input order", "the operands exchanged", exchanging(0, 1))


@varies("BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization")
def normalization(node: ir.Node) -> Iterator[Variant]:
    """Another epsilon, parameters exchanged or left out."""
    attribute = node.attributes.get("epsilon")
    own = attribute.as_float() if attribute is not None else 1e-5
    for epsilon in EPSILONS:
        if not math.isclose(epsilon, own, rel_tol=1e-3):
            yield Variant("epsilon", f"epsilon {epsilon:g} instead of {own:g}", setting("epsilon", epsilon))
    if node.op_type == "BatchNormalization":
        for first, second, names in ((2, 3, "bias and mean"), (1, 4, "scale and variance")):
            yield Variant("input order", f"{names} exchanged", exchanging(first, second))
    if len(node.inputs) > 2 and (bias := known_array(node, 2)) is not None and bias.any():
        yield Variant("bias missing", "there is no bias", giving(2, np.zeros_like(bias)))


@varies("Add")
def small_addend(node: ir.Node) -> Iterator[Variant]:
    """The epsilon of a normalisation that is written out."""
    for index in (0, 1):
        own = known_array(node, index)
        if own is not None and own.size == 1 and 0 < float(own.reshape(-1)[0]) <= 0.1:
            value = float(own.reshape(-1)[0])
            for epsilon in EPSILONS:
                if not math.isclose(epsilon, value, rel_tol=1e-3):
                    text = f"epsilon {epsilon:g} instead of {value:g}"
                    yield Variant("epsilon", text, giving(index, np.full_like(own, epsilon)))


@varies("LSTM GRU RNN")
def recurrence(node: ir.Node) -> Iterator[Variant]:
    """The gates in other orders, no bias, the direction."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[node.op_type]
    arrays = {index: known_array(node, index) for index in (1, 2, 3)}
    if len(node.inputs) > 3 and (bias := arrays[3]) is not None:
        yield Variant("bias missing", "there is no bias", giving(3, np.zeros_like(bias)))
    if node.op_type == "GRU":
        own = integer(node, "linear_before_reset", 0)
        text = "the reset gate before the product" if own else "the reset gate after the product"
        yield Variant("other activation", text, setting("linear_before_reset", 1 - own))
    if arrays[1] is None or arrays[2] is None:
        return
    for order in itertools.permutations(range(gates)):
        if list(order) != sorted(order):
            yield Variant("weight order", f"the gates in the order {list(order)}", _regated(arrays, gates, order))


def _regated(arrays: dict[int, Array | None], gates: int, order: Sequence[int]) -> Callable[[ir.Node], None]:
    changes = []
    for index, array in arrays.items():
        if array is not None:
            count = gates * (2 if index == 3 else 1)
            blocks = np.split(array, count, axis=1)
            places = [*order, *(gates + place for place in order)] if index == 3 else list(order)
            changes.append(giving(index, np.concatenate([blocks[place] for place in places], axis=1)))
    return together(*changes)
