"""Cases that onnx's node tests leave out: one node, converted to NNEF and back, against onnxruntime on the original."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.single_node import model_around
from workbench import ConversionError, Model, Verdict, load

Array = NDArray[Any]


def normal(*shape: int, dtype: str = "f4") -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """A node: its computed inputs, its constant ones (``None`` omits one), attributes; ``verdict`` is the plan's."""

    operator: str
    inputs: tuple[Array, ...]
    constants: tuple[Array | None, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    verdict: Verdict = Verdict.EXACT


def int64(*values: int) -> Array:
    return np.asarray(values, np.int64)


def recurrent(operator: str, gates: int, direction: str, states: int, **attributes: Any) -> Case:
    ways = 2 if direction == "bidirectional" else 1
    parameters = (normal(ways, gates * 5, 3), normal(ways, gates * 5, 5), normal(ways, 2 * gates * 5))
    initial = tuple(normal(ways, 2, 5) for _ in range(states))
    return Case(
        operator,
        (normal(4, 2, 3),),
        (*parameters, None, *initial),
        {"hidden_size": 5, "direction": direction, **attributes},
        outputs=1 + states,
    )


CASES: dict[str, Case] = {
    **{f"LSTM {way}": recurrent("LSTM", 4, way, 2) for way in ("forward", "reverse", "bidirectional")},
    "LSTM coupled": recurrent("LSTM", 4, "bidirectional", 2, input_forget=1),
    **{f"GRU {way}": recurrent("GRU", 3, way, 1) for way in ("forward", "reverse", "bidirectional")},
    "GRU linear before reset": recurrent("GRU", 3, "bidirectional", 1, linear_before_reset=1),
    **{f"RNN {way}": recurrent("RNN", 1, way, 1) for way in ("forward", "bidirectional")},
    **{
        f"Resize {mode}, a crop beyond the picture": Case(
            "Resize",
            (normal(1, 2, 5, 6),),
            (np.asarray([-0.2, 0.3, 0.8, 1.4], np.float32), None, int64(4, 7)),
            {
                "mode": mode,
                "axes": [2, 3],
                "coordinate_transformation_mode": "tf_crop_and_resize",
                "extrapolation_value": 7.5,
            },
        )
        for mode in ("linear", "nearest")
    },
    **{
        f"MaxPool with indices, {name}": Case("MaxPool", (x,), (), {**attributes}, outputs=2)
        for name, x, attributes in (
            ("padded", normal(2, 3, 7, 6), {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 2]}),
            ("ceiled", normal(2, 3, 6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
            ("by columns", normal(2, 3, 6, 7), {"kernel_shape": [2, 3], "storage_order": 1}),
            ("padded in 3 axes", normal(1, 2, 4, 5, 6), {"kernel_shape": [2, 2, 2], "pads": [1, 1, 1, 1, 1, 1]}),
            ("padded in 1 axis", normal(2, 2, 9), {"kernel_shape": [3], "pads": [1, 1]}),
            ("of negative numbers", -abs(normal(1, 1, 3, 3)), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        )
    },
    "Cast truncates": Case("Cast", (normal(3, 4) * 5,), attributes={"to": TensorProto.INT64}),
    "Cast from integer": Case("Cast", (np.arange(6),), attributes={"to": TensorProto.FLOAT}),
    "Cast to logical": Case("Cast", (normal(3, 4).round(),), attributes={"to": TensorProto.BOOL}),
    "Cast from logical": Case("Cast", (normal(3, 4) > 0,), attributes={"to": TensorProto.FLOAT}),
    "Cast narrows": Case(
        "Cast", (normal(3, 4) * 5,), attributes={"to": TensorProto.INT32}, verdict=Verdict.APPROXIMATE
    ),
    "Add broadcasts on the right": Case("Add", (normal(2, 3, 4), normal(4))),
    "Add of a constant row": Case("Add", (normal(2, 3, 4),), (normal(3, 1),)),
    "Add raises the rank": Case("Add", (normal(4),), (normal(1, 1, 1),)),
    "Add of integers": Case("Add", (np.arange(6), np.arange(6) - 3), verdict=Verdict.APPROXIMATE),
    "Div of integers truncates": Case("Div", (np.arange(-6, 6), np.full(12, 4)), verdict=Verdict.APPROXIMATE),
    "Mod of integers": Case("Mod", (np.arange(-6, 6), np.full(12, 4)), verdict=Verdict.APPROXIMATE),
    "Clip with bounds crossed": Case("Clip", (normal(3, 4),), (np.float32(0.5), np.float32(-0.5))),
    "Clip above only": Case("Clip", (normal(3, 4),), (None, np.float32(0.5))),
    "Where mixes ranks": Case("Where", (normal(3, 1) > 0, normal(2, 3, 4)), (np.float32(-7),)),
    "Gather one": Case("Gather", (normal(3, 4),), (np.asarray(-1),), {"axis": 1}),
    "Gather several": Case("Gather", (normal(3, 4),), (np.asarray([[0, -1], [2, 2]]),)),
    "Gather computed": Case("Gather", (normal(5, 4), int64(0, -1, 3))),
    "Gather computed scalar": Case("Gather", (normal(5, 4), np.asarray(-2))),
    "Slice backwards to the first": Case("Slice", (normal(3, 6),), (int64(5), int64(-(2**63)), int64(1), int64(-2))),
    "Slice ends at zero from behind": Case("Slice", (normal(3, 6),), (int64(-4), int64(6), int64(-1))),
    "Pad crops and pads": Case("Pad", (normal(1, 2, 5, 6),), (int64(0, 0, -1, 2, 0, 0, 1, -3), np.float32(1.5))),
    "Pad a matrix by reflection": Case("Pad", (normal(4, 6),), (int64(0, 2, 0, 3),), {"mode": "reflect"}),
    "Pad batch and channels": Case("Pad", (normal(1, 2, 3, 4),), (int64(1, 0, 0, 0, 0, 2, 0, 0),)),
    "Gemm with everything": Case(
        "Gemm", (normal(4, 3),), (normal(4, 5), normal(1, 5)), {"transA": 1, "alpha": 0.5, "beta": 2.0}
    ),
    "Gemm as linear": Case("Gemm", (normal(4, 3),), (normal(5, 3), normal(5)), {"transB": 1}),
    "MatMul of a vector": Case("MatMul", (normal(3), normal(2, 3, 4))),
    "MatMul broadcasts batches": Case("MatMul", (normal(5, 1, 2, 3), normal(4, 3, 6))),
    "Conv same lower": Case(
        "Conv", (normal(1, 2, 7, 6),), (normal(3, 2, 4, 3),), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}
    ),
    "Conv 1d": Case("Conv", (normal(1, 2, 9),), (normal(4, 1, 3), normal(4)), {"group": 2, "dilations": [2]}),
    "ConvTranspose output padding": Case(
        "ConvTranspose",
        (normal(1, 3, 4, 5),),
        (normal(3, 2, 3, 3), normal(2)),
        {"strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]},
    ),
    "ConvTranspose output shape": Case(
        "ConvTranspose", (normal(1, 2, 4, 4),), (normal(2, 1, 3, 3),), {"strides": [2, 2], "output_shape": [8, 8]}
    ),
    "ConvTranspose same upper": Case(
        "ConvTranspose", (normal(1, 2, 4, 4),), (normal(2, 1, 3, 3),), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}
    ),
    "MaxPool rounds up": Case(
        "MaxPool", (-abs(normal(1, 2, 7, 6)),), attributes={"kernel_shape": [3, 2], "strides": [2, 4], "ceil_mode": 1}
    ),
    "AveragePool rounds up, zeros counted": Case(
        "AveragePool",
        (normal(1, 2, 6, 6),),
        attributes={
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "pads": [0, 1, 0, 0],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
    ),
    "ReduceMean without keeping": Case("ReduceMean", (normal(2, 3, 4),), (int64(-1, 0),), {"keepdims": 0}),
    "ReduceMax of logical": Case("ReduceMax", (normal(2, 3, 4) > 1,), (int64(2),)),
    "ArgMax without keeping": Case("ArgMax", (normal(2, 3, 4),), attributes={"axis": -1, "keepdims": 0}),
    "CumSum reversed": Case("CumSum", (normal(2, 3, 4),), (np.asarray(1),), {"reverse": 1, "exclusive": 1}),
    "Resize linear": Case("Resize", (normal(1, 2, 4, 5),), (None, None, int64(1, 2, 7, 3)), {"mode": "linear"}),
    "Resize cubic": Case("Resize", (normal(1, 2, 4, 5),), (None, np.asarray([1, 1, 2, 2], "f4")), {"mode": "cubic"}),
    "Resize nearest": Case("Resize", (normal(1, 2, 4, 5),), (None, None, int64(1, 2, 9, 3)), {"mode": "nearest"}),
    "Erf": Case("Erf", (np.linspace(-4, 4, 200, dtype="f4"),), verdict=Verdict.APPROXIMATE),
    "Expand": Case("Expand", (normal(3, 1),), (int64(2, 3, 4),)),
    "Split unevenly": Case("Split", (normal(2, 7),), (int64(2, 5),), {"axis": 1}, outputs=2),
    "OneHot": Case("OneHot", (int64(1, -1, 0),), (np.asarray(4), np.asarray([2.0, 5.0], "f4")), {"axis": 0}),
    **{
        f"Einsum {equation}": Case(
            "Einsum", tuple(normal(*shape) for shape in shapes), attributes={"equation": equation}
        )
        for equation, shapes in {
            "ij,jk->ik": ((3, 4), (4, 5)),
            "bhqd,bhkd->bhqk": ((2, 2, 3, 4), (2, 2, 5, 4)),
            "...ij, ...jk -> ...ik": ((2, 3, 4), (1, 4, 5)),
            "ij...,j...->i...": ((3, 4, 2), (4, 2)),
            "ij,jk,kl->li": ((2, 3), (3, 4), (4, 5)),
            "i,j->ji": ((3,), (4,)),
            "ab,cd->acbd": ((2, 3), (4, 5)),
            "bii->ib": ((2, 3, 3),),
            "ii": ((3, 3),),
            "ba,a": ((3, 4), (4,)),
            "ij->j": ((3, 4),),
        }.items()
    },
    "EyeLike": Case("EyeLike", (normal(3, 4),), attributes={"k": -1}),
    "LSTM with peepholes": Case(
        "LSTM",
        (normal(4, 2, 3),),
        (normal(2, 20, 3), normal(2, 20, 5), normal(2, 40), None, None, None, normal(2, 15)),
        {"hidden_size": 5, "direction": "bidirectional"},
        outputs=3,
    ),
    "MaxPool indices": Case(
        "MaxPool", (normal(2, 3, 6, 5),), attributes={"kernel_shape": [2, 3], "strides": [2, 1]}, outputs=2
    ),
    "QuantizeLinear by channel": Case(
        "QuantizeLinear",
        (normal(2, 3, 4),),
        (np.asarray([0.1, 0.5, 0.02], "f4"), np.asarray([3, 128, 250], "u1")),
        {"axis": 1},
        verdict=Verdict.APPROXIMATE,
    ),
}

REFUSED: dict[str, tuple[Case, str]] = {
    "computed axes": (Case("CumSum", (normal(2, 3), np.asarray(1))), "a constant is needed"),
    "NonZero": (Case("NonZero", (normal(2, 3),)), "depends on values|no counterpart"),
    "rank 9": (Case("Relu", (np.zeros((1,) * 9, "f4"),)), "at most 8"),
    "complex dtype": (Case("Identity", (np.zeros(3, "c8"),)), "complex64"),
    "large constant": (Case("Add", (np.arange(3),), (int64(2**40 + 1),)), "too large"),
    "sequence lengths": (
        Case(
            "LSTM",
            (normal(4, 2, 3),),
            (normal(1, 20, 3), normal(1, 20, 5), None, np.asarray([2, 4], np.int32)),
            {"hidden_size": 5},
        ),
        "sequence_lens",
    ),
}


def model_of(case: Case) -> tuple[Model, dict[str, Array]]:
    feeds = {f"x{index}": np.asarray(array) for index, array in enumerate(case.inputs)}
    constants = {f"c{i}": np.asarray(array) for i, array in enumerate(case.constants) if array is not None}
    names = [*feeds, *(f"c{i}" if array is not None else "" for i, array in enumerate(case.constants))]
    outputs = [f"y{index}" for index in range(case.outputs)]
    node = helper.make_node(case.operator, names, outputs, **case.attributes)
    return load(model_around(node, feeds, constants, opset=21)), feeds


@pytest.mark.parametrize("name", CASES)
def test_lowering(name: str) -> None:
    case = CASES[name]
    source, feeds = model_of(case)
    plan = source.plan("nnef")
    assert [row.verdict for row in plan] == [case.verdict], str(plan)
    converted = source.convert("nnef")
    for mine, other in zip(converted.run(feeds).values(), source.run(feeds).values(), strict=True):
        assert mine.dtype.kind in (other.dtype.kind, "i")
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=2e-6)


LARGE = int64(2**40 + 1, -(2**33) - 1, 5)
"""Integers that float32 does not have."""

INTEGERS: dict[str, Case] = {
    **{
        op: Case(op, (LARGE, LARGE[::-1].copy()), verdict=Verdict.APPROXIMATE)
        for op in ("Add", "Sub", "Mul", "Max", "Min")
    },
    **{
        op: Case(op, (LARGE, LARGE[::-1].copy()), verdict=Verdict.APPROXIMATE) for op in ("Equal", "Less", "Div", "Mod")
    },
    **{op: Case(op, (LARGE,), verdict=Verdict.APPROXIMATE) for op in ("Abs", "Neg")},
    "ReduceSum": Case("ReduceSum", (LARGE,), verdict=Verdict.APPROXIMATE),
    "ReduceMax": Case("ReduceMax", (LARGE,), verdict=Verdict.APPROXIMATE),
    "MatMul": Case("MatMul", (LARGE, LARGE), verdict=Verdict.APPROXIMATE),
    "Where": Case("Where", (LARGE > 6, LARGE, LARGE[::-1].copy())),
    "Gather": Case("Gather", (LARGE, int64(2, 0))),
    "Concat": Case("Concat", (LARGE, LARGE), attributes={"axis": 0}),
    "Slice": Case("Slice", (LARGE,), (int64(1), int64(3))),
    "Transpose": Case("Transpose", (LARGE.reshape(1, 3),)),
    "Expand": Case("Expand", (LARGE,), (int64(2, 3),)),
    "Identity": Case("Identity", (LARGE,)),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_that_scalars_do_not_hold_are_kept_or_declared(name: str) -> None:
    """What only moves integers is exact; what computes with them says up to where it is."""
    case = INTEGERS[name]
    source, feeds = model_of(case)
    (row,) = source.plan("nnef")
    assert row.verdict is case.verdict, row
    if case.verdict is Verdict.APPROXIMATE:
        assert "2^24" in row.note
        return
    for mine, other in zip(source.convert("nnef").run(feeds).values(), source.run(feeds).values(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    case, words = REFUSED[name]
    source, _ = model_of(case)
    with pytest.raises(ConversionError, match=words):
        source.convert("nnef")
