"""The tract dialect as it is written: read back right, and run right by tract itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.formats.nnef.tract import Tract
from workbench import Model, load
from workbench.errors import ConversionError

pytest.importorskip("tract")

Array = NDArray[Any]
RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
IMAGE = RANDOM.standard_normal((1, 2, 5, 5)).astype(np.float32)
LARGE = np.asarray([2**40 + 1, -(2**33) - 3, 7])
MASKED = np.asarray([[1.0, -np.inf], [-np.inf, -np.inf]], np.float32)


def _type(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


@dataclass(frozen=True)
class Case:
    """One node over named inputs, what stands in the text and what must not, and why it is here."""

    operator: str
    inputs: dict[str, Array]
    constants: dict[str, Array] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    outputs: int = 1
    result: Callable[[], Array] | None = None

    def model(self, axes: dict[str, list[int | str]] | None = None) -> onnx.ModelProto:
        names = [*self.inputs, *self.constants]
        results = [f"y{index}" for index in range(self.outputs)]
        node = helper.make_node(self.operator, names, results, **self.attributes)
        shapes = axes or {}
        inputs = [
            helper.make_tensor_value_info(name, _type(array.dtype), shapes.get(name, list(array.shape)))
            for name, array in self.inputs.items()
        ]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in results]
        graph = helper.make_graph([node], "g", inputs, outputs, constants)
        found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        return onnx.shape_inference.infer_shapes(found, strict_mode=True)


CASES = {
    "integers beyond 2^24 stay exact": Case("Add", {"a": LARGE, "b": LARGE[::-1].copy()}, says="add(a, b)"),
    "a square of integers": Case("Mul", {"a": LARGE % 1000, "b": LARGE % 1000}, says="mul(a, b)"),
    "int32 wraps around": Case("Mul", {"a": np.asarray([2**30, 3], np.int32)}, {"b": np.asarray(4, np.int32)},
                               says="to = 'i32'"),
    "uint8 wraps around": Case("Sub", {"a": np.asarray([3], np.uint8), "b": np.asarray([5], np.uint8)}, says="'u8'"),
    "division of integers": Case("Div", {"a": np.asarray([-7, 7, 9])}, {"b": np.asarray([2])}, says="div("),
    "a remainder with the divisor's sign": Case("Mod", {"a": np.asarray([-7, 7, -9])}, {"b": np.asarray([3, -3, 4])}),
    "comparison of large integers": Case("Less", {"a": LARGE, "b": LARGE + 1}, says="lt(a, b)"),
    "a sum of large integers": Case("ReduceSum", {"a": LARGE}, attributes={"keepdims": 1}, says="slice("),
    "a sum of int32": Case("ReduceSum", {"a": np.full((2, 3), 500_000_001, np.int32)}, {"x": np.asarray([1])},
                           {"keepdims": 0}, "sum_reduce("),
    "softmax of float64": Case("Softmax", {"x": X.astype(np.float64)}, attributes={"axis": 1}, says="exp("),
    "sigmoid of float64": Case("Sigmoid", {"x": X.astype(np.float64)}, says="exp("),
    "a row of infinities has a maximum": Case("ReduceMax", {"x": MASKED}, {"axes": np.asarray([1])}),
    "halves are rounded to the even number": Case("Round", {"x": np.asarray([0.5, 1.5, -2.5], np.float32)},
                                                  says="tract_core_round_even"),
    "erf in one piece": Case("Erf", {"x": X}, says="tract_core_erf"),
    "elu with a factor": Case("Elu", {"x": X}, attributes={"alpha": 0.3}, says="select("),
    "float16 is kept": Case("Add", {"x": X.astype(np.float16)}, {"b": np.asarray(0.1, np.float16)},
                            says="datum_type = 'f16'"),
    "float64 is kept": Case("Mul", {"x": X.astype(np.float64)}, {"b": np.asarray(0.1)}, says="datum_type = 'f64'"),
    "a cast through float16": Case("Cast", {"x": X}, attributes={"to": TensorProto.FLOAT16}, says="'f16'"),
    "floats to bytes": Case("Cast", {"x": np.abs(X) * 50}, attributes={"to": TensorProto.UINT8}, says="'u8'"),
    "gather with computed indices": Case("Gather", {"x": X, "i": np.asarray([[0, -1]])}, attributes={"axis": 1},
                                         says="tract_core_gather("),
    "scatter with computed indices": Case(
        "ScatterElements", {"x": X[0], "i": np.asarray([[1, -4], [0, 0], [2, 3]]), "u": X[1, :, :2].copy()},
        attributes={"axis": 1}, says="tract_core_scatter_elements("),
    "the largest": Case("TopK", {"x": X}, {"k": np.asarray([2])}, {"axis": 2}, "tract_core_topk(x, 2", outputs=2),
    "a slice backwards": Case(
        "Slice", {"x": X}, {"s": np.asarray([3]), "e": np.asarray([-9]), "a": np.asarray([2]), "t": np.asarray([-2])},
        says="tract_core_gather("),
    "the rest of an axis": Case(
        "Slice", {"x": X}, {"s": np.asarray([1]), "e": np.asarray([2**62]), "a": np.asarray([2])},
        says="begin = [1], end = [4]"),
    "parts": Case("Split", {"x": X}, {"s": np.asarray([1, 3])}, {"axis": 2}, "slice(x", outputs=2),
    "a border of integers": Case(
        "Pad", {"x": LARGE}, {"p": np.asarray([1, 2]), "v": np.asarray(2**35)}, says="concat("),
    "the edge repeated": Case("Pad", {"x": X}, {"p": np.asarray([0, 1, 0, 0, 0, 2])}, {"mode": "edge"}, "'replicated'"),
    "a transposed convolution in groups": Case(
        "ConvTranspose", {"x": IMAGE}, {"w": RANDOM.standard_normal((2, 3, 3, 3)).astype(np.float32)},
        {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}, "output_shape = [10, 9]"),
    "normalisation over channels": Case("LRN", {"x": IMAGE}, attributes={"size": 3, "alpha": 0.2}, says="box("),
    "a product over named axes": Case(
        "Einsum", {"x": X, "w": X[:, 0, :2].copy()}, attributes={"equation": "b i j , b k -> j k"},
        says="expr = 'bij,bk->jk'"),
    "running sums of integers": Case("CumSum", {"x": LARGE}, {"a": np.asarray(0)}, {"exclusive": 1}),
    "bits": Case("BitShift", {"x": np.asarray([200, 3], np.uint8)}, {"n": np.asarray([1, 7], np.uint8)},
                 {"direction": "LEFT"}, "tract_shl("),
    "not a number": Case("IsNaN", {"x": np.asarray([np.nan, 1], np.float32)}, says="tract_core_is_nan"),
    "a mask's triangle": Case("Trilu", {"x": X}, attributes={"upper": 0}, says="tract_core_trilu"),
    "expansion": Case("Expand", {"x": X[:, :1].copy()}, {"s": np.asarray([2, 3, 4])}, says="tract_core_broadcast"),
}  # fmt: skip


def _same(found: Array, wanted: Array) -> None:
    assert found.dtype == wanted.dtype
    exact = wanted.dtype.kind in "iub"
    rtol = {"float16": 2e-3, "float64": 1e-12}.get(wanted.dtype.name, 1e-5)
    np.testing.assert_allclose(found, wanted, rtol=0 if exact else rtol, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_node_is_read_back_right_and_run_right_by_tract(case: Case, tract: Tract, tmp_path: Path) -> None:
    source = load(case.model())
    wanted = source.run(case.inputs)
    path = source.convert("nnef", dialect="tract").save(tmp_path / "case.nnef")
    assert case.says in (path / "graph.nnef").read_text()
    read = load(path)
    assert [spec.dtype for spec in (*read.inputs, *read.outputs)] == [
        spec.dtype for spec in (*source.inputs, *source.outputs)
    ]
    found = tract.run(path, case.inputs)
    assert not isinstance(found, str), found
    for mine, its, truth in zip(read.run(case.inputs).values(), found, wanted.values(), strict=True):
        _same(mine, truth)
        _same(its, truth)


def test_the_same_model_is_the_same_bytes() -> None:
    texts = {_text(load(CASES["the largest"].model()).convert("nnef", dialect="tract")) for _ in range(2)}
    assert len(texts) == 1


def _text(model: Model) -> str:
    return str(model.document.contents.text)  # type: ignore[attr-defined]  # of NNEF's documents


def test_a_model_of_tract_becomes_one_of_khronos_and_returns() -> None:
    case = CASES["gather with computed indices"]
    first = load(case.model()).convert("nnef", dialect="tract")
    second = first.convert("nnef", dialect="khronos")
    third = second.convert("nnef", dialect="tract")
    assert "tract" not in _text(second)
    wanted = load(case.model()).run(case.inputs)["y0"]
    for model in (first, second, third):
        _same(model.run(case.inputs)["y0"], wanted)


def test_a_part_of_the_model_in_float16_stays_so(tract: Tract, tmp_path: Path) -> None:
    weights = RANDOM.standard_normal((4, 5)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5])], [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    source = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    feeds = {"x": X[0, :2].copy()}
    path = source.convert("nnef", dialect="tract").save(tmp_path / "half.nnef")
    assert (path / "w.dat").stat().st_size == 128 + 2 * weights.size
    found = tract.run(path, feeds)
    assert not isinstance(found, str), found
    for made in (load(path).run(feeds)["y"], found[0]):
        np.testing.assert_array_equal(made, made.astype(np.float16))  # its results are rounded
        np.testing.assert_allclose(made, source.run(feeds)["y"], rtol=2e-3, atol=2e-3)


def test_what_tract_cannot_say_is_refused_with_all_causes() -> None:
    case = Case("NonZero", {"x": X})
    with pytest.raises(ConversionError, match="depends on values at run time"):
        load(case.model()).convert("nnef", dialect="tract")
