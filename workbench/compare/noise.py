"""How much of a difference the target's float16 explains: the reference, rounded where the target rounds.

A third run beside the two models: the reference in float32, each tensor and constant rounded to float16 whose
counterpart the target holds in float16. What it differs by from the reference is what that precision alone does to this
model on these inputs. A difference that is far above it has another cause, however small it is; one that is not far
above it is no fault, however large. Overflow is never explained: a target that gives infinities is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.compare.match import Matching, Pair
from workbench.compare.metrics import Metrics
from workbench.compare.side import Walk, maker_of
from workbench.precision import half_name, with_rounded

if TYPE_CHECKING:
    from workbench.model import Model

HALF = ir.DataType.FLOAT16


@dataclass(frozen=True)
class Emulated:
    """A stand-in for the target: the reference's own graph with the target's rounding."""

    graph: ir.Model
    name: str
    format: str


@dataclass(frozen=True)
class Noise:
    """What the target's precision alone explains, in the figure that is judged (see :attr:`Metrics.error`).

    Attributes:
        accumulated: of the tensor when everything above it is rounded as well.
        isolated: of the tensor when its layer is fed the reference's tensors.
    """

    accumulated: float | None = None
    isolated: float | None = None


def emulate(reference: Model, own: Walk, target: Walk, pairs: list[Pair]) -> tuple[Emulated, Matching] | None:
    """The stand-in and which of its tensors is which of the reference's; ``None`` where there is nothing to emulate.

    Args:
        own: the walk over the reference; ``target`` likewise.
        pairs: the pairs that are compared.
    """
    stops = {pair.target for pair in pairs}, {pair.reference for pair in pairs}
    rounded: set[str] = set()
    for pair in pairs:
        nodes, _ = target.region(pair.target, stops[0])
        if any(value.dtype is HALF for node in nodes for value in node.outputs):
            region, above = own.region(pair.reference, stops[1])
            floats = [value for node in region for value in node.outputs if value.dtype is ir.DataType.FLOAT]
            rounded.update(value.name for value in floats if value.name)
            rounded.update(above.intersection(own.inputs) if floats else ())
    if not rounded.difference(own.inputs):
        return None
    made = dict.fromkeys(pair.reference for pair in pairs if maker_of(own.values[pair.reference]) is not None)
    links = tuple(Pair(name, half_name(name) if name in rounded else name) for name in made)
    stand_in = Emulated(with_rounded(reference.graph, rounded), f"{reference.name} in float16", reference.format)
    return stand_in, Matching(links, (), {}, {}, frozenset(), "the reference with its tensors rounded")


def noise_of(accumulated: Metrics | None, isolated: Metrics | None) -> Noise:
    """The expected errors that a run of the stand-in has measured; what overflowed in it tells nothing."""
    return Noise(*(None if item is None or item.pattern else item.error for item in (accumulated, isolated)))


def decibels_above(metrics: Metrics | None, expected: float | None) -> float | None:
    """How far an error is above (below: negative) the expected one, in dB; ``None`` where either is unknown or zero."""
    if metrics is None or metrics.pattern or not expected or not metrics.error:
        return None
    return 20 * math.log10(metrics.error / expected)
