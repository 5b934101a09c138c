"""Which layer makes the error, which carry it on, which make it larger; and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.compare.support import build, chain, converted, same_names, source
from workbench.compare import Report, compare
from workbench.compare.fits import parametric, rearranged, structural
from workbench.compare.signature import CHECKS, Signature
from workbench.hub import Emitter

RNG = np.random.default_rng(5)
IMAGE = RNG.standard_normal((1, 6, 9, 9)).astype(np.float32)
SQUARE = RNG.standard_normal((6, 6, 3, 3)).astype(np.float32)
DEPTHWISE = RNG.standard_normal((12, 3, 3, 3)).astype(np.float32)
ROWS = RNG.standard_normal((4, 16)).astype(np.float32)
MATRIX = RNG.standard_normal((16, 16)).astype(np.float32)
BIAS = RNG.standard_normal(6).astype(np.float32)

Emit = Callable[[Emitter, ir.Value], ir.Value]


def one_layer(emit: Emit, x: np.ndarray[Any, Any]) -> ir.Model:
    def make(emitter: Emitter) -> list[ir.Value]:
        value = emitter.input("x", "float32", list(x.shape))
        with emitter.layer(["layer"]):
            return [emitter.rename(emit(emitter, value), "y")]

    return build(make)


def against(reference: Emit, target: Emit, x: np.ndarray[Any, Any]) -> Report:
    origin = source(one_layer(reference, x))
    hub = one_layer(target, x)
    return compare(origin, converted(hub, origin, {"y": "y"}), feeds={"x": x})


# Injected, inherited, amplified


def test_errors_are_injected_by_one_layer_and_inherited_by_the_rest() -> None:
    reference = source(chain(6))
    hub = chain(6, fault=2, factor=1.05)
    report = compare(reference, converted(hub, reference, same_names(hub)))
    by_layer = {row.layer: row for row in report.rows}
    culprit, behind = by_layer["dense_2"], by_layer["tanh_2"]
    assert culprit.injected == pytest.approx(0.05, rel=1e-3)
    assert culprit.inherited == 0
    assert behind.injected == 0
    assert behind.accumulated is not None
    assert behind.inherited == pytest.approx(behind.accumulated.relative_l2, rel=1e-3)
    assert by_layer["dense_0"].inherited == 0
    assert by_layer["dense_0"].amplification is None


def test_a_layer_that_makes_an_inherited_error_larger_is_known_by_its_amplification() -> None:
    """x + 100 is off by one in a thousand; what is left after 100 is subtracted is off by a tenth."""

    def make(factor: float) -> ir.Model:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [64])
            with emitter.layer(["up"]):
                a = emitter.rename(emitter.op("Add", x, emitter.const(np.float32(100))), "a")
            with emitter.layer(["scaled"]):
                b = emitter.rename(emitter.op("Mul", a, emitter.const(np.float32(factor))), "b")
            with emitter.layer(["down"]):
                return [emitter.rename(emitter.op("Sub", b, emitter.const(np.float32(100))), "c")]

        return build(emit)

    reference = source(make(1.0))
    hub = make(1.001)
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    report = compare(reference, converted(hub, reference, same_names(hub)), feeds={"x": x})
    down = report.rows[-1]
    assert down.blame == "inherited"
    assert down.amplification == pytest.approx(100, rel=0.2)
    assert down.inherited == pytest.approx(0.1, rel=0.2)
    assert report.rows[1].layer == report.culprits(1)[0].layer == "scaled"


def test_two_culprits_are_ranked_by_what_they_do_and_each_has_its_signature() -> None:
    reference = source(chain(8))
    hub = chain(8, fault=5, factor=1.5)
    weight = hub.graph.initializers["w_2"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy().T.copy(), name="w_2")
    report = compare(reference, converted(hub, reference, same_names(hub)))
    assert [row.layer for row in report.culprits()] == ["dense_2", "dense_5"]
    assert [row.signature.kind for row in report.culprits() if row.signature] == ["transposed weight", "gain"]
    assert report.first_bad is not None
    assert report.first_bad.layer == "dense_2"
    assert [row.layer for row in report.culprits(1)] == ["dense_2"]


def test_without_isolated_errors_the_first_failing_layer_is_the_culprit() -> None:
    reference = source(chain(6))
    hub = chain(6, fault=2, factor=1.05)
    report = compare(reference, converted(hub, reference, same_names(hub)), mode="accumulated")
    first = report.culprits(1)[0]
    assert first.layer == "dense_2"
    assert first.signature is not None
    assert first.signature.kind == "gain"
    assert first.injected is None
    assert first.inherited is None


def test_a_healthy_comparison_has_no_culprits() -> None:
    reference = source(chain(3))
    hub = chain(3)
    report = compare(reference, converted(hub, reference, same_names(hub)))
    assert report.culprits() == ()
    assert report.first_bad is None


def test_the_texts_say_which_layer_what_it_looks_like_and_what_to_check() -> None:
    report = against(lambda e, x: e.op("Relu", x), lambda e, x: e.op("Identity", x), IMAGE)
    text = str(report)
    assert "look first at Relu 'layer'" in text
    assert "it looks like activation missing: there is no Relu; check whether" in text
    assert "activation missing" in report._repr_html_()


# Signatures


@dataclass(frozen=True)
class Case:
    """A layer and what a conversion made of it.

    Attributes:
        kind: of the signature that it has to get.
        evidence: a figure that has to be in it.
    """

    kind: str
    reference: Emit
    target: Emit
    x: np.ndarray[Any, Any] = field(default_factory=lambda: IMAGE)
    evidence: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.kind


def op(operator: str, *constants: Any, **attributes: Any) -> Emit:
    return lambda e, x: e.op(operator, x, *(None if c is None else e.const(c) for c in constants), **attributes)


def then(*steps: Emit) -> Emit:
    def emit(emitter: Emitter, x: ir.Value) -> ir.Value:
        for step in steps:
            x = step(emitter, x)
        return x

    return emit


def conv(weight: np.ndarray[Any, Any] = SQUARE, bias: Any = None, **attributes: Any) -> Emit:
    return op("Conv", weight, *(() if bias is None else (bias,)), **{"pads": [1, 1, 1, 1], **attributes})


def reshaped(*shape: int) -> Emit:
    return op("Reshape", np.asarray(shape, np.int64))


def quantised(shift: float) -> Emit:
    """Rounded to steps of 1/16; ``shift`` moves the values before."""
    rounded = then(op("Mul", np.float32(16)), op("Add", np.float32(shift)), op("Round"))
    return then(rounded, op("Div", np.float32(16)))


def dense(*between: Emit) -> Emit:
    """A product and an addition, with something between them, in one layer; what comes out says little of it."""
    return then(op("MatMul", MATRIX), *between, op("Add", ROWS[0]), op("Softmax", axis=1))


def erf_plus_one(emitter: Emitter, x: ir.Value) -> ir.Value:
    erf = emitter.op("Erf", emitter.op("Div", x, emitter.const(np.float32(np.sqrt(2)))))
    return emitter.op("Add", erf, emitter.const(np.float32(1)))


PLAIN = op("Mul", np.float32(1.5))
NORMAL = (np.ones(6, np.float32), BIAS, BIAS / 9, np.full(6, 0.05, np.float32))
LSTM = tuple(np.random.default_rng(8).standard_normal((1, 32, 8)).astype(np.float32) / 3 for _ in range(2))


def lstm(order: Sequence[int]) -> Emit:
    gates = [np.concatenate([np.split(w, 4, axis=1)[g] for g in order], axis=1) for w in LSTM]

    def emit(emitter: Emitter, x: ir.Value) -> ir.Value:
        weights = [emitter.const(gate) for gate in gates]
        return emitter.ops("LSTM", x, *weights, outputs=3, hidden_size=8)[0]

    return emit


CASES = [
    Case("gain", conv(), conv(SQUARE * np.float32(1.02)), evidence="factor 1.02"),
    Case("gain", conv(bias=BIAS), conv(SQUARE * np.float32(1.02), BIAS), evidence="factor 1.02", name="gain, not bias"),
    Case("gain", PLAIN, op("Mul", np.linspace(1, 2, 6, dtype=np.float32)[:, None, None]), name="gain of channels"),
    Case("bias", PLAIN, then(PLAIN, op("Add", np.float32(0.1))), evidence="addend 0.1"),
    Case("bias", conv(bias=BIAS), conv(bias=BIAS + np.float32(0.2) * BIAS[::-1]), name="bias of channels"),
    Case("bias missing", conv(bias=BIAS), conv()),
    Case("sign", PLAIN, then(PLAIN, op("Neg"))),
    Case("zeroed", PLAIN, then(PLAIN, op("Mul", np.float32(0)))),
    Case("permuted axes", PLAIN, then(PLAIN, op("Transpose", perm=[0, 1, 3, 2]))),
    Case("permuted axes", PLAIN, then(PLAIN, op("Transpose", perm=[0, 2, 3, 1]), reshaped(1, 6, 9, 9)), name="NHWC"),
    Case("channel order", PLAIN, then(PLAIN, op("Gather", [0, 2, 1, 3, 4, 5], axis=1)), name="channels exchanged"),
    Case("channel order", conv(), conv(SQUARE[:, ::-1]), name="input channels reversed"),
    Case(
        "channel order",
        op("Relu"),
        then(op("Relu"), op("Gather", [4, 5, 0, 1, 2, 3], axis=1)),
        x=IMAGE * np.asarray([1, -1, 1, -1, 1, 1], np.float32)[:, None, None] * np.sign(IMAGE),
        name="channels rotated, some of them dead",
    ),
    Case(
        "weight order",
        then(
            lambda e, x: e.op("MatMul", x, e.op("Reshape", e.const(MATRIX.reshape(-1)), e.const([16, 16]))),
        ),
        op("MatMul", np.roll(MATRIX, 3, axis=0)),
        ROWS[:1],
        name="rows of a weight that is reshaped",
    ),
    Case(
        "activation added",
        conv(),
        then(conv(), op("Relu"), op("Cast", to=10), op("Cast", to=1)),
        name="Relu, its peak rounded",
    ),
    Case("transposed weight", conv(), conv(SQUARE.swapaxes(2, 3)), name="kernel transposed"),
    Case("transposed weight", conv(), conv(SQUARE.swapaxes(0, 1)), name="channels of the weight transposed"),
    Case("transposed weight", op("MatMul", MATRIX), op("MatMul", MATRIX.T), ROWS),
    Case("flipped weight", conv(), conv(SQUARE[:, :, ::-1, ::-1])),
    Case(
        "weight order",
        conv(DEPTHWISE, group=2),
        conv(DEPTHWISE.reshape(2, 6, 3, 3, 3).swapaxes(0, 1).reshape(12, 3, 3, 3), group=2),
        name="order of groups",
    ),
    Case("weight order", lstm([0, 1, 2, 3]), lstm([0, 2, 1, 3]), RNG.standard_normal((5, 2, 8)).astype(np.float32)),
    Case("padding", conv(strides=[2, 2], pads=[0, 0, 1, 1]), conv(strides=[2, 2], pads=[1, 1, 0, 0])),
    Case(
        "padding",
        conv(auto_pad="SAME_UPPER", strides=[2, 2], pads=None),
        conv(strides=[2, 2], pads=[1, 1, 0, 0]),
        x=IMAGE[:, :, :8, :8],
        name="SAME",
    ),
    Case("shifted", PLAIN, then(PLAIN, op("Gather", [0, *range(8)], axis=3))),
    Case("border", op("Pad", [0, 0, 1, 1, 0, 0, 1, 1]), op("Pad", [0, 0, 1, 1, 0, 0, 1, 1], mode="edge")),
    Case(
        "pooling divisor",
        op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    Case("pooling kind", op("MaxPool", kernel_shape=[2, 2]), op("AveragePool", kernel_shape=[2, 2])),
    Case("stride or dilation", conv(), conv(dilations=[2, 2], pads=[2, 2, 2, 2])),
    Case("saturated", PLAIN, then(PLAIN, op("Clip", np.float32(-1), np.float32(1))), evidence="between -1 and 1"),
    Case("activation missing", op("Relu"), op("Identity")),
    Case("activation missing", then(conv(), op("Sigmoid")), conv(), name="after a convolution"),
    Case("activation added", PLAIN, then(PLAIN, op("Tanh"))),
    Case("other activation", op("Gelu"), op("Gelu", approximate="tanh"), 3 * IMAGE),
    Case("other activation", op("LeakyRelu", alpha=0.01), op("LeakyRelu", alpha=0.2), name="another alpha"),
    Case("activation added", dense(), dense(op("Relu")), ROWS, "undone, the target gives", "Relu inside of a layer"),
    Case("saturated", dense(), dense(op("Min", np.float32(0.5))), ROWS, "ends the values", "bound inside of a layer"),
    Case(
        "permuted axes",
        dense(),
        dense(op("Transpose", perm=[1, 0]), reshaped(4, 16)),
        ROWS,
        "inside of the layer",
        "order inside of a layer",
    ),
    Case(
        "channel order",
        then(op("Tanh"), op("MatMul", MATRIX), op("Softmax", axis=1)),
        then(op("Gather", np.arange(16)[::-1].copy(), axis=1), op("Tanh"), op("MatMul", MATRIX), op("Softmax", axis=1)),
        ROWS,
        "inside of the layer",
        "what a layer reads",
    ),
    Case(
        "other activation",
        then(lambda e, x: e.op("Mul", e.op("Mul", x, e.const(np.float32(0.5))), erf_plus_one(e, x))),
        op("Relu"),
        evidence="instead of Gelu (exact)",
        name="another than what is written as many",
    ),
    Case("off by one", quantised(0), quantised(-0.5), evidence="step 0.0625"),
    Case(
        "epsilon",
        op("BatchNormalization", *NORMAL, epsilon=1e-5),
        op("BatchNormalization", *NORMAL, epsilon=1e-3),
        name="epsilon of a batch normalisation",
    ),
    Case("axis", op("Softmax", axis=1), op("Softmax", axis=3)),
    Case("axis", op("ReduceMax", [2], keepdims=0), op("ReduceMax", [3], keepdims=0), name="axis of a reduction"),
    Case(
        "input order",
        then(lambda e, x: e.op("Div", e.const(BIAS[:, None, None]), x)),
        lambda e, x: e.op("Div", x, e.const(BIAS[:, None, None])),
        name="operands",
    ),
    Case("indices", op("Gather", [0, 1, 2, 3], axis=1), op("Gather", [1, 2, 3, 4], axis=1)),
    Case(
        "interpolation",
        op("Resize", None, np.asarray([1, 1, 2, 2], np.float32), mode="linear"),
        op(
            "Resize",
            None,
            np.asarray([1, 1, 2, 2], np.float32),
            mode="linear",
            coordinate_transformation_mode="asymmetric",
        ),
    ),
    Case("NaN", PLAIN, then(PLAIN, op("Sqrt"))),
    Case("infinity", PLAIN, then(PLAIN, op("Div", np.float32(0)))),
    Case("shape", PLAIN, then(PLAIN, op("Slice", [0], [4], [1]))),
    Case("few elements", PLAIN, op("Mul", np.where(np.arange(486) == 121, 3, 1.5).astype(np.float32).reshape(6, 9, 9))),
    Case("unknown", PLAIN, then(PLAIN, op("Mul", RNG.uniform(0.5, 2, IMAGE.shape).astype(np.float32)))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_kind_of_fault_has_its_signature(case: Case) -> None:
    report = against(case.reference, case.target, case.x)
    row = report.culprits(1)[0]
    assert row.signature is not None
    assert row.signature.kind == case.kind, str(row.signature)
    assert case.evidence in " ".join((row.signature.text, *row.signature.evidence))
    assert row.signature.check == CHECKS[case.kind]


def test_every_kind_is_in_the_table_of_cases() -> None:
    others = {"scale and bias", "layer missing", "dtype", "overflow"}  # below, and in test_noise.py
    others |= {"other weight", "weight precision"}  # test_constants.py
    assert {case.kind for case in CASES} | others == set(CHECKS)


def test_a_layer_that_was_dropped() -> None:
    scale = RNG.uniform(0.5, 2, IMAGE.shape).astype(np.float32)
    report = against(op("Mul", scale), op("Identity"), IMAGE)
    assert report.culprits(1)[0].signature == Signature(
        "layer missing", "there is no Mul", report.culprits()[0].signature.evidence
    )


def test_a_normalisation_with_other_parameters_is_a_scale_and_a_bias() -> None:
    other = (NORMAL[0] * np.linspace(0.5, 2, 6, dtype=np.float32), BIAS * BIAS, NORMAL[2], NORMAL[3])
    report = against(op("BatchNormalization", *NORMAL), op("BatchNormalization", *other), IMAGE)
    assert report.culprits(1)[0].signature.kind == "scale and bias"


def test_another_dtype_is_named() -> None:
    report = against(PLAIN, then(PLAIN, op("Cast", to=ir.DataType.INT32.value)), IMAGE)
    assert report.culprits(1)[0].signature.kind == "dtype"


def test_nothing_is_explained_by_chance() -> None:
    """Noise is not a gain, a bias or an order of axes."""
    x = RNG.standard_normal((4, 6, 8))
    y = x + 0.1 * RNG.standard_normal(x.shape)
    difference = float(np.linalg.norm(x - y))
    assert all(fit.left > 0.5 * difference for fit in (*structural(x, y, 1e-9), *parametric(x, y)))


def test_a_slice_of_one_element_has_a_near_one_by_chance() -> None:
    """Of a thousand numbers some one is near any other: that says nothing of indices, unless nothing is left."""
    x, y = RNG.standard_normal((2, 1, 1000))
    assert not list(rearranged(x, y, 1e-3))
    moved = x[:, np.maximum(np.arange(1000) - 1, 0)]
    assert [fit.kind for fit in rearranged(x, moved, 1e-3)] == ["indices"]
