"""Sizes that stay open in the tract dialect: written once, right at every size, in tract and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from workbench.formats.nnef.tract.extents import evaluated
from workbench.formats.nnef.tract.indexed import computed_variable
from workbench.formats.nnef.tract.unify import Differs, extent_of

pytest.importorskip("tract")

Array = NDArray[Any]
RANDOM = np.random.default_rng(8)
TABLE = RANDOM.standard_normal((60, 4)).astype(np.float32)
FILTER = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(" "), outputs.split(" "), **attributes)


@dataclass(frozen=True)
class Case:
    """Nodes from ``x`` to ``y``, the sizes of ``x`` with names for those that are open, and sizes to run at."""

    nodes: Sequence[onnx.NodeProto]
    dims: Sequence[int | str]
    sizes: Sequence[tuple[int, ...]]
    says: str
    constants: dict[str, Any]
    dtype: int = TensorProto.FLOAT

    def model(self) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("x", self.dtype, self.dims)]
        constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()]
        graph = helper.make_graph(list(self.nodes), "g", inputs, [onnx.ValueInfoProto(name="y")], constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        return onnx.shape_inference.infer_shapes(made)

    def feed(self, sizes: tuple[int, ...]) -> Array:
        if self.dtype == TensorProto.INT64:
            return RANDOM.integers(0, 60, sizes)
        return RANDOM.standard_normal(sizes).astype(np.float32)


POSITIONS = [
    node("Shape", "x", "s"), node("Gather", "s one", "n", axis=0), node("Range", "zero n one", "r"),
]  # fmt: skip
MASK = [
    node("Shape", "x", "s"), node("Gather", "s ones", "n", axis=0), node("Concat", "n n", "nn", axis=0),
    node("ConstantOfShape", "nn", "all", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])),
    node("Trilu", "all", "triangle", upper=0), node("Cast", "triangle", "allowed", to=TensorProto.BOOL),
]  # fmt: skip

CASES = {
    "a batch": Case(
        [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"), node("Flatten", "r", "f"),
         node("MatMul", "f m", "y")],
        ["batch size", 3, 4, 4], [(1, 3, 4, 4), (5, 3, 4, 4)], "shape = [batch_size, 64]",
        {"w": FILTER, "m": RANDOM.standard_normal((64, 2)).astype(np.float32)}),
    "a size without a name": Case([node("Relu", "x", "y")], [None, 2], [(3, 2), (1, 2)], "tract_symbol x_0;", {}),
    "axes joined": Case(
        [node("Reshape", "x shape", "y")], ["N", "T", 4], [(2, 3, 4), (1, 5, 4)], "shape = [(N * T), 4]",
        {"shape": np.asarray([-1, 4])}),
    "positions": Case(
        [*POSITIONS, node("Cast", "r", "f", to=TensorProto.FLOAT), node("Add", "x f", "y")],
        ["N", "T"], [(2, 3), (1, 9)], "tract_core_range(0, T, 1)", {"zero": 0, "one": 1}),
    "the beginning of a table": Case(
        [*POSITIONS, node("Gather", "table r", "rows"), node("Gather", "table x", "words"),
         node("Add", "words rows", "y")],
        ["N", "T"], [(2, 3), (1, 9)], "end = [T]", {"zero": 0, "one": 1, "table": TABLE}, TensorProto.INT64),
    "a causal mask": Case(
        [*MASK, node("Where", "allowed x low", "masked"), node("Softmax", "masked", "y")],
        ["N", "T", "T"], [(2, 3, 3), (1, 6, 6)], "le(", {"ones": [1], "low": np.float32(-1e9)}),
    "an image enlarged": Case(
        [node("Resize", "x  scales", "y", mode="nearest", coordinate_transformation_mode="asymmetric",
              nearest_mode="floor")],
        ["N", 3, "H", "W"], [(1, 3, 4, 6), (2, 3, 5, 7)], "tract_core_range(0, (2 * H), 1)",
        {"scales": np.asarray([1, 1, 2, 2], np.float32)}),
    "an image halved and doubled": Case(
        [node("Conv", "x w", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
         node("Resize", "c  scales", "y", mode="nearest", coordinate_transformation_mode="asymmetric",
              nearest_mode="floor")],
        ["N", 3, "H", "W"], [(1, 3, 4, 6), (2, 3, 5, 7)], "((H - 1) / 2)",
        {"w": FILTER, "scales": np.asarray([1, 1, 2, 2], np.float32)}),
    "an image in blocks": Case(
        [node("SpaceToDepth", "x", "y", blocksize=2)], ["N", 3, "H", "W"], [(1, 3, 4, 6), (2, 3, 10, 8)],
        "shape = [N, 3, (2 * H_by_2), (2 * W_by_2)]", {}),
    "a slice from the end": Case(
        [node("Slice", "x s e a", "y")], ["N", "T"], [(2, 3), (1, 9)], "end = [(T - 1)]",
        {"s": [0], "e": [-1], "a": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_open_sizes_stay_open_and_right_at_every_size(case: Case, tract: Tract, tmp_path: Path) -> None:
    source = load(case.model())
    converted = source.convert("nnef", dialect="tract")
    path = converted.save(tmp_path / "open.nnef")
    assert case.says in (path / "graph.nnef").read_text()
    read = load(path)
    assert not read.inputs[0].is_static
    for sizes in case.sizes:
        feeds = {"x": case.feed(sizes)}
        wanted = source.run(feeds)["y"]
        found = tract.run(path, feeds)
        assert not isinstance(found, str), found
        np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(read.run(feeds)["y"], wanted, rtol=1e-4, atol=1e-5)


def test_a_size_that_is_given_is_fixed_and_the_others_stay_open(tmp_path: Path) -> None:
    model = load(CASES["a causal mask"].model())
    text = (
        model.convert("nnef", dialect="tract", shapes={"x": (2, 5, 5)}).save(tmp_path / "m.nnef") / "graph.nnef"
    ).read_text()
    assert "tract_symbol" not in text
    assert "shape = [2, 5, 5]" in text
    with pytest.raises(ConversionError, match="not fixed"):
        model.convert("nnef")  # the standard dialect has no open sizes


def test_a_part_of_a_model_with_open_sizes_has_the_sizes_that_it_is_fed() -> None:
    case = CASES["a batch"]
    model = load(case.model()).convert("nnef", dialect="tract")
    feeds = {"x": case.feed((2, 3, 4, 4))}
    tapped = model.run(feeds, taps="all")
    spec = replace(model.layers[1].outputs[0], shape=(2, 4, 4, 4))
    part = Model(model.document.excerpt([spec], ["y"]))
    assert [layer.operator for layer in part.layers] == ["reshape", "matmul"]
    np.testing.assert_array_equal(part.run({spec.name: tapped[spec.name]})["y"], tapped["y"])


def test_what_depends_on_a_size_in_no_way_that_is_said_is_refused() -> None:
    linear = Case(
        [node("Resize", "x  scales", "y", mode="linear")], ["N", 3, "H", 4], [], "",
        {"scales": np.asarray([1, 1, 1.5, 1], np.float32)},
    )  # fmt: skip
    plan = load(linear.model()).plan("nnef", dialect="tract")
    assert not plan.ok
    assert "the size H, N cannot stay open" in str(plan.refusals[0])
    assert "fix it with shapes={'x': (…)}" in str(plan.refusals[0])


SAMPLES = [{"N": n, "T": t} for n, t in ((12, 17), (37, 22), (29, 40), (44, 31), (18, 26), (51, 55), (23, 13))]
EXPRESSIONS = {
    "7": lambda n, t: 7,
    "N": lambda n, t: n,
    "((2 * T) - 1)": lambda n, t: 2 * t - 1,
    "(N * T)": lambda n, t: n * t,
    "(4 * (N * T))": lambda n, t: 4 * n * t,
    "(N + T)": lambda n, t: n + t,
    "((3 * N) + T)": lambda n, t: 3 * n + t,
    "((T - 1) / 2)": lambda n, t: (t - 1) // 2,
    "(N * N)": lambda n, t: n * n,
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_of_sizes_are_found(text: str) -> None:
    rule = EXPRESSIONS[text]
    found = extent_of([rule(sample["N"], sample["T"]) for sample in SAMPLES], SAMPLES)
    assert evaluated(found, {"N": 101, "T": 8}) == rule(101, 8)
    assert str(found).replace("(T + -1)", "(T - 1)") == text or text == "((T - 1) / 2)"


def test_numbers_that_follow_no_rule_are_not_guessed() -> None:
    with pytest.raises(Differs, match="follows from the sizes in a way that is not said"):
        extent_of([3, 1, 4, 1, 5, 9, 2], SAMPLES)
    with pytest.raises(Differs):  # seven divides nothing that is looked for
        extent_of([sample["N"] // 7 for sample in SAMPLES], SAMPLES)


CONSTANTS = {
    "one value": lambda n, t: np.full((n, t), 2.5, np.float32),
    "positions backwards": lambda n, t: np.arange(t)[::-1],
    "multiples": lambda n, t: 3 * np.arange(n)[:, None] + np.arange(t) + 1,
    "a lower triangle": lambda n, t: np.tri(n, t, 2, dtype=bool),
    "an upper triangle of numbers": lambda n, t: np.triu(np.ones((1, t, t), np.float32), 1),
}


@pytest.mark.parametrize("rule", CONSTANTS.values(), ids=CONSTANTS)
def test_constants_are_known_by_their_rule(rule: Any) -> None:
    arrays = [rule(sample["N"], sample["T"]) for sample in SAMPLES]
    shape = [extent_of([array.shape[axis] for array in arrays], SAMPLES) for axis in range(arrays[0].ndim)]
    made = computed_variable("c", arrays, shape, SAMPLES, [])
    assert made is not None
    assert made.operations[-1].outputs == ("c",)
    changed = [array.copy() for array in arrays]
    changed[-1].reshape(-1)[changed[-1].size // 2] += 1 if changed[-1].dtype != bool else True
    if not all(np.array_equal(a, b) for a, b in zip(arrays, changed, strict=True)):
        assert computed_variable("c", changed, shape, SAMPLES, []) is None
