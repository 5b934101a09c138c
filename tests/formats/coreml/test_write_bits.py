"""Operators on bits, blocks of quantised numbers and random numbers through the Core ML writer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import workbench
from tests.formats.coreml.writing import (
    Array,
    Case,
    Const,
    assert_same,
    drafted,
    expected,
    inferred,
    run_written,
    written,
)

RNG = np.random.default_rng(21)
SIGNED = np.asarray([-(2**31), -129, -1, 0, 1, 127, 2**31 - 1], np.int32)
OTHER = np.asarray([0x0F0F0F0F, -1, 255, -7, -(2**31), 3, 2**30], np.int32)
BYTES, OTHERS = RNG.integers(0, 256, (3, 4)).astype(np.uint8), RNG.integers(0, 256, 4).astype(np.uint8)
COUNTS = np.asarray([0, 1, 7, 3], np.uint8)


def i8(*shape: int) -> Array:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def f(*shape: int) -> Array:
    return RNG.uniform(-2.0, 2.0, shape).astype(np.float32)


CASES = [
    *(Case(f"{name} int32", name, (SIGNED, OTHER)) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    *(Case(f"{name} uint8", name, (BYTES, OTHERS)) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    Case("BitwiseAnd int64 with constant", "BitwiseAnd", (SIGNED.astype(np.int64), Const(np.asarray([255])))),
    Case("BitwiseXor int8", "BitwiseXor", (i8(3, 4), i8(3, 1))),
    Case("BitwiseNot int32", "BitwiseNot", (SIGNED,)),
    Case("BitwiseNot uint8", "BitwiseNot", (BYTES,)),
    Case("BitShift left uint8", "BitShift", (BYTES, COUNTS), {"direction": "LEFT"}),
    Case("BitShift right uint8", "BitShift", (BYTES, COUNTS), {"direction": "RIGHT"}),
    Case("BitShift right uint32", "BitShift", (np.asarray([0, 9, 2**31 - 1], np.uint32),
         np.asarray([1, 2, 30], np.uint32)), {"direction": "RIGHT"}),
    Case("DequantizeLinear blocked", "DequantizeLinear", (i8(3, 5), f(3, 3), i8(3, 3)), {"axis": 1, "block_size": 2}),
    Case("DequantizeLinear blocked constants", "DequantizeLinear", (i8(4, 3), Const(f(2, 3)), Const(i8(2, 3))),
         {"axis": 0, "block_size": 2}),
    Case("QuantizeLinear blocked", "QuantizeLinear", (f(2, 4, 3) * 50, np.abs(f(2, 2, 3)) + 0.5, i8(2, 2, 3)),
         {"axis": 1, "block_size": 2}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_written_and_read_back_it_computes_the_same(case: Case) -> None:
    want = expected(case)
    for name, array in run_written(written(case.model()), case.feeds).items():
        assert_same(array, want[name], case)


WIDE = np.asarray([0, 1, -1, 5, -7, 2**30, -(2**30), 2**31 - 1, -(2**31), 0x5A5A5A5A], np.int32)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 29, 30, 31, 32, 40, -1])
def test_a_shift_to_the_left_drops_what_leaves_the_width(count: int) -> None:
    """Of int32, by ONNX's definition since opset 28 and, with what was shifted as unsigned, by that before."""
    counts = np.full(WIDE.shape, count, np.int32)
    shifted = WIDE.view(np.uint32).astype(np.uint64) << (count if 0 <= count < 32 else 33)
    want = (shifted & 0xFFFFFFFF if 0 <= count < 32 else shifted * 0).astype(np.uint32).view(np.int32)
    case = Case("left", "BitShift", (WIDE, counts), {"direction": "LEFT"})
    for model in (case.model(28), _unsigned(case)) if 0 <= count < 32 else (case.model(28),):
        (found,) = workbench.load(model).convert("coreml").run(case.feeds).values()
        np.testing.assert_array_equal(found, want)


def _unsigned(case: Case) -> onnx.ModelProto:
    """The node between casts to uint32 and back."""
    model = case.model()
    del model.graph.node[:]
    to = (onnx.TensorProto.UINT32, onnx.TensorProto.UINT32, onnx.TensorProto.INT32)
    model.graph.node.extend([
        onnx.helper.make_node("Cast", ["i0"], ["x"], to=to[0]), onnx.helper.make_node("Cast", ["i1"], ["c"], to=to[1]),
        onnx.helper.make_node("BitShift", ["x", "c"], ["s"], direction="LEFT"),
        onnx.helper.make_node("Cast", ["s"], ["o0"], to=to[2]),
    ])  # fmt: skip
    return model


def test_a_shift_to_the_left_of_64_bits_holds_what_fits() -> None:
    case = Case("left", "BitShift", (np.asarray([3, -3, 1, 9]), np.asarray([4, 20, 30, 64])), {"direction": "LEFT"})
    (found,) = workbench.load(case.model(28)).convert("coreml").run(case.feeds).values()
    np.testing.assert_array_equal(found, [48, -3 * 2**20, 2**30, 0])


def test_what_is_shifted_to_the_left_and_read_as_unsigned_is_refused() -> None:
    case = Case("left", "BitShift", (np.asarray([3], np.uint32), np.asarray([4], np.uint32)), {"direction": "LEFT"})
    assert "may leave the 32 bits" in drafted(case.model()).outcomes[0].note


@pytest.mark.parametrize("case", CASES, ids=str)
def test_coremltools_computes_the_same(case: Case) -> None:
    want = expected(case)
    for name, array in inferred(case.model(), case.feeds).items():
        assert array is not None
        assert_same(array.reshape(want[name].shape), want[name], case)


REFUSED = [
    (Case("left", "BitShift", (SIGNED.astype(np.uint32), OTHER.astype(np.uint32)), {"direction": "LEFT"}), "32 bits"),
    (Case("not", "BitwiseNot", (SIGNED.astype(np.uint32),)), "32 bits"),
]


@pytest.mark.parametrize(("case", "cause"), REFUSED, ids=str)
def test_what_does_not_fit_is_refused(case: Case, cause: str) -> None:
    (outcome,) = drafted(case.model()).outcomes
    assert outcome.verdict == "refused"
    assert cause in outcome.note


def _drawn(operator: str, *inputs: Array, **attributes: Any) -> Array:
    case = Case(operator, operator, inputs, attributes)
    (outcome,) = drafted(case.model()).outcomes
    assert outcome.verdict == "approximate"
    assert "another sequence" in outcome.note
    return run_written(written(case.model()), case.feeds)["o0"]


def test_random_numbers_have_the_distribution() -> None:
    many = {"shape": [40, 50], "seed": 3.0}
    normal = _drawn("RandomNormal", **many, mean=2.0, scale=0.5)
    assert normal.shape == (40, 50)
    assert abs(normal.mean() - 2) < 0.05
    assert abs(normal.std() - 0.5) < 0.05
    uniform = _drawn("RandomUniformLike", f(40, 50), low=-1.0, high=3.0, seed=4.0)
    assert uniform.min() >= -1
    assert uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.1
    drawn = _drawn("Bernoulli", np.full((40, 50), 0.3, np.float32), seed=5.0, dtype=7)
    assert drawn.dtype == np.int64
    assert set(np.unique(drawn)) == {0, 1}
    assert abs(drawn.mean() - 0.3) < 0.05


def test_classes_are_drawn_by_their_probabilities() -> None:
    shares = np.asarray([[0.1, 0.2, 0.7]], np.float32)
    drawn = _drawn("Multinomial", np.log(shares), sample_size=2000, seed=6.0)
    assert drawn.dtype == np.int32
    np.testing.assert_allclose(np.bincount(drawn[0], minlength=3) / 2000, shares[0], atol=0.05)
