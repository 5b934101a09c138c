"""Floating point that is narrower than the graph's ``scalar``: carried exactly, rounded where a value is made.

NNEF's ``scalar`` has one precision in a graph. It is the narrowest of float16, float32 and float64 that holds every
floating-point tensor of the model, so a value of a narrower type is kept as it is. Rounding to the narrower type is
arithmetic that has no error of its own: divisions by powers of two, and one sum whose last bit is the wanted one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.hub import HubNode
from workbench.lowering import Refused

if TYPE_CHECKING:
    from workbench.formats.nnef.from_onnx.builder import Builder
    from workbench.formats.nnef.from_onnx.tensor import Tensor


@dataclass(frozen=True)
class Floats:
    """A type of floating-point numbers, as https://onnx.ai/onnx/technical/float8.html and IEEE 754 define them.

    Attributes:
        bits: of the significand, with the one that is not stored.
        least: the exponent of the smallest normal number; below it the numbers are evenly spaced.
        largest: the largest finite number.
        infinite: whether it has infinities; one that has none has NaN for what is too large.
        saturates: whether a cast to it keeps what is too large at the largest number, unless told otherwise.
    """

    bits: int
    least: int
    largest: float
    infinite: bool = True
    saturates: bool = False

    @property
    def top(self) -> int:
        """The exponent of the largest number."""
        return int(np.frexp(self.largest)[1]) - 1

    @property
    def step(self) -> float:
        """The distance between the largest numbers."""
        return float(2.0 ** (self.top - self.bits + 1))

    @property
    def ties_fit(self) -> bool:
        """Whether what lies halfway above the largest number is rounded to it (its last bit is even)."""
        return (self.largest / self.step) % 2 == 0

    def within(self, other: Floats) -> bool:
        """Whether the other type has all numbers of this one, what lies between the smallest of them included."""
        finest = self.least - self.bits >= other.least - other.bits
        return self.bits <= other.bits and finest and self.largest <= other.largest and self.infinite <= other.infinite


FLOATS = {
    "float64": Floats(53, -1022, float(np.finfo(np.float64).max)),
    "float32": Floats(24, -126, float(np.finfo(np.float32).max)),
    "float16": Floats(11, -14, 65504.0),
    "bfloat16": Floats(8, -126, (2 - 2.0**-7) * 2.0**127),
    "float8e4m3fn": Floats(4, -6, 448.0, infinite=False, saturates=True),
    "float8e4m3fnuz": Floats(4, -7, 240.0, infinite=False, saturates=True),
    "float8e5m2": Floats(3, -14, 57344.0, saturates=True),
    "float8e5m2fnuz": Floats(3, -15, 57344.0, infinite=False, saturates=True),
    "float4e2m1": Floats(2, 0, 6.0, infinite=False, saturates=True),
}

KEPT = frozenset(
    "Abs Cast CastLike Ceil Clip Concat DepthToSpace Dropout Expand Flatten Floor Gather GatherElements GatherND "
    "GlobalMaxPool Hardmax Identity Max MaxPool Min Neg OneHot Pad QuantizeLinear ReduceMax ReduceMin Relu Reshape "
    "ReverseSequence Round Sign Slice SpaceToDepth Split Squeeze Tile TopK Transpose Trilu Unsqueeze Where".split()
)
"""Operators whose results are values of their inputs, or small integers, or that round themselves."""


SUMS = frozenset(
    "AveragePool BatchNormalization Conv ConvTranspose CumSum Einsum GRU Gemm GlobalAveragePool GroupNormalization "
    "InstanceNormalization LRN LSTM LayerNormalization LogSoftmax LpNormalization LpPool MatMul Mean RMSNormalization "
    "RNN ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare Resize "
    "Softmax Sum".split()
)
"""Operators of many roundings, whose order shows in a narrow type."""


def scalar_for(dtypes: Iterable[str]) -> str:
    """The precision of ``scalar`` in a graph of these dtypes: the narrowest that holds them all."""
    found = {dtype for dtype in dtypes if dtype in FLOATS}
    if "float64" in found:
        return "float64"
    return "float16" if found == {"float16"} else "float32"


def settle(node: HubNode, b: Builder, dtype: str, result: Tensor) -> Tensor:
    """What the node made, as a value of the dtype that it has in the model.

    float16 and float32 are left with the bits that they have more in a wider graph, which is declared; narrower types
    are rounded.

    Raises:
        Refused: a sum in a narrower type than those two.
    """
    if dtype not in FLOATS or dtype == b.scalar_dtype or result.kind != "scalar" or node.operator in KEPT:
        return result
    if dtype not in ("float16", "float32") and node.operator in SUMS:
        raise Refused(
            f"it sums up in {dtype}, where the order of the roundings shows, and NNEF has no such scalar",
            "bring the model to float32 or float16 first",
        )
    if dtype in ("float16", "float32"):
        node.approximate(
            f"{dtype} is computed in {b.scalar_dtype}: results are not rounded to it, nor do they overflow"
        )
        return result
    return rounded(b, result, dtype)


def rounded(b: Builder, x: Tensor, dtype: str, saturate: bool | None = None) -> Tensor:
    """``x`` rounded to the nearest value of a narrower type, halves to even.

    Args:
        saturate: whether what is too large becomes the largest number, rather than an infinity or NaN; ``None`` is
            the type's own way.
    """
    kind = FLOATS[dtype]
    if kind.bits >= FLOATS[b.scalar_dtype].bits:
        return x
    size = b.op("abs", x)
    scale = _power_below(b, size, kind)
    shift = b.number(2.0 ** (FLOATS[b.scalar_dtype].bits - kind.bits))
    significand = b.op("sub", b.op("add", b.op("div", size, scale), shift), shift)
    near = b.op("mul", significand, scale)
    edge = b.number(kind.largest + kind.step / 2)
    beyond = b.op("gt" if kind.ties_fit else "ge", size, edge)
    near = b.op("select", beyond, _too_large(b, x, kind, saturate), near)
    zero = b.number(0.0)
    if dtype == "float4e2m1":
        near = b.op("select", b.op("eq", x, x), near, zero)  # it has no NaN
    signed = b.op("mul", near, b.op("select", b.op("lt", x, zero), b.number(-1.0), b.number(1.0)))
    if dtype.endswith("fnuz"):
        return b.op("select", b.op("eq", near, zero), zero, signed)  # it has one zero
    return b.op("select", b.op("eq", x, zero), x, signed)  # keeps the sign of zero


def _power_below(b: Builder, size: Tensor, kind: Floats) -> Tensor:
    """The largest power of two that is at most ``size``, of the exponents that the type has."""
    scale: Tensor = b.number(2.0**kind.least)
    for power in reversed(range((kind.top - kind.least).bit_length())):
        wider = b.op("mul", scale, b.number(2.0 ** (1 << power))) if scale.data is None else None
        wider = wider or b.number(2.0 ** (kind.least + (1 << power)))
        scale = b.op("select", b.op("ge", size, wider), wider, scale)
    return scale


def _too_large(b: Builder, x: Tensor, kind: Floats, saturate: bool | None) -> Tensor:
    if kind.saturates if saturate is None else saturate and kind.saturates:
        return b.number(kind.largest)
    return b.const(np.full((1,) * x.rank, np.inf if kind.infinite else np.nan))
