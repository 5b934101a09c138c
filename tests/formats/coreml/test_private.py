"""Our own copy of coremltools: it imports no frameworks, and whoever uses coremltools beside it has all of that."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("coremltools")

CONVERT = """
import sys
import numpy as np, onnx
from onnx import helper
import workbench as wb

def convert():
    value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4])
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [value("x")], [value("y")], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    converted = wb.load(model).convert("coreml")
    assert converted.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[4.0] * 4]
    return converted
"""
PUBLIC = """
import coremltools as ct
from coremltools.converters.mil import Builder as mb

def build():
    @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS16)
    def program(x):
        return mb.relu(x=x, name="y")
    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16)
    model.save(sys.argv[1] + "/public.mlpackage")
    return ct.models.MLModel(sys.argv[1] + "/public.mlpackage", skip_model_load=True)
"""
USED = """
assert [each.name for each in build().get_spec().description.output] == ["y"]
assert wb.load(build()).run({"x": np.array([[-1, 0, 1, 2]], np.float32)})["y"].tolist() == [[0.0, 0.0, 1.0, 2.0]]
"""


def run(code: str, *arguments: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_conversion_imports_no_framework_and_not_the_users_coremltools() -> None:
    shown = run(f"{CONVERT}\nconvert()\nprint(sorted({{name.partition('.')[0] for name in sys.modules}}))")
    assert "'workbench'" in shown
    for framework in ("torch", "sklearn", "tensorflow", "xgboost", "transformers"):
        assert f"'{framework}'" not in shown
    assert run(f"{CONVERT}\nconvert()\nprint('coremltools' in sys.modules)").strip() == "False"


def test_the_messages_come_without_the_rest() -> None:
    code = "import sys\nfrom workbench.formats.coreml import toolkit\nassert toolkit.model_pb2().Model()\n"
    shown = run(f"{code}print([name for name in sys.modules if '_coremltools.' in name and '.proto' not in name])")
    assert shown.strip() == "[]"


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_the_users_coremltools_works_beside_it(order: str, tmp_path: Path) -> None:
    steps = [f"{CONVERT}\nconvert()", PUBLIC]
    code = "\n".join(steps if order == "ours first" else ["import sys", *reversed(steps)])
    torch = importlib.util.find_spec("torch") is not None
    run(f"{code}\n{USED}\nconvert()\nassert ct._deps._HAS_TORCH is {torch}", str(tmp_path))
