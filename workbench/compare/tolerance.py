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
SUMS = _names("Add Mean ReduceMean ReduceSum Sub Sum")
"""Operators whose addends can cancel: the absolute error stays while the signal vanishes."""
STEEP = _names(
    "Cos Cosh Exp Gelu LogSoftmax Mish ReduceLogSumExp ReduceSumExp Sigmoid Sin Sinh Softmax Softplus Swish Tan"
)
"""Operators that turn an absolute error of x into a relative one: exp(x + d) = exp(x)·(1 + d), and d grows with x."""
_STEEPEST = 32.0
STEPS = _names("Ceil Floor Round Sign")
"""Operators of floats that jump: an error that is nothing above a step is all of it at the step. As with integers,
what is bounded is the share of elements that may have jumped, by a difference as large as the signal at the most twice:
``2 · √share``."""

# Relative L2 that a healthy tensor stays under. Isolated: measured on conversions of real models (largest seen 4e-7
# for accumulating and 3e-7 for rounding operators in float32; 1e-2 and 9e-4 in float16) with a margin.
_ISOLATED = {
    "float32": {Kind.EXACT: 1e-7, Kind.ROUNDING: 3e-6, Kind.ACCUMULATING: 2e-5},
    "float16": {Kind.EXACT: 6e-4, Kind.ROUNDING: 2e-3, Kind.ACCUMULATING: 1.2e-2},
}
_ACCUMULATED = {"float32": 1e-4, "float16": 3e-2}
NOISE_MARGIN = 4.0
"""How far above the measured noise of the target's precision an error is a fault: 12 dB. Healthy conversions of real
models stay below 1.6 times (rounding is a matter of luck, and a target may round in more places than its source)."""
_TIGHTER = 4.0
"""Where the noise was measured, it need not be guessed: the table counts a quarter."""
_EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10}
_SPACING = {"float32": 2.0**-149, "float16": 2.0**-24}  # of the values next to zero


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
        isolated_floor: absolute difference that passes whatever the signal; ``accumulated_floor`` likewise.
    """

    isolated: float
    accumulated: float
    isolated_floor: float = 0.0
    accumulated_floor: float = 0.0


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

    def isolated(
        self, operators: Iterable[str], half: bool, names: Iterable[str], peak: float, noise: float | None = None
    ) -> tuple[float, float]:
        """Relative bound and absolute floor of what a layer may add by itself.

        Args:
            operators: of the hub, between the tensor and the matched ones above it, in both models.
            half: whether float16 arithmetic or storage is involved.
            names: operators, layers and tensor of the row, the weaker first.
            peak: the largest magnitude that goes in.
            noise: what the target's precision explains (see :mod:`workbench.compare.noise`), where it was measured.
        """
        operators = set(operators)
        kind, precision = kind_of(operators), "float16" if half else "float32"
        bound = _ISOLATED[precision][kind]
        if operators & STEEP:
            bound *= max(1.0, min(peak, _STEEPEST))
        floor = 2 * _SPACING[precision]
        if operators & SUMS:
            floor = max(floor, 4 * _EPSILON[precision] * peak)
        given = self._given(("isolated", str(kind), *names))
        return (_beside_noise(bound, noise), floor) if given is None else (given, 0.0)

    def accumulated(
        self, operators: Iterable[str], half: bool, names: Iterable[str], peak: float, noise: float | None = None
    ) -> tuple[float, float]:
        """The same for the error that a tensor may have in all (``half``: whether there is float16 anywhere)."""
        operators = set(operators)
        precision = "float16" if half else "float32"
        bound = _ACCUMULATED[precision]
        if operators & STEPS:
            bound = 2 * bound**0.5
        if operators & STEEP:
            bound *= max(1.0, min(peak, _STEEPEST))
        floor = max(2 * _SPACING[precision], bound * peak if operators & SUMS else 0.0)
        given = self._given(("accumulated", *names))
        return (_beside_noise(bound, noise), floor) if given is None else (given, 0.0)

    def _given(self, names: Iterable[str]) -> float | None:
        if not isinstance(self.given, Mapping):
            return self.given
        found = [self.given[name] for name in names if name in self.given]
        return found[-1] if found else None


def _beside_noise(bound: float, noise: float | None) -> float:
    """The bound where the noise of the precision was measured: well above that, whatever the table says."""
    return bound if noise is None else max(bound / _TIGHTER, NOISE_MARGIN * noise)


def judge(metrics: Metrics, bound: float, floor: float) -> str:
    """Why the tensor is beyond its tolerance; ``""`` if it is not. NaN and infinities before numbers.

    For integers, booleans and strings, which have no small errors, the bound is the share of elements that may differ.
    """
    if metrics.pattern:
        return f"NaN or infinity in other places ({metrics.pattern} of {metrics.size})"
    if metrics.mismatches is not None:
        beyond = metrics.mismatches > bound * metrics.size
        return f"{metrics.mismatches} of {metrics.size} elements differ" if beyond else ""
    if metrics.relative_l2 <= bound or metrics.max_abs <= floor:
        return ""
    return f"relative L2 above {bound:.0e} ({power_of_ten(metrics.relative_l2)})"


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
