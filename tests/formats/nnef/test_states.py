"""Variables that a graph updates: inputs and outputs of the model, which begin with what the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.formats.nnef import khronos
from workbench import Model, ModelError, compare, load
from workbench.formats.nnef.tensors import write_tensor

Array = NDArray[Any]

SWAP = """version 1.0;
graph swap(a) -> (y)
{
    a = external<scalar>(shape = [2]);
    x = variable<scalar>(shape = [2], label = 'x');
    z = variable<scalar>(shape = [2], label = 'z');
    new_x = update(x, z);
    new_z = update(z, x);
    y = add(a, new_x);
}
"""
X, Z = np.asarray([1.0, 2.0], np.float32), np.asarray([10.0, 20.0], np.float32)


def model(folder: Path, text: str = SWAP) -> Model:
    folder.mkdir()
    (folder / "graph.nnef").write_text(text)
    for name, array in (("x", X), ("z", Z)):
        write_tensor(folder / f"{name}.dat", array)
    return load(folder)


def test_variables_that_are_updated_are_states(tmp_path: Path) -> None:
    """The example of the specification: two variables change their places."""
    swap = model(tmp_path / "m")
    assert swap.states == {"x": "x_out", "z": "z_out"}
    assert [spec.name for spec in swap.inputs] == ["a", "x", "z"]
    assert [spec.name for spec in swap.outputs] == ["y", "x_out", "z_out"]
    a = np.asarray([0.5, 0.5], np.float32)
    once = swap.run({"a": a})
    np.testing.assert_array_equal(once["y"], a + Z)
    np.testing.assert_array_equal(once["x_out"], Z)
    np.testing.assert_array_equal(once["z_out"], X)


def test_a_state_is_carried_from_run_to_run(tmp_path: Path) -> None:
    swap = model(tmp_path / "m")
    state = swap.new_state()
    a = np.zeros(2, np.float32)
    for expected in (Z, X, Z, X):
        results = swap.run({"a": a}, state=state)
        assert list(results) == ["y"]
        np.testing.assert_array_equal(results["y"], expected)
    np.testing.assert_array_equal(swap.new_state()["x"], X)


def test_the_result_of_an_update_may_be_an_output_and_names_are_not_taken_twice(tmp_path: Path) -> None:
    text = SWAP.replace("-> (y)", "-> (new_x)").replace("y = add(a, new_x)", "x_out = add(a, new_x)")
    swap = model(tmp_path / "m", text)
    assert swap.states == {"x": "x_out_", "z": "z_out"}
    results = swap.run({"a": X})
    np.testing.assert_array_equal(results["new_x"], Z)
    np.testing.assert_array_equal(results["x_out_"], Z)


@pytest.mark.parametrize("target", ["onnx", "nnef"])
def test_a_converted_state_is_an_input_and_an_output(target: str, tmp_path: Path) -> None:
    swap = model(tmp_path / "m")
    made = load(swap.convert(target).save(tmp_path / ("made.onnx" if target == "onnx" else "made.nnef")))
    assert [spec.name for spec in made.inputs] == ["a", "x", "z"]
    assert compare(swap, made).ok
    np.testing.assert_array_equal(made.run({"a": X, "x": X, "z": Z})["z_out"], X)


def test_a_saved_model_keeps_its_variables(tmp_path: Path) -> None:
    again = load(model(tmp_path / "m").save(tmp_path / "again.nnef"))
    assert again.states == {"x": "x_out", "z": "z_out"}
    np.testing.assert_array_equal(again.new_state()["z"], Z)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("new_z = update(x, x);", "'x' is updated a second time"),
        ("new_z = update(new_x, x);", "'new_x' is no variable"),
        ("new_z = update(a, x);", "'a' is no variable"),
    ],
)
def test_what_cannot_be_updated_is_an_error_with_its_line(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"graph\.nnef:8.*{words}"):
        model(tmp_path / "m", SWAP.replace("new_z = update(z, x);", line))


def test_khronos_parser_takes_it(tmp_path: Path) -> None:
    model(tmp_path / "m")
    (found,) = khronos.parse([{"path": str(tmp_path / "m"), "shapes": True}])
    assert "error" not in found, found
