"""The numbers that both models hold for one layer: where the target's differ, and how.

A weight or bias that a conversion has changed shows in the file itself. That it is the cause is tried: the reference's
layer is run with the target's numbers, and has to give the target's tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.fits import gains_along, structural
from workbench.compare.variants.kit import Variant, giving, known_array

Array = np.ndarray[Any, Any]

_SAME = 2e-3
"""Relative L2 of what rounding to float16 does, and a little."""
_LEFT = 0.02
"""Share of the difference between two weights that a relation may leave."""
_LEVELS = 256
_ROLES: Mapping[str, Mapping[int, str]] = {
    "Conv": {1: "weight", 2: "bias"},
    "ConvTranspose": {1: "weight", 2: "bias"},
    "Gemm": {0: "weight", 1: "weight", 2: "bias"},
    "MatMul": {0: "weight", 1: "weight"},
    "LSTM": {1: "weight", 2: "weight", 3: "bias"},
    "GRU": {1: "weight", 2: "weight", 3: "bias"},
    "RNN": {1: "weight", 2: "weight", 3: "bias"},
    "Add": {0: "bias", 1: "bias"},
    "Sub": {1: "bias"},
    "Mul": {0: "scale", 1: "scale"},
    "Div": {1: "scale"},
    "PRelu": {1: "slope"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "LayerNormalization": {1: "scale", 2: "bias"},
    "InstanceNormalization": {1: "scale", 2: "bias"},
    "QuantizeLinear": {1: "step", 2: "zero point"},
    "DequantizeLinear": {1: "step", 2: "zero point"},
    "Gather": {0: "weight", 1: "indices"},
}
_KINDS = {
    "bias": "bias", "mean": "bias", "zero point": "bias", "scale": "gain", "step": "gain", "variance": "scale and bias",
    "slope": "other activation", "indices": "indices", "weight": "other weight",
}  # fmt: skip


@dataclass(frozen=True)
class _Constant:
    """One constant of a part; ``array`` as it is compared, ``back`` makes of such an array what the node reads."""

    place: int
    index: int
    role: str
    array: Array
    back: Callable[[Array], Array]


def other_constants(
    reference: Sequence[tuple[int, ir.Node]], target: Iterable[ir.Node]
) -> Iterator[tuple[int, Variant]]:
    """The reference's nodes with numbers that the target has instead, one constant at a time.

    Args:
        reference: places and nodes; the place is given back with the change.
        target: the nodes that stand for them.
    """
    own, others = _by_role(reference), _by_role(enumerate(target))
    for key, constants in own.items():
        for constant, other in zip(constants, others.get(key, ()), strict=False):
            if len(constants) != len(others[key]) or _same(constant.array, other.array):
                continue
            kind, text = _relation(constant.role, constant.array, other.array)
            yield constant.place, Variant(kind, text, giving(constant.index, constant.back(other.array)))


def _by_role(nodes: Iterable[tuple[int, ir.Node]]) -> dict[tuple[str, tuple[int, ...]], list[_Constant]]:
    found: dict[tuple[str, tuple[int, ...]], list[_Constant]] = defaultdict(list)
    for place, node in sorted(nodes, key=lambda pair: pair[0]):
        for index, role in _ROLES.get("" if node.domain else node.op_type, {}).items():
            array = known_array(node, index)
            if array is None or array.dtype.kind not in "iuf" or not array.size:
                continue
            constant = _oriented(place, index, role, node, array)
            found[constant.role, constant.array.shape].append(constant)
    return found


def _oriented(place: int, index: int, role: str, node: ir.Node, array: Array) -> _Constant:
    """The constant as it would stand in other operators that do the same: products inputs by outputs, vectors flat."""
    dtype, shape = array.dtype, array.shape
    turned = node.op_type == "Gemm" and index == 1 and "transB" in node.attributes
    turned = turned and node.attributes["transB"].as_int() == 1
    wide = np.asarray(array.T if turned else array, np.float64 if dtype.kind == "f" else np.int64)
    if role != "weight":
        wide = wide.reshape(-1)
    return _Constant(
        place, index, role, wide, lambda other: (other.T if turned else other).reshape(shape).astype(dtype)
    )


def _same(x: Array, y: Array) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.linalg.norm((x - y).reshape(-1)) <= _SAME * np.linalg.norm(x.reshape(-1)))


def _relation(role: str, old: Array, new: Array) -> tuple[str, str]:
    """The kind of signature, and in words what became of a constant."""
    if not new.any():
        kind = {"bias": "bias missing", "weight": "zeroed", "scale": "zeroed"}.get(role, _KINDS[role])
        return kind, f"the {role} is zero"
    x, y = old.astype(np.float64), new.astype(np.float64)
    limit = _LEFT * float(np.linalg.norm((y - x).reshape(-1)))
    gain = float(np.vdot(x, y) / max(np.vdot(x, x), 1e-300))
    if np.linalg.norm((y - gain * x).reshape(-1)) <= limit and role in ("weight", "scale", "step"):
        if gain < 0:
            return "sign", f"the {role} is negated" + ("" if gain == -1 else f", with the factor {-gain:.4g}")
        return "gain", f"the {role} is multiplied by the factor {gain:.4g}"
    if role == "weight":
        kinds = {"permuted axes": "transposed weight", "channel order": "weight order", "saturated": "saturated"}
        found = [fit for fit in structural(x, y, limit) if fit.kind in kinds and fit.left <= limit]
        if found:
            return kinds[found[0].kind], f"in the weight {found[0].text}"
        for axis in range(x.ndim):
            left = np.linalg.norm((y - gains_along(x, y, axis) * x).reshape(-1))
            if 1 < x.shape[axis] < x.size and left <= limit:
                return "gain", f"the weight is multiplied by a factor for each index of its axis {axis}"
        levels = len(np.unique(y))
        if levels <= _LEVELS and 4 * levels < len(np.unique(x)):
            return "weight precision", "the weight has few different values: it was rounded"
    return _KINDS[role], f"the {role} holds other numbers"
