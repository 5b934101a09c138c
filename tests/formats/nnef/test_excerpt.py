"""Parts of NNEF graphs as models of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import workbench as wb
from workbench.document import TensorSpec
from workbench.formats.nnef.tensors import write_tensor
from workbench.lowering import Refused

GRAPH = """version 1.0;

graph net(x) -> (y)
{
    x = external<scalar>(shape = [1, 2]);
    w = variable<scalar>(shape = [2, 2], label = 'weights/w');
    a = linear(x, w);
    b = relu(a);
    most = argmax_reduce(b, axes = [1]);
    chosen = select(b > 0.5, b, 0.25);
    y = chosen * 2.0;
}
"""


@pytest.fixture
def document(tmp_path: Path) -> Any:
    """A model with a variable, an integer, a logical tensor and an inner expression."""
    folder = tmp_path / "net.nnef"
    (folder / "weights").mkdir(parents=True)
    (folder / "graph.nnef").write_text(GRAPH)
    write_tensor(folder / "weights" / "w.dat", ir.tensor(np.asarray([[1, 2], [3, 4]], np.float32)), False)
    return wb.load(folder).document


def spec(name: str, dtype: str = "float32", *shape: int) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def run(part: Any, feeds: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "part.nnef"
    part.write(path)
    return wb.load(path).run(feeds)


def test_a_part_has_its_operations_and_variables_only(document: Any, tmp_path: Path) -> None:
    part = document.excerpt([spec("x", "float32", 1, 2)], ["a"])
    assert [layer.operator for layer in part.layers] == ["linear"]
    found = run(part, {"x": np.ones((1, 2), np.float32)}, tmp_path)
    assert found["a"].tolist() == [[3, 7]]
    assert (tmp_path / "part.nnef" / "weights" / "w.dat").is_file()


def test_parts_without_variables_and_with_other_types(document: Any, tmp_path: Path) -> None:
    part = document.excerpt([spec("b", "float32", 1, 2)], ["most"])
    found = run(part, {"b": np.asarray([[0, 3]], np.float32)}, tmp_path)
    assert found["most"].reshape(-1).tolist() == [1]
    assert not list((tmp_path / "part.nnef").rglob("*.dat"))


def test_expressions_come_along(document: Any, tmp_path: Path) -> None:
    part = document.excerpt([spec("b", "float32", 1, 2)], ["y"])
    found = run(part, {"b": np.asarray([[0.25, 3]], np.float32)}, tmp_path)
    assert found["y"].tolist() == [[0.5, 6]]


def test_what_cannot_be_cut_is_refused(document: Any) -> None:
    with pytest.raises(Refused, match="no tensor 'z'"):
        document.excerpt([spec("z", "float32", 1)], ["y"])
    with pytest.raises(Refused, match="read 'x', which is not fed"):
        document.excerpt([spec("b", "float32", 1, 2)], ["a"])
