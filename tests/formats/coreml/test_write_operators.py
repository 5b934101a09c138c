"""Every lowering of the Core ML writer, at ordinary values and at its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.test_write_bits import CASES as BITS
from tests.formats.coreml.writing import (
    Array,
    Case,
    Const,
    assert_same,
    drafted,
    expected,
    inferred,
    operators_of,
    run_written,
    written,
)
from workbench.formats.coreml.from_onnx import TABLE

RNG = np.random.default_rng(20)


def f(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    return RNG.uniform(low, high, shape).astype(np.float32)


def i(*shape: int, low: int = -9, high: int = 9, dtype: str = "int64") -> Array:
    return RNG.integers(low, high, shape).astype(dtype)


def b(*shape: int) -> Array:
    return RNG.integers(0, 2, shape).astype(bool)


def ints(*values: int) -> Const:
    return Const(np.asarray(values, dtype=np.int64))


def floats(*values: float) -> Const:
    return Const(np.asarray(values, dtype=np.float32))


def scalar(value: float) -> Const:
    return Const(np.asarray(value, dtype=np.float32))


INF, NAN = float("inf"), float("nan")
EDGES = np.asarray([-INF, -3.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.5, INF, NAN], dtype=np.float32)
UNIT = f(3, 4, low=-0.95, high=0.95)
X = f(2, 3, 4)
IMAGE = f(1, 3, 7, 6)


def unary(operator: str, data: Array = X, **keywords: Any) -> Case:
    return Case(operator.lower(), operator, (data,), keywords.pop("attributes", {}), **keywords)


UNARY = [
    *(unary(name) for name in ("Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Neg", "Sigmoid", "Sin", "Sinh", "Tan")),
    *(unary(name) for name in ("Abs", "Reciprocal", "Sign", "Tanh", "Softsign", "Identity", "Gelu", "Elu", "Selu")),
    *(unary(name, rtol=1e-4) for name in ("Softplus", "Mish", "Celu", "HardSigmoid", "HardSwish", "Swish")),
    *(unary(name) for name in ("LeakyRelu", "Relu", "ThresholdedRelu", "Shrink")),
    *(unary(name, UNIT) for name in ("Acos", "Asin", "Atan", "Atanh")),
    unary("Asinh", approximate=True, rtol=1e-5),
    unary("Acosh", f(3, 4, low=1.0, high=9.0), approximate=True, rtol=1e-5),
    unary("Sqrt", f(3, 4, low=0.0, high=9.0)),
    Case("log_of_zero", "Log", (np.asarray([0.0, 1e-30, 1.0, INF, -1.0], np.float32),)),
    Case("round_halves_to_even", "Round", (np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4], np.float32),)),
    Case("isnan", "IsNaN", (EDGES,)),
    Case("isinf", "IsInf", (EDGES,)),
    Case("isinf_positive", "IsInf", (EDGES,), {"detect_negative": 0}),
    Case("isinf_negative", "IsInf", (EDGES,), {"detect_positive": 0}),
    Case("relu_edges", "Relu", (EDGES[:-1],)),
    Case("relu_int", "Relu", (i(3, 4, dtype="int32"),)),
    Case("abs_int", "Abs", (i(3, 4),)),
    Case("neg_int", "Neg", (i(3, 4),)),
    *(Case(f"{name.lower()}_least", name, (np.asarray([-128, -1, 127], np.int8),)) for name in ("Abs", "Neg")),
    Case("sign_int", "Sign", (i(3, 4),)),
    Case("not", "Not", (b(3, 4),)),
    Case("gelu_tanh", "Gelu", (X,), {"approximate": "tanh"}, rtol=1e-4),
    Case("elu_alpha", "Elu", (X,), {"alpha": 0.3}),
    Case("celu_alpha", "Celu", (X,), {"alpha": 2.5}),
    Case("selu_own", "Selu", (X,), {"alpha": 1.2, "gamma": 0.7}),
    Case("swish_alpha", "Swish", (X,), {"alpha": 1.7}),
    Case("thresholdedrelu_at_alpha", "ThresholdedRelu", (np.asarray([0.5, 1.0, 1.5], np.float32),), {"alpha": 1.0}),
    Case("shrink_bias", "Shrink", (X,), {"bias": 0.5, "lambd": 0.7}),
    Case("hardsigmoid_own", "HardSigmoid", (X,), {"alpha": 0.4, "beta": 0.6}),
    Case("clip", "Clip", (X, scalar(-1.0), scalar(0.5)), operations=frozenset({"clip"})),
    Case("clip_low_above_high", "Clip", (X, scalar(1.0), scalar(-1.0))),
    Case("clip_only_low", "Clip", (X, scalar(-1.0))),
    Case("clip_only_high", "Clip", (X, None, scalar(0.25))),
    Case("clip_open", "Clip", (X,)),
    Case("clip_computed_bounds", "Clip", (X, np.asarray(-0.5, np.float32), np.asarray(0.5, np.float32))),
    Case("clip_int", "Clip", (i(3, 4), Const(np.asarray(-2)), Const(np.asarray(5)))),
    Case("dropout", "Dropout", (X,)),
    Case("dropout_mask", "Dropout", (X,), outputs=2),
    Case("cast_from_uint64", "Cast", (i(3, 4, low=0, dtype="uint64"),), {"to": 1}),
    Case("cast_to_uint32", "Cast", (f(3, 4, low=0, high=9),), {"to": 12}),
    Case("cast_to_uint8_wraps", "Cast", (i(3, 4, low=-300, high=300, dtype="int32"),), {"to": 2}),
    Case("dropout_nothing", "Dropout", (X, scalar(0.0), Const(np.asarray(True))), outputs=2),
    Case("identity_scalar", "Identity", (np.asarray(3.5, np.float32),)),
    Case("exp_scalar", "Exp", (np.asarray(1.5, np.float32),)),
    Case("cast_to_int", "Cast", (np.asarray([-2.7, -0.5, 0.5, 2.7], np.float32),), {"to": 7}),
    Case("cast_to_bool", "Cast", (np.asarray([-2.0, 0.0, 0.5], np.float32),), {"to": 9}),
    Case("cast_int_to_float", "Cast", (i(3, 4),), {"to": 1}),
    Case("cast_bool_to_float", "Cast", (b(3, 4),), {"to": 1}),
    Case("cast_to_half", "Cast", (X,), {"to": 10}, rtol=1e-3),
    Case("cast_same", "Cast", (X,), {"to": 1}),
    Case("cast_int_to_uint8_wraps", "Cast", (np.asarray([-1, 0, 255, 256, 300]),), {"to": 2}),
    Case("cast_int_to_int8_wraps", "Cast", (np.asarray([-129, -128, 127, 128, 300]),), {"to": 3}),
    Case("cast_uint8_to_float", "Cast", (i(3, 4, low=0, high=255, dtype="uint8"),), {"to": 1}),
    Case("castlike", "CastLike", (X, Const(np.zeros(1, np.int32)))),
]

BINARY = [
    *(Case(name.lower(), name, (X, f(4))) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *(Case(f"{name.lower()}_scalar", name, (np.asarray(2.5, np.float32), X)) for name in ("Add", "Sub", "Mul", "Div")),
    *(Case(f"{name.lower()}_constant", name, (X, Const(f(3, 1)))) for name in ("Add", "Sub", "Mul", "Div")),
    *(Case(f"{name.lower()}_int", name, (i(3, 4), i(4))) for name in ("Add", "Sub", "Mul", "Max", "Min")),
    Case("div_int_towards_zero", "Div", (np.asarray([7, -7, 7, -7, 0]), np.asarray([2, 2, -2, -2, 3]))),
    Case("div_by_zero", "Div", (np.asarray([1.0, -1.0, 0.0], np.float32), np.zeros(3, np.float32))),
    Case("add_uint8_wraps", "Add", (np.asarray([200, 255], np.uint8), np.asarray([100, 1], np.uint8))),
    Case("sub_uint8_wraps", "Sub", (np.asarray([0, 5], np.uint8), np.asarray([1, 9], np.uint8))),
    Case("mul_int8_wraps", "Mul", (np.asarray([100, -128], np.int8), np.asarray([3, 2], np.int8))),
    Case("mod", "Mod", (np.asarray([7, -7, 7, -7]), np.asarray([3, 3, -3, -3]))),
    Case("mod_fmod_int", "Mod", (np.asarray([7, -7, 7, -7]), np.asarray([3, 3, -3, -3])), {"fmod": 1}),
    Case("mod_fmod", "Mod", (f(3, 4, low=-9, high=9), f(3, 4, low=1, high=3)), {"fmod": 1}, rtol=1e-4, atol=1e-5),
    Case("pow", "Pow", (f(3, 4, low=0.1, high=3), f(4)), rtol=1e-4),
    Case("pow_int_exponent", "Pow", (X, Const(np.asarray(3)))),
    Case("pow_int", "Pow", (i(3, 4), Const(np.asarray(2)))),
    Case("pow_int_zero", "Pow", (i(3, 4), Const(np.asarray(0)))),
    Case("pow_int_each", "Pow", (i(3, 4), Const(np.asarray([0, 1, 2, 5])))),
    Case("pow_int_float", "Pow", (i(2, 3, dtype="int32"), Const(np.asarray([[3.0], [2.0]], np.float32)))),
    Case("pow_int_one", "Pow", (i(3, 4), Const(np.asarray(1)))),
    Case("max_three", "Max", (X, f(4), f(3, 1))),
    Case("min_one", "Min", (X,)),
    Case("sum_three", "Sum", (X, f(4), f(3, 1))),
    Case("mean_three", "Mean", (X, f(4), f(3, 1))),
    Case("less", "Less", (X, f(4))),
    Case("lessorequal", "LessOrEqual", (i(9), i(9))),
    Case("greater", "Greater", (X, f(4))),
    Case("greaterorequal", "GreaterOrEqual", (i(9), i(9))),
    Case("equal", "Equal", (i(3, 4, low=0, high=3), i(4, low=0, high=3))),
    Case("equal_bool", "Equal", (b(3, 4), b(4))),
    *(Case(name.lower(), name, (b(3, 4), b(4))) for name in ("And", "Or", "Xor")),
    Case("where", "Where", (b(3, 4), f(3, 4), f(4))),
    Case("where_int", "Where", (b(3, 4), i(3, 4), Const(np.asarray(7)))),
    Case("where_bool", "Where", (b(3, 4), b(3, 4), b(4))),
    Case("prelu_channel", "PRelu", (IMAGE, Const(f(3, 1, 1))), operations=frozenset({"prelu"})),
    Case("prelu_one", "PRelu", (IMAGE, Const(f(1))), operations=frozenset({"leaky_relu"})),
    Case("prelu_last_axis", "PRelu", (IMAGE, Const(f(6)))),
    Case("prelu_computed", "PRelu", (IMAGE, f(3, 1, 1))),
    Case("prelu_rank_2", "PRelu", (f(3, 4), Const(f(4)))),
]

SOFTMAXES = [
    *(Case(f"{name.lower()}_{axis}", name, (X,), {"axis": axis})
      for name in ("Softmax", "LogSoftmax", "Hardmax") for axis in (0, 1, -1)),
    Case("softmax_large", "Softmax", (np.asarray([[1e4, 1e4 - 1]], np.float32),)),
    Case("logsoftmax_large", "LogSoftmax", (np.asarray([[1e4, -1e4]], np.float32),)),
    Case("hardmax_ties", "Hardmax", (np.asarray([[1, 3, 3], [2, 2, 1]], np.float32),)),
]  # fmt: skip

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
POSITIVE = f(2, 3, 4, low=0.5, high=2.0)

REDUCTIONS = [
    *(Case(f"reduce_{name}".lower(), f"Reduce{name}", (POSITIVE, ints(1))) for name in _REDUCTIONS),
    *(Case(f"reduce_{name}_all".lower(), f"Reduce{name}", (POSITIVE,), {"keepdims": 0}, inferred=name != "LogSumExp")
      for name in _REDUCTIONS),  # coremltools infers no value of a squeeze to a scalar
    *(Case(f"reduce_{name}_flat".lower(), f"Reduce{name}", (POSITIVE, ints(-1, 0)), {"keepdims": 0})
      for name in _REDUCTIONS),
    *(Case(f"reduce_{name}_nothing".lower(), f"Reduce{name}", (POSITIVE, ints()), {"noop_with_empty_axes": 1})
      for name in ("L1", "LogSum", "Sum", "SumSquare")),
    *(Case(f"reduce_{name}_int".lower(), f"Reduce{name}", (i(3, 4), ints(0)))
      for name in ("L1", "Max", "Min", "Prod", "Sum", "SumSquare")),
    *(Case(f"reduce_{name}_bool".lower(), f"Reduce{name}", (b(3, 4), ints(0))) for name in ("Max", "Min")),
    Case("reduce_logsumexp_large", "ReduceLogSumExp", (np.asarray([[1e4, 1e4], [-1e4, -1e4]], np.float32), ints(1))),
    Case("reduce_logsumexp_infinite", "ReduceLogSumExp", (np.asarray([[-INF, 1.0], [INF, 1.0]], np.float32), ints(1))),
    Case("reduce_max_scalar", "ReduceMax", (np.asarray(2.0, np.float32),)),
    *(Case(f"{name.lower()}", name, (X,), {"axis": 1}) for name in ("ArgMax", "ArgMin")),
    *(Case(f"{name.lower()}_flat", name, (X,), {"axis": -1, "keepdims": 0}) for name in ("ArgMax", "ArgMin")),
    Case("argmax_ties_first", "ArgMax", (np.asarray([[1, 3, 3, 0]], np.float32),), {"axis": 1}),
    Case("argmax_ties_last", "ArgMax", (np.asarray([[1, 3, 3, 0]], np.float32),),
         {"axis": 1, "select_last_index": 1}),
    *(Case(f"cumsum_{exclusive}{reverse}", "CumSum", (X, Const(np.asarray(1))),
           {"exclusive": exclusive, "reverse": reverse}, inferred=not exclusive)
      for exclusive in (0, 1) for reverse in (0, 1)),
]  # fmt: skip

MOVES = [
    Case("reshape", "Reshape", (X, ints(4, -1))),
    Case("reshape_zero_copies", "Reshape", (X, ints(0, -1))),
    Case("reshape_to_scalar", "Reshape", (f(1, 1), ints())),
    Case("reshape_from_scalar", "Reshape", (np.asarray(2.0, np.float32), ints(1, 1, 1))),
    Case("reshape_bool", "Reshape", (b(3, 4), ints(12))),
    Case("flatten", "Flatten", (X,), {"axis": 2}),
    Case("flatten_zero", "Flatten", (X,), {"axis": 0}),
    Case("squeeze", "Squeeze", (f(1, 3, 1), ints(-1))),
    Case("squeeze_all", "Squeeze", (f(1, 3, 1),)),
    Case("squeeze_to_scalar", "Squeeze", (f(1, 1),), inferred=False),
    Case("unsqueeze", "Unsqueeze", (X, ints(-1, 0))),
    Case("unsqueeze_scalar", "Unsqueeze", (np.asarray(2.0, np.float32), ints(0, 1))),
    Case("transpose", "Transpose", (X,)),
    Case("transpose_perm", "Transpose", (X,), {"perm": [1, 0, 2]}),
    Case("transpose_bool", "Transpose", (b(3, 4),)),
    Case("concat", "Concat", (X, f(2, 1, 4)), {"axis": -2}),
    Case("concat_one", "Concat", (X,), {"axis": 0}),
    Case("concat_int", "Concat", (i(3), Const(i(2))), {"axis": 0}),
    Case("concat_bool", "Concat", (b(3), b(2)), {"axis": 0}),
    Case("split_even", "Split", (f(2, 6),), {"axis": 1, "num_outputs": 3}, outputs=3),
    Case("split_uneven", "Split", (f(2, 7),), {"axis": 1, "num_outputs": 3}, outputs=3),
    Case("split_sizes", "Split", (f(2, 7), ints(1, 4, 2)), {"axis": -1}, outputs=3),
    Case("split_int", "Split", (i(6), ints(2, 4)), {"axis": 0}, outputs=2),
    Case("slice", "Slice", (X, ints(0, 1), ints(2, 3), ints(1, 2))),
    Case("slice_negative", "Slice", (X, ints(-3), ints(-1), ints(-1))),
    Case("slice_beyond", "Slice", (X, ints(1), ints(np.iinfo(np.int64).max), ints(2))),
    Case("slice_one_with_a_huge_step", "Slice", (X, ints(1), ints(9), ints(1), ints(np.iinfo(np.int64).max))),
    Case("slice_step", "Slice", (f(3, 9), ints(1), ints(9), ints(1), ints(3))),
    Case("slice_backwards", "Slice", (f(3, 9), ints(-1), ints(np.iinfo(np.int64).min), ints(1), ints(-2))),
    Case("slice_backwards_part", "Slice", (f(3, 9), ints(7), ints(2), ints(1), ints(-2))),
    Case("slice_whole", "Slice", (X, ints(0), ints(99), ints(0))),
    Case("slice_int", "Slice", (i(9), ints(2), ints(5))),
    Case("slice_bool", "Slice", (b(9), ints(2), ints(5))),
    Case("expand", "Expand", (f(3, 1), ints(2, 3, 4))),
    Case("expand_smaller_shape", "Expand", (f(3, 4), ints(1, 1))),
    Case("expand_scalar", "Expand", (np.asarray(2.0, np.float32), ints(2, 3))),
    Case("expand_bool", "Expand", (b(1, 3), ints(2, 3))),
    Case("tile", "Tile", (f(2, 3), ints(2, 3))),
    Case("tile_ones", "Tile", (f(2, 3), ints(1, 1))),
    Case("depthtospace_dcr", "DepthToSpace", (f(2, 12, 2, 3),), {"blocksize": 2}, inferred=False),
    Case("depthtospace_crd", "DepthToSpace", (f(2, 12, 2, 3),), {"blocksize": 2, "mode": "CRD"}, inferred=False),
    Case("spacetodepth", "SpaceToDepth", (f(2, 3, 4, 6),), {"blocksize": 2}, inferred=False),
    *(Case(f"trilu_{upper}_{offset}", "Trilu", (f(2, 4, 5), Const(np.asarray(offset))), {"upper": upper})
      for upper in (0, 1) for offset in (-1, 0, 2)),
    Case("trilu_hides_nan", "Trilu", (np.asarray([[1.0, NAN], [2.0, 3.0]], np.float32),), {"upper": 0}),
    Case("trilu_int", "Trilu", (i(3, 3),)),
    Case("eyelike", "EyeLike", (f(3, 4),), {"k": 1}),
    Case("reversesequence", "ReverseSequence", (f(4, 3, 2), Const(np.asarray([1, 2, 4]))),
         {"time_axis": 0, "batch_axis": 1}, inferred=False),
    Case("pad_constant", "Pad", (f(2, 3), ints(0, 1, 2, 0), scalar(1.5))),
    Case("pad_axes", "Pad", (X, ints(1, 2), None, ints(-1))),
    Case("pad_crops", "Pad", (f(4, 5), ints(-1, 1, 0, -2))),
    Case("pad_int", "Pad", (i(2, 3), ints(0, 1, 2, 0), Const(np.asarray(7)))),
    Case("pad_bool", "Pad", (b(2, 3), ints(0, 1, 2, 0))),
    Case("pad_nothing", "Pad", (f(2, 3), ints(0, 0, 0, 0))),
    *(Case(f"pad_{mode}", "Pad", (f(1, 2, 4, 5), ints(0, 0, 1, 2, 0, 0, 2, 1)), {"mode": mode})
      for mode in ("reflect", "edge", "wrap")),
    Case("pad_reflect_first_axis", "Pad", (f(4, 2, 3), ints(2, 0, 0, 1, 0, 0)), {"mode": "reflect"}),
    Case("pad_edge_int", "Pad", (i(3, 4), ints(0, 1, 0, 2)), {"mode": "edge"}),
]  # fmt: skip

INDEXING = [
    Case("gather", "Gather", (X, Const(np.asarray([[0, 2], [1, 1]]))), {"axis": 1}),
    Case("gather_negative", "Gather", (X, Const(np.asarray([-1, 0]))), {"axis": 2}),
    Case("gather_scalar", "Gather", (X, Const(np.asarray(-1))), {"axis": 1}),
    Case("gather_computed", "Gather", (X, np.asarray([-1, 0, 2])), {"axis": 1}),
    Case("gather_computed_scalar", "Gather", (X, np.asarray(-2)), {"axis": 1}),
    Case("gather_int", "Gather", (i(5, 2), np.asarray([4, 0]))),
    Case("gather_bool", "Gather", (b(5, 2), np.asarray([4, 0]))),
    Case("gatherelements", "GatherElements", (f(3, 3), np.asarray([[0, -1], [2, 1]])), {"axis": 1}),
    Case("gatherelements_axis0", "GatherElements", (f(3, 2), Const(np.asarray([[0, -1], [2, 1]]))), {"axis": 0}),
    Case("gathernd", "GatherND", (X, Const(np.asarray([[0, 1], [1, -1]]))), inferred=False),
    Case("gathernd_batch", "GatherND", (X, np.asarray([[1], [-1]])), {"batch_dims": 1}, inferred=False),
    *(Case(f"scatterelements_{mode}", "ScatterElements",
           (f(3, 4), Const(np.asarray([[0, 1, -1, 0]])), f(1, 4)), {"axis": 0, "reduction": mode},
           inferred=mode == "none")  # coremltools' inference forgets the mode
      for mode in ("none", "add", "mul", "min", "max")),
    Case("scatterelements_computed", "ScatterElements", (f(3, 4), np.asarray([[2, -1]]), f(1, 2)), {"axis": 1}),
    *(Case(f"scatternd_{mode}", "ScatterND", (f(5, 2), Const(np.asarray([[1], [-1]])), f(2, 2)), {"reduction": mode},
           inferred=False) for mode in ("none", "add", "mul", "min", "max")),
    Case("onehot", "OneHot", (np.asarray([0, -1, 2, 7]), Const(np.asarray(3)), floats(0.5, 2.0))),
    Case("onehot_axis", "OneHot", (np.asarray([[0, 1], [2, 0]]), Const(np.asarray(3)), floats(0, 1)), {"axis": 1}),
    Case("onehot_int", "OneHot", (np.asarray([0, 2]), Const(np.asarray(3)), ints(0, 5))),
    Case("topk", "TopK", (X, ints(2)), {"axis": 1}, outputs=2),
    Case("topk_smallest", "TopK", (X, ints(3)), {"axis": -1, "largest": 0}, outputs=2),
]  # fmt: skip

KERNEL = Const(f(4, 3, 3, 2))
WINDOWS = [
    Case("conv", "Conv", (IMAGE, KERNEL, Const(f(4))), inferred=False),
    Case("conv_pads", "Conv", (IMAGE, KERNEL), {"pads": [1, 0, 2, 1], "strides": [2, 1]}, inferred=False),
    Case("conv_dilated", "Conv", (IMAGE, KERNEL), {"dilations": [2, 3]}, inferred=False),
    *(Case(f"conv_{auto.lower()}", "Conv", (IMAGE, KERNEL), {"auto_pad": auto, "strides": [2, 2]}, inferred=False)
      for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    Case("conv_groups", "Conv", (f(1, 4, 5, 5), Const(f(6, 2, 3, 3))), {"group": 2}, inferred=False),
    Case("conv_depthwise", "Conv", (IMAGE, Const(f(3, 1, 3, 3))), {"group": 3}, inferred=False),
    Case("conv_1d", "Conv", (f(2, 3, 9), Const(f(4, 3, 3)), Const(f(4))), inferred=False),
    Case("conv_3d", "Conv", (f(1, 2, 4, 5, 6), Const(f(3, 2, 2, 2, 2))), inferred=False),
    Case("conv_computed_weight", "Conv", (IMAGE, f(4, 3, 3, 2), f(4)), inferred=False),
    Case("convtranspose", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 3, 3)), Const(f(2))), inferred=False),
    Case("convtranspose_strides", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 3, 3))),
         {"strides": [2, 3], "pads": [1, 0, 1, 2]}, inferred=False),
    Case("convtranspose_output_padding", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 3, 3)), Const(f(2))),
         {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, inferred=False),
    Case("convtranspose_beyond", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 2, 2)), Const(f(2))),
         {"strides": [3, 3], "output_padding": [2, 1]}, inferred=False),
    Case("convtranspose_output_shape", "ConvTranspose", (f(1, 1, 3, 3), Const(f(1, 2, 3, 3))),
         {"strides": [3, 2], "output_shape": [10, 8]}, inferred=False),
    *(Case(f"convtranspose_{auto.lower()}", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 3, 3))),
           {"strides": [2, 2], "auto_pad": auto}, inferred=False) for auto in ("SAME_UPPER", "SAME_LOWER")),
    Case("convtranspose_groups", "ConvTranspose", (f(1, 4, 3, 3), Const(f(4, 2, 2, 2))), {"group": 2},
         inferred=False),
    Case("convtranspose_1d", "ConvTranspose", (f(1, 3, 5), Const(f(3, 2, 3))), {"strides": [2]}, inferred=False),
    Case("convtranspose_dilated", "ConvTranspose", (f(1, 3, 4, 5), Const(f(3, 2, 2, 2))), {"dilations": [2, 2]},
         inferred=False),
    Case("maxpool", "MaxPool", (IMAGE,), {"kernel_shape": [3, 2]}, inferred=False),
    Case("maxpool_pads", "MaxPool", (IMAGE - 9,), {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "strides": [2, 2]},
         inferred=False),
    Case("maxpool_ceil", "MaxPool", (IMAGE - 9,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
         inferred=False),
    Case("maxpool_dilated", "MaxPool", (IMAGE,), {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("maxpool_same", "MaxPool", (IMAGE,), {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}, inferred=False),
    Case("maxpool_indices", "MaxPool", (IMAGE,), {"kernel_shape": [3, 2], "strides": [2, 1]}, outputs=2),
    Case("maxpool_indices_pads", "MaxPool", (f(2, 2, 5, 4) - 9,),
         {"kernel_shape": [3, 3], "pads": [1, 1, 1, 0], "ceil_mode": 1, "strides": [2, 2]}, outputs=2),
    Case("maxpool_indices_columns", "MaxPool", (f(2, 2, 5, 4),),
         {"kernel_shape": [2, 2], "storage_order": 1}, outputs=2),
    Case("maxpool_indices_ties", "MaxPool", (np.full((1, 1, 3, 3), -INF, np.float32),),
         {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, outputs=2),
    Case("maxpool_1d", "MaxPool", (f(1, 3, 9),), {"kernel_shape": [3]}, inferred=False),
    Case("maxpool_3d", "MaxPool", (f(1, 2, 4, 5, 6),), {"kernel_shape": [2, 2, 3]}, inferred=False),
    Case("maxpool_uint8", "MaxPool", (i(1, 2, 4, 4, low=0, high=255, dtype="uint8"),), {"kernel_shape": [2, 2]},
         inferred=False),
    *(Case(f"averagepool_{'in' if count else 'ex'}clude", "AveragePool", (IMAGE,),
           {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "count_include_pad": count}, inferred=False)
      for count in (0, 1)),
    *(Case(f"averagepool_ceil_{'in' if count else 'ex'}clude", "AveragePool", (IMAGE,),
           {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1,
            "count_include_pad": count}, inferred=False) for count in (0, 1)),
    *(Case(f"averagepool_dilated_{'in' if count else 'ex'}clude", "AveragePool", (IMAGE,),
           {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": count})
      for count in (0, 1)),
    Case("averagepool_same", "AveragePool", (IMAGE,), {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER",
         "strides": [2, 2]}, inferred=False),
    *(Case(f"lppool_{power}", "LpPool", (IMAGE,), {"kernel_shape": [2, 2], "p": power, "pads": [1, 1, 0, 0]},
           rtol=1e-4) for power in (1, 2, 3)),
    *(Case(name.lower(), name, (IMAGE,), operations=frozenset({operation}))
      for name, operation in (("GlobalAveragePool", "reduce_mean"), ("GlobalMaxPool", "reduce_max"))),
    *(Case(f"globallppool_{power}", "GlobalLpPool", (IMAGE,), {"p": power}, rtol=1e-4) for power in (1, 2, 3)),
]  # fmt: skip

CHANNELS = [Const(f(3, low=0.5, high=1.5)) for _ in range(4)]
NORMS = [
    Case("batchnorm", "BatchNormalization", (IMAGE, *CHANNELS), {"epsilon": 0.01}, inferred=False),
    Case("batchnorm_rank_2", "BatchNormalization", (f(4, 3), *CHANNELS)),
    Case("batchnorm_computed", "BatchNormalization", (IMAGE, *(item.array for item in CHANNELS))),
    Case("instancenorm", "InstanceNormalization", (IMAGE, *CHANNELS[:2]), {"epsilon": 0.01}, inferred=False),
    Case("instancenorm_1d", "InstanceNormalization", (X, *CHANNELS[:2]), inferred=False),
    Case("instancenorm_3d", "InstanceNormalization", (f(1, 3, 2, 3, 4), *CHANNELS[:2])),
    Case("layernorm", "LayerNormalization", (X, Const(f(4)), Const(f(4)))),
    Case("layernorm_axis", "LayerNormalization", (X, Const(f(3, 4))), {"axis": 1, "epsilon": 0.1}),
    Case("layernorm_broadcast", "LayerNormalization", (X, Const(f(4)), Const(f(1))), {"axis": 1}),
    Case("layernorm_computed", "LayerNormalization", (X, f(4), f(4))),
    Case("layernorm_statistics", "LayerNormalization", (X, Const(f(4)), Const(f(4))), outputs=3),
    Case("groupnorm", "GroupNormalization", (f(2, 6, 4, 3), Const(f(6)), Const(f(6))), {"num_groups": 2},
         rtol=1e-4, atol=1e-5),
    Case("rmsnorm", "RMSNormalization", (X, Const(f(4)))),
    Case("meanvariance", "MeanVarianceNormalization", (IMAGE,), rtol=1e-4),
    Case("lrn", "LRN", (f(1, 7, 3, 3),), {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.5}, inferred=False),
    *(Case(f"lpnorm_{power}", "LpNormalization", (X,), {"p": power, "axis": 1}) for power in (1, 2)),
    Case("lpnorm_of_zero", "LpNormalization", (np.asarray([[0.0, 0.0], [3.0, 4.0]], np.float32),), {"axis": 1}),
]  # fmt: skip

PRODUCTS = [
    *(Case(f"matmul_{'x'.join(map(str, a))}_{'x'.join(map(str, c))}", "MatMul", (f(*a), f(*c)))
      for a, c in (((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2)))),
    Case("matmul_weight", "MatMul", (f(2, 3, 4), Const(f(4, 5)))),
    Case("matmul_int", "MatMul", (i(3, 4, dtype="int32"), i(4, 5, dtype="int32"))),
    Case("gemm", "Gemm", (f(3, 4), Const(f(4, 5)), Const(f(5))), operations=frozenset({"linear"})),
    Case("gemm_transposed", "Gemm", (f(3, 4), Const(f(5, 4)), Const(f(1, 5))), {"transB": 1, "beta": 0.5},
         operations=frozenset({"linear"})),
    Case("gemm_scaled", "Gemm", (f(4, 3), f(4, 5), f(3, 5)), {"transA": 1, "alpha": 0.3, "beta": 2.0}),
    Case("gemm_column", "Gemm", (f(3, 4), Const(f(4, 5)), Const(f(3, 1)))),
    Case("gemm_scalar", "Gemm", (f(3, 4), Const(f(4, 5)), Const(f(1)))),
    Case("gemm_without", "Gemm", (f(3, 4), f(4, 5))),
    *(Case(f"einsum_{equation}", "Einsum", operands, {"equation": equation}, rtol=1e-4) for equation, operands in (
        ("ij,jk->ik", (f(3, 4), f(4, 5))), ("bij,bjk->bik", (f(2, 3, 4), f(2, 4, 5))),
        ("bhqd,bhkd->bhqk", (f(2, 2, 3, 4), f(2, 2, 5, 4))), ("ij->ji", (f(3, 4),)), ("ij->i", (f(3, 4),)),
        ("i,j->ij", (f(3), f(4))), ("ij,ij->", (f(3, 4), f(3, 4))), ("ij,j", (f(3, 4), f(4))),
        ("abc,cd->dab", (f(2, 3, 4), f(4, 5))), ("...ii->...i", (f(2, 3, 3),)), ("iij->j", (f(3, 3, 4),)),
        ("iii", (f(3, 3, 3),)), ("...ij,jk", (f(2, 5, 3, 4), f(4, 3))), ("i...,...j->...", (f(3, 2), f(2, 4))),
        ("ij,jk,kl->il", (f(2, 3), f(3, 4), f(4, 5))), ("a,b,c->cab", (f(2), f(3), f(4))))),
]  # fmt: skip


def recurrent(name: str, operator: str, gates: int, **more: Any) -> Case:
    """Five steps, batch 2, three features, hidden 4."""
    directions = 2 if more.get("direction") == "bidirectional" else 1
    outputs = more.pop("outputs", 2 if operator != "LSTM" else 3)
    steps = (2, 5) if more.get("layout") else (5, 2)
    initial = (2, directions) if more.get("layout") else (directions, 2)
    extra = more.pop("extra", ())
    inputs = (
        f(*steps, 3), Const(f(directions, gates * 4, 3)), Const(f(directions, gates * 4, 4)),
        Const(f(directions, 2 * gates * 4)), None, f(*initial, 4), *extra,
    )  # fmt: skip
    computed = operator == "GRU"
    return Case(name, operator, inputs, {"hidden_size": 4, **more}, outputs, inferred=computed, rtol=1e-4, atol=1e-5)


RECURRENT = [
    recurrent("lstm", "LSTM", 4, extra=(f(1, 2, 4),)),
    recurrent("lstm_reverse", "LSTM", 4, extra=(f(1, 2, 4),), direction="reverse"),
    recurrent("lstm_bidirectional", "LSTM", 4, extra=(f(2, 2, 4),), direction="bidirectional"),
    recurrent("lstm_peepholes", "LSTM", 4, extra=(f(1, 2, 4), Const(f(1, 12)))),
    recurrent("lstm_activations", "LSTM", 4, activations=["Sigmoid", "Relu", "Tanh"]),
    recurrent("gru", "GRU", 3),
    recurrent("gru_after", "GRU", 3, linear_before_reset=1),
    recurrent("gru_bidirectional", "GRU", 3, direction="bidirectional"),
    recurrent("gru_reverse_after", "GRU", 3, direction="reverse", linear_before_reset=1),
    recurrent("rnn", "RNN", 1),
    recurrent("rnn_relu_bidirectional", "RNN", 1, direction="bidirectional", activations=["Relu", "Tanh"]),
]

SMALL = f(1, 2, 4, 5)


def resize(name: str, sizes: tuple[int, ...], inferred: bool = True, **attributes: Any) -> Case:
    inputs = (SMALL, None, None, ints(1, 2, *sizes))
    return Case(name, "Resize", inputs, attributes, inferred=inferred, rtol=1e-4, atol=1e-5)


_TRANSFORMATIONS = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
RESIZES = [
    resize("resize_nearest_whole", (8, 10), inferred=False, coordinate_transformation_mode="asymmetric",
           nearest_mode="floor"),
    resize("resize_nearest_down", (2, 2), coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    *(resize(f"resize_nearest_{mode}", (7, 3), nearest_mode=mode)
      for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")),
    *(resize(f"resize_linear_{mode}", (7, 3), mode="linear", coordinate_transformation_mode=mode)
      for mode in _TRANSFORMATIONS),
    *(resize(f"resize_cubic_{mode}", (7, 9), mode="cubic", coordinate_transformation_mode=mode)
      for mode in _TRANSFORMATIONS),
    resize("resize_cubic_exclude", (7, 9), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    resize("resize_same", (4, 5), mode="linear"),
    Case("resize_scales", "Resize", (SMALL, None, floats(1, 1, 1.7, 0.6)), {"mode": "linear"}, rtol=1e-4),
    resize("resize_antialias", (3, 2), mode="linear", antialias=1),
    resize("resize_antialias_up", (5, 9), mode="linear", antialias=1),
    Case("resize_kept_size", "Resize", (SMALL, None, floats(1, 1, 1.2, 0.6)), {"mode": "linear"}, rtol=1e-4),
    Case("resize_crop", "Resize", (SMALL, floats(0, 0, 0.2, -0.5, 1, 1, 0.8, 1.2), None, ints(1, 2, 3, 7)),
         {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0},
         rtol=1e-4),
    Case("resize_crop_nearest", "Resize", (SMALL, floats(0, 0, 0, 0.1, 1, 1, 1, 0.9), None, ints(1, 2, 1, 5)),
         {"coordinate_transformation_mode": "tf_crop_and_resize"}, inferred=False),
    Case("resize_channels", "Resize", (SMALL, None, None, ints(1, 4, 4, 5)), {"mode": "linear"}, rtol=1e-4),
]  # fmt: skip

QUANTIZATION = [
    Case("quantize", "QuantizeLinear", (f(3, 4, low=-9, high=9), scalar(0.05), Const(np.asarray(10, np.int8)))),
    Case("quantize_axis", "QuantizeLinear", (X, floats(0.05, 0.1, 0.2), Const(np.asarray([1, 2, 3], np.uint8)))),
    Case("dequantize", "DequantizeLinear", (i(3, 4, dtype="int8"), scalar(0.05), Const(np.asarray(3, np.int8)))),
    Case("dequantize_axis", "DequantizeLinear", (i(2, 3, dtype="uint8", low=0), floats(0.05, 0.1, 0.2))),
]

CASES = [
    *UNARY, *BINARY, *SOFTMAXES, *REDUCTIONS, *MOVES, *INDEXING, *WINDOWS, *NORMS, *PRODUCTS, *RECURRENT, *RESIZES,
    *QUANTIZATION,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_written_model_computes_the_same(case: Case) -> None:
    proto = case.model()
    made = drafted(proto)
    assert [str(outcome.verdict) for outcome in made.outcomes] in (
        [["approximate" if case.approximate else "exact"], []]  # nothing is left where the node was folded
    ), made.outcomes
    document = written(proto)
    assert case.operations <= set(operators_of(document))
    want = expected(case)
    got = run_written(document, case.feeds)
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert_same(got[name], array, case)


@pytest.mark.parametrize("case", [case for case in CASES if case.inferred], ids=str)
def test_coremltools_infers_the_same_values(case: Case) -> None:
    want = expected(case)
    for name, array in inferred(case.model(), case.feeds).items():
        assert array is not None, "coremltools cannot compute it; say inferred=False"
        assert_same(array, want[name], case)


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS18", "iOS26"])
@pytest.mark.parametrize("case", [case for case in CASES[::9] if case.name != "gathernd_batch"], ids=str)
def test_other_targets(case: Case, target: str) -> None:
    """A sample for each: the operators' definitions changed with iOS16, iOS17 and iOS18."""
    want, got = expected(case), run_written(written(case.model(), target=target), case.feeds)
    for name, array in want.items():
        assert_same(got[name], array, case)


def test_every_lowering_has_a_case() -> None:
    tested = {case.operator for case in (*CASES, *BITS)}
    elsewhere = {
        *("Constant", "ConstantOfShape"),  # folded by the hub, or refused: test_write_refusals
        *("NonMaxSuppression", "NonZero", "Range"),  # test_write_lengths
        *("Shape", "Size"),  # folded by the hub, or of open sizes: test_write_flexible
        *("If", "Loop"),  # test_write_control
        # test_write_bits, by their distributions
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    }
    assert {entry.operator for entry in TABLE} - tested == elsewhere
