"""The same model and options make the same bytes, in whatever process, whatever Python's hashes are."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import workbench as wb

ROOT = Path(__file__).parents[3]


def classifier() -> onnx.ModelProto:
    """Convolutions that share weights by name and by value, a branch of the graph, probabilities."""
    rng = np.random.default_rng(5)
    kernel = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    constants = {
        "k": kernel, "same": kernel, "other": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(8).astype(np.float32), "m": rng.standard_normal((8, 512)).astype(np.float32),
        "n": rng.standard_normal((512, 4)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c0"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "same", "b"], ["c1"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "other"], ["c2"], name="third", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="relu"),
        helper.make_node("Sum", ["r0", "c1", "c2"], ["s"], name="sum"),
        helper.make_node("GlobalAveragePool", ["s"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "m"], ["h"], name="wide"),
        helper.make_node("Gelu", ["h"], ["a"], name="gelu"),
        helper.make_node("MatMul", ["a", "n"], ["l"], name="narrow"),
        helper.make_node("Softmax", ["l"], ["y"], name="softmax"),
    ]
    return model(nodes, {"x": [1, 3, 12, 10]}, {"y": [1, 4]}, constants)


def decoder() -> onnx.ModelProto:
    """A cache that is read and written, and a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["v", "half"], ["w"], name="halve"),
            helper.make_node("ReduceSum", ["w"], ["t"], name="total", keepdims=0),
            helper.make_node("Greater", ["t", "limit"], ["more"], name="more"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3]),
        ],
        [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(np.float32(1), "limit")],
    )
    nodes = [
        helper.make_node("Add", ["past", "x"], ["present"], name="add"),
        helper.make_node("ReduceSum", ["present"], ["sum"], name="sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["start"], name="start"),
        helper.make_node("Loop", ["", "start", "present"], ["y"], name="loop", body=body),
    ]
    return model(
        nodes, {"x": [2, 3], "past": [2, 3]}, {"y": [2, 3], "present": [2, 3]}, {"zero": np.asarray(0, np.float32)}
    )


def model(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]) -> Any:
    def infos(shapes: dict[str, Any]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    graph = helper.make_graph(
        nodes, "g", infos(inputs), infos(outputs),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


IMAGES = {"x": {"colours": "BGR", "scale": 1 / 255, "bias": [-0.5, -0.4, -0.3]}}
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fp32": (classifier, {}),
    "fp16": (classifier, {"precision": "fp16"}),
    "mixed": (classifier, {"precision": "mixed", "keep_fp32": ["gelu", "first"]}),
    "without passes": (classifier, {"passes": "none"}),
    "palettes": (classifier, {"compress": "palettize4"}),
    "int4": (classifier, {"compress": "int4", "target": "iOS18", "precision": "fp16"}),
    "pictures and labels": (classifier, {"images": IMAGES, "labels": ["a", "b", "c", "d"], "metadata": {"by": "us"}}),
    "loop": (decoder, {"precision": "fp16"}),
    "states": (decoder, {"states": {"past": "present"}, "target": "iOS18"}),
}


def digests() -> dict[str, str]:
    """Variant → the hash of all files of its package."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (build, options) in VARIANTS.items():
            path = wb.load(build()).convert("coreml", **options).save(Path(folder) / f"{name}.mlpackage")
            files = sorted(file for file in path.rglob("*") if file.is_file())
            content = b"".join(str(file.relative_to(path)).encode() + file.read_bytes() for file in files)
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def in_a_process(seed: str) -> dict[str, str]:
    code = (
        "import json; from tests.formats.coreml.test_write_deterministic import digests; print(json.dumps(digests()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_the_same_bytes_in_every_process() -> None:
    first = digests()
    assert len(set(first.values())) == len(VARIANTS)  # the options do make other packages
    for seed in ("1", "77"):
        assert in_a_process(seed) == first, seed
    assert digests() == first
