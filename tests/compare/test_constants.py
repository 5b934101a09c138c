"""Faults that show in the numbers of the target's layers: found where the tensors are too small to tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compare.support import build, converted, source
from workbench.compare import Signature, compare
from workbench.hub import Emitter

RNG = np.random.default_rng(4)
WEIGHT = RNG.normal(size=(12, 5)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)


def dense(weight: Any, bias: Any, transposed: bool = False) -> Any:
    """Five numbers: fewer than any relation between the tensors could be told from."""

    def make(emitter: Emitter) -> list[Any]:
        x = emitter.input("x", "float32", [1, 12])
        weight_of = emitter.const(np.ascontiguousarray(weight.T if transposed else weight).astype(np.float32))
        with emitter.layer(["dense"]):
            options = {"transB": 1} if transposed else {}
            y = emitter.op("Gemm", x, weight_of, emitter.const(bias.astype(np.float32)), **options)
            return [emitter.rename(y, "y")]

    return build(make)


def signature(weight: Any, bias: Any, transposed: bool = False) -> Signature:
    reference = source(dense(WEIGHT, BIAS))
    report = compare(reference, converted(dense(weight, bias, transposed), reference, {"y": "y"}))
    found = report.culprits(1)[0].signature
    assert found is not None
    return found


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("weight", "bias", "kind", "text"),
    [
        (WEIGHT * 1.03, BIAS, "gain", "the weight is multiplied by the factor 1.03"),
        (WEIGHT * np.linspace(0.5, 2, 12)[:, None], BIAS, "gain", "a factor for each index of its axis 0"),
        (np.roll(WEIGHT, 3, axis=0), BIAS, "weight order", "the slices of axis 0 are rotated by"),
        (WEIGHT[:, [1, 0, 2, 3, 4]], BIAS, "weight order", "the slices of axis 1 are exchanged (0 and 1)"),
        (-WEIGHT, BIAS, "sign", "the weight is negated"),
        (np.round(WEIGHT), BIAS, "weight precision", "the weight has few different values"),
        (WEIGHT + np.float32(0.1) * RNG.normal(size=WEIGHT.shape), BIAS, "other weight", "holds other numbers"),
        (WEIGHT, np.add(BIAS, [0, 0.5, 0, -0.1, 0.2]), "bias", "the bias holds other numbers"),
        (WEIGHT, BIAS * 0, "bias missing", "there is no bias"),
    ],
)
def test_what_became_of_the_numbers(weight: Any, bias: Any, kind: str, text: str, transposed: bool) -> None:
    found = signature(weight, bias, transposed)
    assert found.kind == kind
    assert text in found.text


def test_other_numbers_that_do_not_explain_the_difference_are_not_blamed() -> None:
    """Weight and bias are both others: neither alone gives the target's tensor."""
    found = signature(WEIGHT + np.float32(0.1) * RNG.normal(size=WEIGHT.shape), np.add(BIAS, [1, -2, 1, 2, 1]))
    assert found.kind == "unknown"


@pytest.mark.parametrize(("bound", "name"), [(None, "Relu"), (6.0, "Relu6")])
def test_a_rectifier_that_was_added_is_no_saturation(bound: float | None, name: str) -> None:
    values = RNG.normal(size=(4, 40)).astype(np.float32) * 4

    def make(added: bool) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [4, 40])
            with emitter.layer(["move"]):
                y = emitter.op("Add", x, emitter.const(values))
                if added:
                    high = () if bound is None else (emitter.const(np.float32(bound)),)
                    y = emitter.op("Clip", y, emitter.const(np.float32(0)), *high)
                return [emitter.rename(y, "y")]

        return build(emit)

    reference = source(make(False))
    found = compare(reference, converted(make(True), reference, {"y": "y"})).culprits(1)[0].signature
    assert found is not None
    assert (found.kind, found.text) == ("activation added", f"{name} of the reference's tensor is the other")
