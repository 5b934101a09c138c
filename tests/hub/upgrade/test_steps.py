"""One table over the steps: what the upgraded node computes is what the old one did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.hub.upgrade.support import (
    BOOL,
    F32,
    F64,
    I64,
    IMAGE,
    X34,
    X234,
    X2345,
    Array,
    Case,
    case,
    case_model,
    model_of,
    rand,
    run,
    upgraded,
)
from workbench.errors import ModelError
from workbench.hub.upgrade.registry import registered_steps, versions


def _binaries() -> Iterator[Case]:
    """Legacy broadcasting of every binary operator: suffix, axis, one element."""
    functions: dict[str, Callable[..., Any]] = {
        **{"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power},
        **{"Greater": np.greater, "Less": np.less, "Equal": np.equal},
        **{"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor},
    }
    for operator, function in functions.items():
        kind: Any = bool if operator in ("And", "Or", "Xor") else np.int32 if operator == "Equal" else F32
        a = (np.abs(X234) + 1).astype(kind) if kind is not bool else BOOL
        b = (np.abs(rand(3, seed=1)) + 1).astype(kind) if kind is not bool else np.array([True, False, True])

        def middle(a: Array, b: Array, function: Callable[..., Any] = function) -> Any:
            return function(a, b[:, None])

        yield case(f"{operator} axis", a, b, opset=1, broadcast=1, axis=1, expected=middle, tolerance=1e-6)
        yield case(f"{operator} same shape", a, a, opset=1, expected=function, tolerance=1e-6)
    a, b = X2345, rand(3, 4, seed=1)
    consumed = {"consumed_inputs": [0, 0]}
    yield case("Add suffix", X234, b, opset=6, broadcast=1, expected=np.add)
    yield case("Add two axes", a, b, opset=1, broadcast=1, axis=1, expected=lambda a, b: a + b[:, :, None], **consumed)
    yield case("Add negative axis", a, b, opset=6, broadcast=1, axis=-3, expected=lambda a, b: a + b[:, :, None])
    yield case("Add one element", X234, rand(1), opset=6, broadcast=1, expected=np.add)
    yield case("Add axis ignored without broadcast", X34, X34, opset=6, axis=1, expected=np.add)
    slope = np.abs(rand(3, seed=2))
    prelu = lambda x, slope: np.where(x < 0, x * slope[:, None], x)  # noqa: E731
    yield case("PRelu channels", X234, slope, opset=6, expected=prelu, ranked_only=True)
    yield case(
        "PRelu shared", X234, slope[:1], opset=1, expected=lambda x, s: np.where(x < 0, x * s, x), ranked_only=True
    )


def _elementwise() -> Iterator[Case]:
    wide = np.array([-np.inf, -3, -1, 0, 1, 3, np.inf], F32)
    yield case("Clip", X34, opset=6, min=-0.5, max=1.0)
    yield case("Clip one bound", X34, opset=6, min=0.0)
    yield case("Clip defaults", wide, opset=6)
    yield case("Clip double", rand(9, dtype=F64), opset=6, min=-0.5, max=0.5, expected=lambda x: np.clip(x, -0.5, 0.5))
    # The float32 bound is the default of float32 only.
    limit = float(np.finfo(F32).max)
    beyond = np.array([1e300, 1.0], F64)
    yield case("Clip double at float32's limit", beyond, opset=6, max=limit, expected=lambda x: np.minimum(x, limit))
    yield case("Clip without bounds", wide, opset=1, expected=lambda x: x, consumed_inputs=[0])
    yield case(
        "Selu defaults",
        X34,
        opset=1,
        tolerance=1e-6,
        expected=lambda x: 1.0507 * np.where(x > 0, x, 1.6732 * (np.exp(x) - 1)),
    )
    yield case(
        "Selu stated",
        X34,
        opset=1,
        tolerance=1e-6,
        alpha=1.0,
        gamma=2.0,
        expected=lambda x: 2 * np.where(x > 0, x, np.exp(x) - 1),
    )
    yield case("Cast", X34, opset=1, to="DOUBLE", expected=lambda x: x.astype(F64))
    yield case("Cast to bool", X34, opset=1, to="bool", expected=lambda x: x.astype(bool))
    yield case("Dropout", X34, opset=1, is_test=1, ratio=0.3, expected=lambda x: x, consumed_inputs=[0])
    yield case("Dropout", X34, opset=7, ratio=0.3)
    yield case("Dropout", X34, opset=10)
    yield case("Relu", X34, opset=1, expected=lambda x: np.maximum(x, 0), consumed_inputs=[0])
    yield case("Sum", X34, X34, opset=1, expected=np.add, consumed_inputs=[0, 0])
    yield case("Erf", X34, opset=9)
    matrices = rand(3, 4), rand(4, 5), rand(5)
    yield case(
        "Gemm", *matrices, opset=6, broadcast=1, alpha=2.0, tolerance=1e-5, expected=lambda a, b, c: 2 * a @ b + c
    )
    yield case("Gemm", *matrices, opset=9, tolerance=1e-6)


def _coerced() -> Iterator[Case]:
    ties = np.round(X2345)
    for operator in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (7, 11):
            yield case(f"{operator} default axis", ties, opset=opset, tolerance=1e-6)
            for axis in (0, 1, 2, 3):
                yield case(f"{operator} axis {axis}", ties, opset=opset, axis=axis, tolerance=1e-6)
        yield case(f"{operator} axis -1", ties, opset=11, axis=-1, tolerance=1e-6)
        yield case(f"{operator} axis -3", ties, opset=11, axis=-3, tolerance=1e-6)
        yield case(f"{operator} pooled", rand(2, 7, 1, 1), opset=11, tolerance=1e-6)
        yield case(f"{operator} one wide axis", rand(2, 1, 7, 1), opset=11, tolerance=1e-6)
        yield case(f"{operator} matrix", X34, opset=9, tolerance=1e-6)


def _shapes() -> Iterator[Case]:
    thin = rand(1, 3, 1, 4)
    yield case("Squeeze", thin, opset=11, axes=[0, -2])
    yield case("Squeeze all", thin, opset=11)
    yield case("Unsqueeze", X34, opset=11, axes=[0, 3])
    yield case("Reshape", X34, opset=1, shape=[0, 2, -1], consumed_inputs=[0], expected=lambda x: x.reshape(3, 2, 2))
    yield case("Concat", X34, X34, opset=1, expected=lambda a, b: np.concatenate([a, b], 1))
    yield case("Slice", X234, opset=7, starts=[1, -3], ends=[2**31 - 1, -1], axes=[1, 2])
    yield case("Slice axes left out", X234, opset=7, starts=[0, 1], ends=[1, 3])
    yield case("Slice fewer starts than axes", X234, opset=7, starts=[1], ends=[2])
    halves = lambda x, *_: np.split(x, 2, 1)  # noqa: E731
    yield case("Split", X34, opset=1, axis=1, outputs=2, split=[2, 2], expected=halves)
    yield case(
        "Split sizes as input", X34, np.array([2, 2], F32), opset=1, axis=1, outputs=2, constants=(1,), expected=halves
    )
    yield case("Split equal", X34, opset=11, axis=1, outputs=2)
    yield case("Split sizes", X34, opset=11, axis=-1, outputs=2, split=[1, 3])
    yield case("Split equal", X34, opset=13, axis=1, outputs=4)
    yield case("Split sizes", X34, np.array([1, 3], I64), opset=13, axis=1, outputs=2)
    pads = {"pads": [0, 1, 2, 0]}
    yield case("Pad", X34, opset=1, paddings=pads["pads"], expected=lambda x: np.pad(x, ((0, 2), (1, 0))))
    yield case("Pad", X34, opset=7, value=1.5, **pads)
    yield case("Pad double", rand(3, 4, dtype=F64), opset=7, value=1.5, **pads)
    yield case("Pad reflect", X34, opset=10, mode="reflect", value=1.5, **pads)
    yield case("Pad edge", X34, opset=10, mode="edge", **pads)
    tile = lambda x, tiles, axis: np.tile(x, (1, 3))  # noqa: E731
    yield case("Tile", X34, np.array(3, F32), np.array(1, F32), opset=1, expected=tile)
    yield case("Tile constants", X34, np.array([3], F32), np.array([1], F32), opset=1, expected=tile, constants=(1, 2))
    yield case("TopK", X34, opset=7, outputs=2, k=2)
    yield case("TopK", X34, opset=9, outputs=2, k=2, axis=0)
    yield case("Scatter", X34, np.array([[1, 0, 2, 1]]), rand(1, 4, seed=1), opset=9)
    yield case("Scatter axis", X34, np.array([[1, 3]]), rand(1, 2, seed=1), opset=9, axis=1)


def _reductions() -> Iterator[Case]:
    positive = np.abs(X234) + 0.1
    for operator in sorted(name for name in versions() if name.startswith("Reduce")):
        opset = 11 if operator == "ReduceSum" else 13
        yield case(f"{operator} axes", positive, opset=opset, axes=[0, -1], keepdims=0)
        yield case(f"{operator} all", positive, opset=opset)
        yield case(f"{operator} one", positive, opset=7, axes=[1])


def _normalizations() -> Iterator[Case]:
    def batch_norm(x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
        across = (slice(None), *(None for _ in range(x.ndim - 2)))
        return (x - mean[across]) / np.sqrt(var[across] + 1e-5) * scale[across] + bias[across]

    channels = tuple(np.abs(rand(3, seed=seed)) + 0.1 for seed in range(4))
    legacy = {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}
    yield case("BatchNormalization", X2345, *channels, opset=1, tolerance=1e-5, expected=batch_norm, **legacy)
    yield case("BatchNormalization", X2345, *channels, opset=6, tolerance=1e-5, expected=batch_norm, is_test=1)
    yield case("BatchNormalization", X2345, *channels, opset=7, epsilon=0.01)
    yield case("BatchNormalization", X2345, *channels, opset=9, momentum=0.5)
    yield case("BatchNormalization", X2345, *channels, opset=14)
    elements = tuple(np.abs(rand(3, 4, 5, seed=seed)) + 0.1 for seed in range(4))
    yield case("BatchNormalization spatial", X2345, *elements, opset=7, spatial=0, epsilon=0.01, tolerance=1e-5)
    grouped = rand(2, 6, 4), np.array([1, 2, 3], F32), np.array([4, 5, 6], F32)
    options: dict[str, Any] = {"opset": 18, "num_groups": 3, "tolerance": 1e-5}
    yield case("GroupNormalization", *grouped, **options)
    double = (array.astype(F64) for array in grouped)
    yield case("GroupNormalization double", *double, **{**options, "tolerance": 1e-13})
    yield case("GroupNormalization stored scale", *grouped, constants=(1, 2), **options)
    yield case(
        "GroupNormalization half", *(array.astype(np.float16) for array in grouped), **{**options, "tolerance": 4e-3}
    )


def _resampling() -> Iterator[Case]:
    def nearest(x: Array) -> Array:
        return x.repeat(2, 2).repeat(3, 3)

    yield case("Upsample", IMAGE, opset=1, height_scale=2.0, width_scale=3.0, mode="nearest", expected=nearest)
    for mode in ("nearest", "linear"):
        yield case(f"Upsample {mode}", IMAGE, opset=7, scales=[1.0, 1.0, 2.0, 3.0], mode=mode, tolerance=1e-6)
        for stored in ((), (1,)):
            for name, scales in {"up": (2.0, 1.6), "down": (0.6, 0.8), "mixed": (1.7, 0.6)}.items():
                sizes = np.array([1, 1, *scales], F32)
                kind = f"{mode} {name} {'stored' if stored else 'fed'}"
                yield case(f"Resize {kind}", IMAGE, sizes, opset=10, mode=mode, constants=stored, tolerance=1e-6)
                if name == "up":
                    yield case(f"Upsample {kind}", IMAGE, sizes, opset=9, mode=mode, constants=stored, tolerance=1e-6)
    empty = np.zeros(0, F32)
    sizes = np.array([1, 2, 9, 5], I64)
    yield case("Resize sizes", IMAGE, empty, empty, sizes, opset=11, mode="linear", constants=(1, 2))
    scales = np.array([1, 1, 1.5, 2], F32)
    yield case("Resize scales", IMAGE, empty, scales, opset=11, mode="cubic", constants=(1,))
    roi = np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9], F32)
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    yield case("Resize crop", IMAGE, roi, empty, sizes, opset=11, constants=(1, 2), **crop)
    grid = np.clip(rand(1, 4, 4, 2), -1, 1)
    for mode in ("bilinear", "bicubic", "nearest"):
        yield case(f"GridSample {mode}", IMAGE, grid, opset=16, mode=mode, align_corners=1)
    yield case("GridSample default", IMAGE, grid, opset=16)


def _others() -> Iterator[Case]:
    signal = rand(2, 8, 4, 1)
    yield case("DFT default axis", signal, opset=17, tolerance=1e-5)
    yield case("DFT", signal, opset=17, axis=2, onesided=1, tolerance=1e-5)
    root = lambda x: np.sqrt((x**2).sum((2, 3), keepdims=True))  # noqa: E731
    yield case("GlobalLpPool", X2345, opset=1, p=2.0, tolerance=1e-5, expected=root, runs_at=21)
    window = {"kernel_shape": [4, 5], "p": 2.0}
    yield case("LpPool", X2345, opset=1, tolerance=1e-5, expected=root, **window)
    boxes = np.array([[0, 0, 3, 3], [1, 1, 5, 5]], F32), np.zeros(2, I64)
    bins = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    yield case("RoiAlign", IMAGE, *boxes, opset=10, runs_at=21, **bins)
    yield case("RoiAlign max", IMAGE, *boxes, opset=10, mode="max", runs_at=21, **bins)
    yield from _recurrent()
    yield case("Affine", X34, opset=7, alpha=2.0, beta=-1.0)
    yield case("Affine defaults", X34, opset=7)
    yield case("Scale", X34, opset=7, scale=3.0)
    yield case("ParametricSoftplus", X34, opset=7, alpha=2.0, beta=0.5, tolerance=1e-6)
    yield case("ScaledTanh", X34, opset=7, alpha=2.0, beta=0.5, tolerance=1e-6)
    yield case("ThresholdedRelu", X34, opset=7, alpha=0.5)
    yield case("ImageScaler", IMAGE, opset=7, scale=2.0, bias=[1.0, -1.0])
    yield case("Crop", IMAGE, opset=7, border=[1, 0, 2, 3])
    yield case("Crop nothing", IMAGE, opset=7, border=[0, 0, 0, 0])
    yield case("Crop size", IMAGE, opset=7, border=[1, 2, 0, 0], scale=[2, 3])


def _recurrent() -> Iterator[Case]:
    x = rand(4, 2, 3)
    for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        weights = rand(1, gates * 5, 3, seed=1), rand(1, gates * 5, 5, seed=2)
        feeds = dict(zip("xwr", (x, *weights), strict=True))
        yield case(operator, x, *weights, opset=7, hidden_size=5, outputs=2, tolerance=1e-6)
        # Versions 1 and 3 say with one more attribute what onnxruntime computes at 7.
        expected = run(model_of([helper.make_node(operator, "xwr", "yh", hidden_size=5)], feeds, "yh", 7), feeds)
        options: dict[str, Any] = {"hidden_size": 5, "output_sequence": 1, "outputs": 2, "tolerance": 1e-6}
        yield case(f"{operator} sequence", x, *weights, opset=3, expected=lambda *_, y=expected: y, **options)
        if operator == "GRU":
            options["direction"] = "foward"
        yield case(f"{operator} sequence", x, *weights, opset=1, expected=lambda *_, y=expected: y, **options)


CASES = [
    *_binaries(),
    *_elementwise(),
    *_coerced(),
    *_shapes(),
    *_reductions(),
    *_normalizations(),
    *_resampling(),
    *_others(),
]


@pytest.mark.parametrize("ranked", [True, False], ids=["ranked", "unranked"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_step_keeps_the_result(case: Case, ranked: bool) -> None:
    model, feeds = case_model(case, ranked=ranked)
    if case.ranked_only and not ranked:
        with pytest.raises(ModelError, match="rank"):
            upgraded(model)
        return
    if case.expected is None:
        expected = run(model, feeds)
    else:
        found = case.expected(*(array for array in case.inputs if array is not None))
        expected = list(found) if isinstance(found, list | tuple) else [found]
    result = upgraded(model)
    result.opset_import[0].version = case.runs_at
    for want, got in zip(expected, run(result, feeds), strict=True):
        assert got.dtype == np.asarray(want).dtype or case.expected is not None
        np.testing.assert_allclose(got, want, rtol=case.tolerance, atol=case.tolerance)


def test_the_table_has_a_case_for_every_operator_with_a_step() -> None:
    elsewhere = {"Scan"}
    dropped_only = {"Abs", "Ceil", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization", "LeakyRelu", "Log"}
    dropped_only |= {"Max", "Mean", "Min", "Neg", "Reciprocal", "Sigmoid", "Sqrt", "Tanh"}  # consumed_inputs, as Relu
    assert {operator for operator, _ in registered_steps()} - {
        case.operator for case in CASES
    } == elsewhere | dropped_only


SHIFTED, BY = np.array([-9, 100, -128, 5, -1], np.int8), np.array([1, 9, -2, 0, 7], np.int8)

NEWER = [
    case("BitShift", SHIFTED, BY, opset=28, direction="RIGHT"),
    case("BitShift", SHIFTED, BY, opset=28, direction="LEFT"),
    case("BitShift", SHIFTED.view(np.uint8), BY.view(np.uint8), opset=28, direction="RIGHT"),
    case("Cast", X34, opset=28, to=TensorProto.DOUBLE),
    case("Mod", X34, X34[:, :1], opset=28, fmod=1),
    case("Celu", X34, opset=28),
    case("Range", np.array(1, F32), np.array(5, F32), np.array(1, F32), opset=28, stash_type=1),
    case("SpaceToDepth", rand(1, 1, 4, 4), opset=28, blocksize=2, mode="DCR"),
    case("Relu", X34, opset=28),
]


@pytest.mark.parametrize("case", NEWER, ids=lambda case: case.name)
def test_a_newer_opset_is_taken_where_it_says_the_same(case: Case) -> None:
    model, feeds = case_model(case, ranked=True)
    for want, got in zip(run(model, feeds), run(upgraded(model), feeds), strict=True):
        np.testing.assert_array_equal(got, want)
