"""Results whose lengths only a run tells: written, read back, and run at several lengths, none among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.formats.coreml.writing import Array, Const, run
from tests.formats.coreml.writing import Case as Node
from workbench import ConversionError, Range, compare, load
from workbench.hub import OPSET

RNG = np.random.default_rng(41)


@dataclass(frozen=True)
class Case:
    """A node with feeds of the same shapes, each of which makes a result of another length.

    Attributes:
        more: feeds besides the node's own.
        attributes: of the node.
    """

    name: str
    operator: str
    inputs: tuple[Array | Const | None, ...]
    more: Sequence[tuple[Array, ...]] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def node(self) -> Node:
        return Node(self.name, self.operator, self.inputs, self.attributes, self.outputs)

    @property
    def feeds(self) -> list[dict[str, Array]]:
        names = list(self.node.feeds)
        return [self.node.feeds, *(dict(zip(names, arrays, strict=True)) for arrays in self.more)]


def number(value: float, dtype: type = np.float32) -> Array:
    return np.asarray(value, dtype)


def floats(*values: float) -> Array:
    return np.asarray(values, np.float32)


def scattered(*shape: int) -> Array:
    """Boxes as two corners in any order, some of them without an area, some of them twice."""
    boxes = RNG.uniform(0, 4, (*shape, 4)).astype(np.float32)
    boxes[..., ::7, 2] = boxes[..., ::7, 0]
    boxes[..., 1::5, :] = boxes[..., :1, :]
    return boxes


def scores(*shape: int) -> Array:
    """With ties."""
    made: Array = RNG.integers(0, 12, shape).astype(np.float32)
    return made / np.float32(12)


NAN = float("nan")
BOXES = (scattered(2, 20), scores(2, 3, 20))
LIMITS = (Const(np.asarray([6])), Const(floats(0.3)), Const(floats(0.4)))
ROWS = RNG.integers(0, 2, (9, 3)).astype(np.float32)

CASES = [
    Case("range_of_floats", "Range", tuple(map(number, (1, 5, 2))),
         [tuple(map(number, bounds)) for bounds in ((5, -1, -0.75), (0.5, 0.6, 3), (0, 0, 1), (3, 1, 1))]),
    Case("range_of_integers", "Range", tuple(number(value, np.int64) for value in (10, 4, -2)),
         [tuple(number(value, np.int64) for value in bounds) for bounds in ((-3, 8, 5), (0, 7, 1), (2, 2, 1))]),
    Case("range_to_an_end", "Range", (Const(number(0)), number(4), Const(number(1))), [(number(9),), (number(0),)]),
    *(Case(f"{window.lower()}_{periodic}", window, (number(10, np.int64),),
           [(number(7, np.int64),), (number(2, np.int64),)], {"periodic": periodic})
      for window in ("HannWindow", "HammingWindow", "BlackmanWindow") for periodic in (0, 1)),
    Case("places", "NonZero", (floats(0, 2, NAN, -0.0, 1e-30),), [(floats(0, 0, 0, 0, 0),)]),
    Case("places_in_rows", "NonZero", (ROWS,), [(np.ones_like(ROWS),)]),
    Case("places_of_truths", "NonZero", (ROWS > 0,)),
    Case("places_of_integers", "NonZero", (ROWS.astype(np.int64),)),
    Case("kept_elements", "Compress", (ROWS, ROWS.reshape(-1) > 0), [(ROWS, ROWS.reshape(-1) < 9)]),
    Case("kept_rows", "Compress", (ROWS, np.asarray([True, False, True])), [(ROWS, np.zeros(3, np.bool_))],
         {"axis": 0}),
    *(Case(f"different_{name}_{order}", "Unique", (array,), attributes={**along, "sorted": order}, outputs=4)
      for order in (0, 1) for name, array, along in (
          ("elements", floats(2, 1, 1, -3, 2, 0, -0.0), {}), ("integers", RNG.integers(-3, 3, (4, 5)), {}),
          ("rows", ROWS, {"axis": 0}), ("columns", ROWS, {"axis": -1}),
          ("slices", RNG.integers(0, 2, (2, 5, 2)), {"axis": 1}), ("all_the_same", floats(4, 4, 4), {}))),
    Case("boxes", "NonMaxSuppression", (*BOXES, *LIMITS), [(scattered(2, 20), scores(2, 3, 20)) for _ in range(4)]),
    Case("boxes_by_their_middle", "NonMaxSuppression", (*BOXES, *LIMITS), [(scattered(2, 20), scores(2, 3, 20))],
         {"center_point_box": 1}),
    Case("boxes_without_thresholds", "NonMaxSuppression", (*BOXES, Const(np.asarray([40])))),
    Case("boxes_of_minus_infinity", "NonMaxSuppression",
         (BOXES[0], np.where(BOXES[1] > 0.5, BOXES[1], -np.inf).astype(np.float32), Const(np.asarray([20])))),
    Case("boxes_and_limits_at_run_time", "NonMaxSuppression", (*BOXES, np.asarray([2]), floats(0.5), floats(0.1)),
         [(*BOXES, np.asarray([30]), floats(0.1), floats(0)), (*BOXES, np.asarray([3]), floats(0.5), floats(2))]),
]  # fmt: skip


def expected(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    return list(run(model, feeds).values())


def same(model: Any, source: onnx.ModelProto, feeds: Mapping[str, Array], tolerance: float = 1e-5) -> None:
    for got, want in zip(model.run(feeds).values(), expected(source, feeds), strict=True):
        assert got.shape == (want.shape or (1,))
        np.testing.assert_allclose(got.astype(want.dtype).reshape(want.shape), want, tolerance, tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_at_every_length(case: Case) -> None:
    source = case.node.model()
    model = load(source).convert("coreml")
    for feeds in case.feeds:
        same(model, source, feeds)


@pytest.mark.parametrize("name", ["boxes", "different_rows_1", "range_of_floats", "kept_rows", "hannwindow_1"])
@pytest.mark.parametrize("target", ["iOS15", "iOS17", "iOS26"])
def test_targets(name: str, target: str) -> None:
    case = next(case for case in CASES if case.name == name)
    source = case.node.model()
    model = load(source).convert("coreml", target=target)
    for feeds in case.feeds:
        same(model, source, feeds)


@pytest.mark.parametrize("size", [2049, 5001])
def test_in_float16_a_window_keeps_its_length(size: int) -> None:
    model = load(Case("window", "HannWindow", (number(8, np.int64),)).node.model()).convert("coreml", precision="fp16")
    (found,) = model.run({"i0": number(size, np.int64)}).values()
    assert found.shape == (size,)


def test_what_is_not_a_number_is_one_value_and_the_largest() -> None:
    case = Case("nan", "Unique", (floats(NAN, 2, NAN, 1),), outputs=4)
    found = load(case.node.model()).convert("coreml").run(case.feeds[0])
    want = ReferenceEvaluator(case.node.model()).run(None, case.feeds[0])
    for got, array in zip(found.values(), want, strict=True):
        np.testing.assert_array_equal(got, array)


def test_the_plan_says_that_the_length_is_that_of_a_run() -> None:
    plan = load(CASES[0].node.model()).plan("coreml")
    assert [str(row.verdict) for row in plan.rows] == ["approximate"]
    assert "its length is what a run makes it" in plan.rows[0].note
    assert "one element more or fewer" in plan.rows[0].note
    exact = load(next(case for case in CASES if case.name == "range_to_an_end").node.model()).plan("coreml")
    assert "one element more" not in exact.rows[0].note


def graph(inputs: str, nodes: str, **constants: Any) -> onnx.ModelProto:
    """A model with the output ``y``, of a type that is inferred."""
    lines = nodes.replace(";", "\n")
    made = onnx.parser.parse_graph(f"case ({inputs}) => (float y) {{ {lines} }}")
    made.output[0].type.Clear()
    made.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)


FOLLOWING = {
    "gathered": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); e = Exp(g); y = Mul(e, e)",
    "reduced": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); y = ReduceSum<keepdims=0>(g)",
    "counted": "p = NonZero(x); s = Shape<start=1>(p); y = Cast<to=1>(s)",
    "none_or_some": "p = NonZero(x); s = Size(p); c = Greater(s, zero); n = Cast<to=1>(s); m = Neg(x);"
                    "a = Where(c, x, m); y = Add(a, n)",
    "rows": "s = ReduceSum(x, one, ); c = Greater(s, nought); f = Reshape(c, all); r = Compress<axis=0>(x, f);"
            "w = Softmax(r); y = MatMul(w, k)",
    "in_line": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); y = Concat<axis=0>(g, g, k)",
    "sliced": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); y = Slice(g, one, two)",
    "of_its_length": "p = NonZero(x); s = Shape<start=1>(p); z = ConstantOfShape(s); n = Squeeze(s);"
                     "r = Range(zero, n, step); c = Cast<to=1>(r); y = Add(z, c)",
    "chosen": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); s = ReduceSum<keepdims=0>(x);"
              "c = Greater(s, nought); y = If(c) <then_branch = t () => (float[k] a) { a = Exp(g) },"
              "else_branch = e () => (float[k] b) { b = Neg(g) }>",
    "repeated": "p = NonZero(x); t = Transpose(p); g = GatherND(x, t); y = Loop(two, , g) <body = b"
                "(int64 i, bool o, float[k] s) => (bool go, float[k] d) { go = Identity(o); d = Add(s, s) }>",
    "twice": "p = NonZero(x); q = Neg(x); r = Relu(q); z = NonZero(r); a = Concat<axis=1>(p, z); y = Cast<to=1>(a)",
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWING)
@pytest.mark.parametrize("shapes", [{}, {"x": (Range(1, 9, 4), 3)}], ids=["fixed", "open"])
def test_what_follows_from_such_a_length(name: str, shapes: dict[str, Any]) -> None:
    constants = {"k": RNG.standard_normal((3,) if name == "in_line" else (3, 2)).astype(np.float32)}
    constants |= {
        "zero": np.asarray(0),
        "step": np.asarray(1),
        "one": np.asarray([1]),
        "two": np.asarray([2]),
        "nought": np.float32(0),
        "all": np.asarray([-1]),
    }
    source = graph("float[4, 3] x" if not shapes else "float[n, 3] x", FOLLOWING[name], **constants)
    model = load(source).convert("coreml", shapes=shapes)
    for rows in (4,) if not shapes else (1, 4, 9):
        for chance in (0.2, 0.5, 1.0):
            numbers = RNG.standard_normal((rows, 3)) * (RNG.uniform(size=(rows, 3)) < chance)
            same(model, source, {"x": numbers.astype(np.float32)})
    if name == "none_or_some":
        same(model, source, {"x": np.zeros((4, 3), np.float32)})


def test_a_loop_of_an_unknown_number_of_steps_collects_what_it_makes() -> None:
    nodes = """a, y = Loop(n, , x) <body = b (int64 i, bool c, float[3] s) => (bool go, float[3] t, float[3] e)
        { go = Identity(c) t = Add(s, s) e = Exp(s) }>"""
    source = graph("int64 n, float[3] x", nodes)
    model = load(source).convert("coreml")
    for steps in (1, 2, 7):
        same(model, source, {"n": np.asarray(steps), "x": floats(0.1, -0.2, 0)})


def test_in_a_branch_it_is_refused() -> None:
    nodes = """s = ReduceSum<keepdims=0>(x); c = Greater(s, zero); y = If(c) <
        then_branch = t () => (float a) { p = NonZero(x) q = Cast<to=1>(p) a = ReduceSum<keepdims=0>(q) },
        else_branch = e () => (float b) { b = Identity(s) }>"""
    with pytest.raises(ConversionError, match="it is in a branch or loop"):
        load(graph("float[4] x", nodes, zero=np.float32(0))).convert("coreml")


def test_a_loop_that_is_refused_for_its_sequence_keeps_the_cause() -> None:
    """Nothing is measured in it, so it is not followed once more, where less is known of what the sequence holds."""
    nodes = """e = SequenceEmpty<dtype=7>(); s = Loop(n, , e) <body = b (int64 i, bool c, seq(int64[2]) q) =>
        (bool go, seq(int64[2]) r) { go = Identity(c) r = SequenceInsert(q, x) }>
        y = ConcatFromSequence<axis=0>(s)"""
    with pytest.raises(ConversionError, match="holds more or fewer tensors from step to step"):
        load(graph("int64 n, int64[2] x", nodes)).convert("coreml")


def test_two_lengths_that_need_not_be_the_same_are_refused() -> None:
    """One of them might be 0 and the other 1."""
    nodes = """p = NonZero(x); t = Transpose(p); g = GatherND(x, t); m = Relu(x); q = NonZero(m); u = Transpose(q)
        h = GatherND(x, u); y = Add(g, h)"""
    with pytest.raises(ConversionError, match="does not follow from the sizes of the inputs"):
        load(graph("float[4] x", nodes)).convert("coreml")


def test_no_boxes_at_all_are_refused() -> None:
    case = Case("none", "NonMaxSuppression", (*BOXES, Const(np.asarray([0]))))
    with pytest.raises(ConversionError, match="selects no boxes at all"):
        load(case.node.model()).convert("coreml")


def test_too_many_comparisons_are_refused() -> None:
    case = Case("many", "Unique", (np.zeros(5000, np.float32),))
    with pytest.raises(ConversionError, match="25,000,000 comparisons"):
        load(case.node.model()).convert("coreml")


@pytest.mark.parametrize("name", ["boxes", "places_in_rows", "range_of_integers"])
def test_compared_layer_by_layer(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    model = load(case.node.model())
    report = compare(model, model.convert("coreml"), feeds=case.feeds[0])
    assert report.ok
    assert any(row.status == "ok" for row in report.rows)
