"""Operators composed of others in the hub, against onnxruntime or, where it has no kernel, the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from tests.hub.composing import Array, Composed, assert_composed, expanded, refusals, run
from workbench.hub.compositions import TABLE, integer, loss, movement, rotary, sampling, spectrum

RNG = np.random.default_rng(12)


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def u(*shape: int) -> Array:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def n(*values: int) -> Array:
    return np.asarray(values, np.int64)


def case(name: str, *inputs: Array | None, label: str = "", **keywords: Any) -> Composed:
    attributes = {
        key: keywords.pop(key) for key in list(keywords) if key not in ("constants", "outputs", "rtol", "atol")
    }
    return Composed(label or name, name, inputs, attributes, **keywords)


STEP, BYTE = np.asarray(0.02, np.float32), np.asarray(120, np.uint8)
IMAGE, PLACES = f(2, 3, 5, 6), f(2, 4, 3, 2) * 1.2
VOLUME, POINTS = f(1, 2, 3, 4, 5), f(1, 2, 2, 3, 3)
ROIS = np.asarray([[0, 0, 4, 3], [1, 1, 2.5, 4], [-3, -2, 9, 9]], np.float32)
LABELS = RNG.integers(0, 5, (3, 4))
MAP = {"output_height": 2, "output_width": 3, "sampling_ratio": 2}

CASES = [
    case("MatMulInteger", u(3, 20), u(20, 4), BYTE, u(4)),
    case("MatMulInteger", u(2, 300), u(300, 4), BYTE, BYTE, label="MatMulInteger long"),
    case("MatMulInteger", np.full((1, 5000), 255, np.uint8), np.full((5000, 2), 255, np.uint8), None, None,
         label="MatMulInteger very long"),
    case("MatMulInteger", u(2, 300), u(300, 4), BYTE, BYTE, constants=(1,), label="MatMulInteger with weights"),
    case("ConvInteger", u(1, 2, 6, 5), u(3, 2, 3, 3), BYTE, pads=[1, 1, 1, 1]),
    case("ConvInteger", u(1, 40, 6, 5), u(3, 40, 3, 3), BYTE, BYTE, label="ConvInteger long"),
    case("QLinearMatMul", u(3, 20), STEP, BYTE, u(20, 4), STEP, BYTE, STEP * 50, BYTE),
    case("QLinearConv", u(1, 2, 6, 5), STEP, BYTE, u(3, 2, 3, 3), f(3) ** 2, u(3), STEP * 50, BYTE,
         np.asarray([1000, -70, 3], np.int32), strides=[2, 1]),
    case("DynamicQuantizeLinear", f(3, 4), outputs=("o0", "o1", "o2")),
    case("DynamicQuantizeLinear", np.zeros((2, 3), np.float32), outputs=("o0", "o1", "o2"),
         label="DynamicQuantizeLinear of zeros"),
    case("NegativeLogLikelihoodLoss", f(3, 5, 4), LABELS, f(5) ** 2, ignore_index=2, reduction="mean"),
    case("NegativeLogLikelihoodLoss", f(3, 5, 2, 2), LABELS.reshape(3, 2, 2), reduction="none",
         label="NegativeLogLikelihoodLoss of each"),
    case("SoftmaxCrossEntropyLoss", f(3, 5, 4), LABELS, outputs=("o0", "o1"), reduction="sum"),
    *(case("GridSample", IMAGE, PLACES, mode=mode, padding_mode=padding, align_corners=aligned,
           label=f"GridSample {mode} {padding} {aligned}")
      for mode in ("linear", "nearest", "cubic") for padding in ("zeros", "border", "reflection")
      for aligned in (0, 1)),
    *(case("GridSample", VOLUME, POINTS, mode=mode, padding_mode=padding, label=f"GridSample volume {mode} {padding}")
      for mode in ("linear", "nearest") for padding in ("zeros", "reflection")),
    case("AffineGrid", f(2, 2, 3), n(2, 3, 4, 5), constants=(1,)),
    case("AffineGrid", f(1, 3, 4), n(1, 3, 2, 3, 5), constants=(1,), align_corners=1, label="AffineGrid volume"),
    case("RoiAlign", IMAGE, ROIS, n(0, 1, 1), **MAP),
    case("RoiAlign", IMAGE, ROIS, n(0, 1, 1), **MAP, coordinate_transformation_mode="output_half_pixel",
         spatial_scale=0.7, label="RoiAlign shifted"),
    case("DeformConv", f(1, 4, 6, 5), f(6, 2, 3, 3), f(1, 36, 4, 3), f(6), f(1, 18, 4, 3), group=2, offset_group=2),
    case("DeformConv", f(2, 2, 6, 7), f(3, 2, 3, 2), f(2, 12, 3, 2), pads=[1, 0, 1, 0], strides=[2, 3],
         dilations=[1, 1], label="DeformConv strided"),
    case("Col2Im", f(2, 12, 6), n(4, 6), n(2, 3), constants=(1, 2), strides=[2, 2], pads=[0, 1, 0, 0]),
    case("Col2Im", f(1, 4, 9), n(4, 4), n(2, 2), constants=(1, 2), label="Col2Im overlapping"),
    case("MaxUnpool", f(1, 2, 2, 2), n(0, 3, 12, 10, 16, 19, 24, 31).reshape(1, 2, 2, 2), kernel_shape=[2, 2],
         strides=[2, 2]),
    case("TensorScatter", f(2, 3, 5, 4), f(2, 3, 2, 4), n(1, 3), outputs=("o0",)),
    case("TensorScatter", f(2, 3, 5, 4), f(2, 3, 2, 4), n(4, 3), mode="circular", label="TensorScatter circular"),
    case("CenterCropPad", f(5, 4, 3), n(2, 7, 3), constants=(1,)),
    case("CenterCropPad", f(5, 4, 3), n(6, 3), constants=(1,), axes=[-1, 0], label="CenterCropPad axes"),
    case("Compress", f(3, 4), np.asarray([False, True, True]), constants=(1,), axis=0),
    case("Compress", f(3, 4), np.asarray([False, True, True, False, True]), constants=(1,), label="Compress flat"),
    case("RotaryEmbedding", f(2, 3, 4, 6), f(8, 3), f(8, 3), RNG.integers(0, 8, (2, 4))),
    case("RotaryEmbedding", f(2, 4, 12), f(2, 4, 2), f(2, 4, 2), num_heads=2, rotary_embedding_dim=4, interleaved=1,
         label="RotaryEmbedding in part, interleaved"),
    *(case("Det", f(*shape), label=f"Det {shape}") for shape in ((1, 1), (2, 2), (2, 3, 3), (4, 4), (2, 2, 5, 5))),
    case("DFT", f(2, 6, 1), None, n(1)[0], constants=(2,)),
    case("DFT", f(2, 6, 3, 2), None, n(1)[0], constants=(2,), inverse=1, label="DFT inverse"),
    case("DFT", f(2, 6, 1), n(8)[0], n(1)[0], constants=(1, 2), onesided=1, label="DFT filled one-sided"),
    case("DFT", f(2, 6, 2), n(4)[0], n(1)[0], constants=(1, 2), label="DFT cut"),
    case("STFT", f(2, 20, 1), n(3)[0], f(8), n(8)[0], constants=(1, 3)),
    case("STFT", f(1, 16, 1), n(4)[0], None, n(8)[0], constants=(1, 3), onesided=0, label="STFT bare"),
]  # fmt: skip

NO_KERNEL = {"DeformConv", "RoiAlign", "TensorScatter", "Col2Im", "DFT", "STFT", "Det", "QLinearMatMul"}
"""Operators that onnxruntime does not have at the hub's version, or not for every form here: the reference is asked."""


@pytest.mark.parametrize("composed", CASES, ids=str)
def test_it_computes_what_the_operator_does(composed: Composed) -> None:
    want = None
    if composed.operator in NO_KERNEL:
        found = ReferenceEvaluator(composed.model()).run(None, composed.feeds)
        want = {name: np.asarray(array) for name, array in zip(composed.outputs, found, strict=True)}
    assert_composed(composed, want)


REGIONS = np.asarray(
    [[0, 0, 0, 7, 6], [1, 2, 1, 4, 3], [1, 2.5, -1.5, 9, 2.49999], [0, 5, 4, 3, 2], [1, 9, 9, 12, 12], [0, 3, 3, 3, 3]],
    np.float32,
)
POOLED = {
    "cells": {"pooled_shape": [3, 2]},
    "scaled": {"pooled_shape": [2, 5], "spatial_scale": 0.625},
    "one": {"pooled_shape": [1, 1], "spatial_scale": 1.7},
}


@pytest.mark.parametrize("attributes", POOLED.values(), ids=POOLED)
def test_regions_are_pooled_as_onnxruntime_pools_them(attributes: dict[str, Any]) -> None:
    """onnx has no reference of it, onnxruntime has it at opsets below the hub's."""
    composed = case("MaxRoiPool", f(2, 3, 7, 8), REGIONS, **attributes)
    older = composed.model()
    older.opset_import[0].version = 21
    assert_composed(composed, run(older, composed.feeds))


REFUSED = [
    (case("Det", f(7, 7)), "a determinant of 7 rows would take 448 products"),
    (case("Compress", f(3), np.asarray([True, False, True])), "how many elements it keeps depends on values"),
    (case("RoiAlign", IMAGE, ROIS, n(0, 1, 1)), "as many samples as each region is large"),
    (case("AffineGrid", f(2, 2, 3), n(2, 3, 4, 5)), "a constant is needed"),
    (case("AffineGrid", f(2, 2, 3), n(2, 3, 1, 5), constants=(1,), align_corners=1), "one element of an axis"),
    (case("MatMulInteger", u(1, 70000), u(70000, 1)), "a sum of 70000 products of integers is not exact in float32"),
]


@pytest.mark.parametrize(("composed", "cause"), REFUSED, ids=lambda item: str(item)[:30])
def test_what_cannot_be_said_is_refused_with_its_cause(composed: Composed, cause: str) -> None:
    assert cause in refusals(expanded(composed))[0]


def test_every_composition_is_tested() -> None:
    own = {module.__name__ for module in (integer, loss, movement, rotary, sampling, spectrum)}
    assert {entry.operator for entry in TABLE if entry.function.__module__ in own} == {item.operator for item in CASES}
