"""MIL elementwise operators and activations, by family, against coremltools' value inference or the formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32) * 2
Y = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
UNIT = RNG.uniform(-0.95, 0.95, size=(3, 4)).astype(np.float32)
POSITIVE = RNG.uniform(0.1, 3, size=(3, 4)).astype(np.float32)
INTS = np.asarray([[-7, -3, 0], [3, 7, 8]], dtype=np.int32)
DIVISORS = np.asarray([[2, -2, 5], [-2, 3, -3]], dtype=np.int32)
BOOLS = np.asarray([True, False, True, False])
OTHERS = np.asarray([True, True, False, False])


def unary(operator: str, x: np.ndarray[Any, Any], **parameters: Any) -> Case:
    kind = "" if x.dtype == np.float32 else f"-{x.dtype}"
    return Case(f"{operator}{kind}", lambda mb, x: getattr(mb, operator)(x=x, **parameters), {"x": x})


def binary(operator: str, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], name: str = "") -> Case:
    return Case(name or f"{operator}-{x.dtype}", lambda mb, x, y: getattr(mb, operator)(x=x, y=y), {"x": x, "y": y})


UNARY = [
    *(unary(name, UNIT) for name in ("acos", "asin", "atanh")),
    *(unary(name, X) for name in ("abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "identity")),
    *(unary(name, X) for name in ("sign", "sin", "sinh", "square", "tan", "tanh", "relu", "sigmoid", "relu6")),
    *(unary(name, X) for name in ("softplus", "softsign")),
    unary("round", np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4], dtype=np.float32)),
    unary("sqrt", POSITIVE),
    unary("logical_not", BOOLS),
    unary("abs", INTS),
    unary("log", POSITIVE, epsilon=0.25),
    unary("rsqrt", POSITIVE, epsilon=0.25),
    unary("inverse", POSITIVE, epsilon=0.25),
    unary("clip", X, alpha=-0.5, beta=1.25),
    unary("threshold", X, alpha=0.3),
    unary("clamped_relu", X, alpha=0.2, beta=1.5),
    unary("elu", X, alpha=0.7),
    unary("leaky_relu", X, alpha=0.1),
    unary("linear_activation", X, alpha=0.7, beta=-2.0),
    unary("scaled_tanh", X, alpha=0.7, beta=1.3),
    unary("sigmoid_hard", X, alpha=0.3, beta=0.4),
    unary("thresholded_relu", np.asarray([0.4, 0.5, 0.6, -1], dtype=np.float32), alpha=0.5),
    unary("prelu", X, alpha=np.asarray([0.1, -0.3, 2.0], dtype=np.float32)),
    unary(
        "softplus_parametric", X, alpha=np.asarray([1, 2, 0.5], np.float32), beta=np.asarray([0.5, 1, 2], np.float32)
    ),
    unary("softmax", X, axis=1),
    Case("silu", lambda mb, x: mb.silu(x=x), {"x": X}, lambda x: x / (1 + np.exp(-x))),
    *(
        Case(f"gelu-{mode}", lambda mb, x, mode=mode: mb.gelu(x=x, mode=mode), {"x": X}, atol=2e-6)
        for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    ),
]

BINARY = [
    *(binary(name, X, Y) for name in ("add", "sub", "mul", "real_div", "maximum", "minimum", "mod", "floor_div")),
    *(binary(name, INTS, DIVISORS) for name in ("add", "sub", "mul", "maximum", "minimum", "mod", "floor_div")),
    *(
        binary(name, INTS, DIVISORS)
        for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
    ),
    *(binary(name, X, X.round()) for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")),
    *(binary(name, BOOLS, OTHERS) for name in ("logical_and", "logical_or", "logical_xor")),
    binary("pow", np.abs(X) + 0.1, Y),
    binary("add", X, Y[:1, :, :1], "add-broadcast"),
    Case("sub-scalar", lambda mb, x, y: mb.sub(x=x, y=y), {"x": X}, fixed={"y": np.float32(0.5)}),
    Case(
        "select", lambda mb, c, a, b: mb.select(cond=c, a=a, b=b), {"c": BOOLS, "a": X[0, 0, :, 0], "b": Y[0, 0, :, 0]}
    ),
    *(
        Case(f"cast-{source.dtype}-{dtype}", lambda mb, x, dtype=dtype: mb.cast(x=x, dtype=dtype), {"x": source})
        for source in (X[0, 0], INTS, BOOLS)
        for dtype in ("fp16", "fp32", "int32", "bool")
    ),
    Case("cast-int16", lambda mb, x: mb.cast(x=x, dtype="int16"), {"x": INTS}, release=17),
]


@pytest.mark.parametrize("case", UNARY + BINARY, ids=str)
def test_operator(case: Case) -> None:
    check(case)


HALF = np.asarray([12.0, 11.0, 0.1, 1e-8, 2049.0], dtype=np.float16)


@pytest.mark.parametrize("optimize", [False, True])
def test_float16_overflows_and_rounds_between_operators(optimize: bool) -> None:
    """exp(12) is beyond float16, so its logarithm is infinite; and 2048 + 1 is 2048."""

    def build(mb: Any, x: Any) -> list[Any]:
        return [mb.log(x=mb.exp(x=x), epsilon=np.float16(0)), mb.sub(x=mb.add(x=x, y=np.float16(1)), y=x)]

    def expect(x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        with np.errstate(over="ignore"):
            return [np.log(np.exp(x)), (x + np.float16(1)) - x]

    document = check(Case("half", build, {"x": HALF}, expect, release=16, rtol=1e-3), optimize=optimize)
    assert document.precision_note() == "float16 storage and rounding"
    assert [spec.dtype for spec in document.inputs + document.outputs] == ["float16"] * 3


def test_layers_are_stated_as_the_program_has_them() -> None:
    document = check(Case("add", lambda mb, x, y: mb.leaky_relu(x=mb.add(x=x, y=y), alpha=0.5), {"x": X, "y": Y}))
    add, relu = document.layers
    assert (add.operator, add.inputs, relu.operator) == ("add", ("x", "y"), "leaky_relu")
    assert relu.attributes == {"alpha": 0.5}
    assert relu.inputs == (add.outputs[0].name,)
    assert math.prod(add.outputs[0].shape or ()) == X.size  # type: ignore[arg-type]
    names = {value.name for node in document.hub().graph for value in node.outputs}
    assert {spec.name for layer in document.layers for spec in layer.outputs} <= names
