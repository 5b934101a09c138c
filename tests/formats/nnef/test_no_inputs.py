"""Models without inputs, which the standard's grammar does not know: they come back as they were, in both dialects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.formats.nnef import khronos
from tests.formats.nnef.tract import Tract
from workbench import Model, compare, load
from workbench.formats.nnef.tensors import write_tensor

Array = NDArray[Any]

VALUES = np.asarray([[1.0, -2.0], [0.5, 4.0]], np.float32)
DTYPES = {"float32": VALUES, "int64": np.asarray([3, 2**40]), "bool": np.asarray([True, False])}
DIALECTS = ["khronos", "tract"]


def constant(array: Array, name: str = "y") -> Model:
    """A model that gives the same array at every run."""
    node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(name, kind, array.shape)])
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_without_inputs_comes_back_without_inputs(dialect: str, dtype: str, tmp_path: Path) -> None:
    array = DTYPES[dtype]
    made = load(constant(array).convert("nnef", dialect=dialect).save(tmp_path / "m.nnef"))
    assert made.inputs == ()
    np.testing.assert_array_equal(made.run({})["y"], array)
    assert compare(constant(array), made).ok
    again = load(load(made.convert("onnx").save(tmp_path / "m.onnx")).convert("nnef").save(tmp_path / "again.nnef"))
    assert again.inputs == ()
    np.testing.assert_array_equal(again.run({})["y"], array)


def test_khronos_parser_reads_it(tmp_path: Path) -> None:
    folder = constant(VALUES, "no_input").convert("nnef").save(tmp_path / "m.nnef")
    (found,) = khronos.parse([{"path": str(folder), "shapes": True}])
    assert found.get("inputs") == ["no_input_"], found  # the name was taken
    assert found["shapes"]["no_input"] == [2, 2]


def test_tract_runs_it(tmp_path: Path) -> None:
    pytest.importorskip("tract")
    folder = constant(VALUES).convert("nnef", dialect="tract").save(tmp_path / "m.nnef")
    assert "graph g() -> (y)" in (folder / "graph.nnef").read_text()
    with Tract() as tract:
        found = tract.run(folder, {})
    assert not isinstance(found, str), found
    np.testing.assert_array_equal(found[0], VALUES)


def test_without_the_sidecar_it_has_an_input_that_nothing_reads(tmp_path: Path) -> None:
    folder = constant(VALUES).convert("nnef").save(tmp_path / "m.nnef")
    (folder / "workbench.json").unlink()
    made = load(folder)
    assert [str(spec) for spec in made.inputs] == ["no_input: float32[1]"]
    np.testing.assert_array_equal(made.run({"no_input": np.zeros(1, np.float32)})["y"], VALUES)


READ = "    x = external<scalar>(shape = [2]);\n"


@pytest.mark.parametrize(
    ("heading", "body", "said", "inputs"),
    [
        ("x", READ + "    y = copy(v);", "x", []),
        ("x", READ + "    y = add(x, v);", "x", ["x"]),  # what is said is not so
        ("x", READ + "    y = copy(v);", "v", ["x"]),
        ("x", READ + "    y = copy(v);", 7, ["x"]),
        ("", "    y = copy(v);", None, []),  # nothing that the standard allows, and plain enough
    ],
)
def test_what_a_sidecar_says_is_checked(heading: str, body: str, said: Any, inputs: list[str], tmp_path: Path) -> None:
    variable = "    v = variable<scalar>(shape = [2], label = 'v');\n"
    (tmp_path / "graph.nnef").write_text(f"version 1.0;\ngraph g({heading}) -> (y)\n{{\n{variable}{body}\n}}\n")
    (tmp_path / "workbench.json").write_text(json.dumps({"version": 1, "placeholder": said}))
    write_tensor(tmp_path / "v.dat", np.asarray([1.0, 2.0], np.float32))
    made = load(tmp_path)
    assert [spec.name for spec in made.inputs] == inputs
    feeds = {name: np.zeros(2, np.float32) for name in inputs}
    np.testing.assert_array_equal(made.run(feeds)["y"], [1.0, 2.0])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_follows_from_nothing_but_constants_is_folded_and_written(dialect: str, tmp_path: Path) -> None:
    """An optional that is not there is known to be empty."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    nodes = [
        helper.make_node("Optional", [], ["none"], type=kind.optional_type.elem_type),
        helper.make_node("OptionalHasElement", ["none"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.BOOL, [])])
    source: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    made = load(load(source).convert("nnef", dialect=dialect).save(tmp_path / "m.nnef"))
    assert made.run({})["y"].tolist() is False
