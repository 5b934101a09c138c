"""How much a tensor may differ before its row fails: by the class of the operators that made it, and by precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from workbench.compare.metrics import Metrics
from workbench.errors import OptionError


class Kind(str, Enum):
    """What rounding an operator does."""

    EXACT = "exact"
    """Moves or selects data: nothing is rounded."""
    ROUNDING = "rounding"
    """Element by element: a few units in the last place."""
    ACCUMULATING = "accumulating"
    """Adds many products up: the order of the additions shows."""

    def __str__(self) -> str:
        return self.value


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


EXACT = _names(
    """Abs And ArgMax ArgMin BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BitShift Cast CastLike Ceil CenterCropPad Clip
    Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Dropout Equal Expand EyeLike
    Flatten Floor Gather GatherElements GatherND GlobalMaxPool Greater GreaterOrEqual Hardmax Identity IsInf IsNaN Less
    LessOrEqual Max MaxPool MaxUnpool Min Neg NonMaxSuppression NonZero Not OneHot Or Pad Range ReduceMax ReduceMin
    Relu Reshape ReverseSequence Round ScatterElements ScatterND SequenceAt SequenceConstruct Shape Sign Size Slice
    SpaceToDepth Split SplitToSequence Squeeze StringConcat StringSplit Tile TopK Transpose Trilu Unique Unsqueeze
    Where Xor"""
)
ROUNDING = _names(
    """Acos Acosh Add Asin Asinh Atan Atanh BatchNormalization Celu Cos Cosh DequantizeLinear Div Elu Erf Exp Gelu
    HardSigmoid HardSwish LeakyRelu Log Mean Mish Mod Mul PRelu Pow QuantizeLinear Reciprocal Selu Shrink Sigmoid Sin
    Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu"""
)
SUMS = _names(
    """Add AveragePool BatchNormalization Conv Gemm GlobalAveragePool GroupNormalization InstanceNormalization
    LayerNormalization MatMul Mean MeanVarianceNormalization ReduceMean ReduceSum Sub Sum"""
)
"""Operators whose addends can cancel: the absolute error stays while the signal vanishes."""

# Relative L2 that a healthy tensor stays under. Isolated: measured on conversions between float32 programs (largest
# seen 1e-6 for accumulating, 3e-7 for rounding operators) with a margin of ten; for float16, 2⁻¹¹ a rounding.
_ISOLATED = {
    "float32": {Kind.EXACT: 1e-7, Kind.ROUNDING: 3e-6, Kind.ACCUMULATING: 2e-5},
    "float16": {Kind.EXACT: 6e-4, Kind.ROUNDING: 2e-3, Kind.ACCUMULATING: 5e-3},
}
_ACCUMULATED = {"float32": 1e-4, "float16": 3e-2}


def kind_of(operators: Iterable[str]) -> Kind:
    """The coarsest class among hub operators (unknown ones, control flow among them, count as accumulating)."""
    names = set(operators)
    if names <= EXACT:
        return Kind.EXACT
    return Kind.ROUNDING if names <= EXACT | ROUNDING else Kind.ACCUMULATING


@dataclass(frozen=True)
class Allowance:
    """What one row may differ by.

    Attributes:
        isolated: relative L2 that the layer may add by itself; ``accumulated``: that it may have in all.
        scale: where addends may cancel, the peak of the addends: differences below tolerance × scale always pass.
    """

    isolated: float
    accumulated: float
    scale: float = 0.0


@dataclass(frozen=True)
class Tolerance:
    """The tolerances of a comparison.

    Args:
        given: ``None`` for the table above; a number is the relative L2 for all rows in both modes; a mapping
            overrides by ``"isolated"`` / ``"accumulated"``, class (``"exact"``, ``"rounding"``, ``"accumulating"``),
            operator of the reference (``"Conv"``, without version), layer or tensor, the later the stronger.

    Raises:
        OptionError: not of these forms, or negative.
    """

    given: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        values = self.given.values() if isinstance(self.given, Mapping) else [self.given]
        for value in values:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
                raise OptionError(
                    f"tolerance: {value!r} is no relative L2 error; give a non-negative number, or a mapping from "
                    "'isolated', 'accumulated', a class, an operator, a layer or a tensor to one."
                )

    def unused(self, names: Iterable[str]) -> list[str]:
        """Keys of a given mapping that mean nothing among these operators, layers and tensors."""
        if not isinstance(self.given, Mapping):
            return []
        known = {"isolated", "accumulated", *map(str, Kind), *names}
        return [name for name in self.given if name not in known]

    def allow(self, kind: Kind, half: bool, names: Iterable[str], scale: float = 0.0) -> Allowance:
        """The allowance of a row.

        Args:
            kind: of the operators between the matched tensors.
            half: whether float16 arithmetic or storage is involved.
            names: operator, layers and tensor of the row, the weaker first.
            scale: see :class:`Allowance`.
        """
        precision = "float16" if half else "float32"
        isolated, accumulated = _ISOLATED[precision][kind], _ACCUMULATED[precision]
        if isinstance(self.given, Mapping):
            isolated = self.given.get("isolated", isolated)
            accumulated = self.given.get("accumulated", accumulated)
            for name in (str(kind), *names):
                if name in self.given:
                    isolated, accumulated = self.given[name], max(self.given[name], accumulated)
        elif self.given is not None:
            isolated = accumulated = float(self.given)
        return Allowance(isolated, accumulated, scale)


def judge(metrics: Metrics, bound: float, scale: float) -> str:
    """Why the tensor is beyond its tolerance; ``""`` if it is not. NaN and infinities before numbers.

    For integers, booleans and strings, which have no small errors, the bound is the share of elements that may differ.
    """
    if metrics.pattern:
        return f"NaN or infinity in other places ({metrics.pattern} of {metrics.size})"
    if metrics.mismatches is not None:
        beyond = metrics.mismatches > bound * metrics.size
        return f"{metrics.mismatches} of {metrics.size} elements differ" if beyond else ""
    if metrics.relative_l2 <= bound or metrics.max_abs <= bound * scale:
        return ""
    return f"relative L2 above {bound:g} ({power_of_ten(metrics.relative_l2)})"


def power_of_ten(value: float) -> str:
    """The least power of ten that the value stays below, for texts that must not vary between machines: ``< 1e-06``."""
    if value == 0:
        return "0"
    if not value < 1e30:
        return "huge"
    exponent = -30
    while value >= 10.0**exponent:
        exponent += 1
    return f"< 1e{exponent:+03d}"
