"""Control flow and sequences in the specialisation: resolved as far as they follow, and still the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from tests.runtime import serialized
from workbench.formats.onnx import FORMAT
from workbench.hub import Control, Specialized, layers_of, specialize
from workbench.hub.replay import every_node
from workbench.hub.stamps import refusal_of

Array = np.ndarray

FLAT = Control(unrolled=400, longest=400, kept=False)
"""A target without control flow."""

KEPT = Control(unrolled=6, longest=40, kept=True)
"""A target with control flow, which writes out next to nothing."""

X = np.array([0.5, -0.9], np.float32)
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2) / 7

COUNTED = (
    "body = b (int64 i, bool c, float[2] v) => (bool c2, float[2] w, float[2] z)"
    "{ c2 = Identity(c)  k = Cast <to = 1> (i)  a = Mul(v, v)  w = Add(a, k)  z = Neg(w) }"
)
BELOW = (
    "body = b (int64 i, bool c, float[2] v) => (bool c2, float[2] w)"
    "{ w = Add(v, x)  s = ReduceSum <keepdims = 0> (w)  c2 = Less(s, h) }"
)
GROWING = (
    "body = b (int64 i, bool c, float[A, 2] v) => (bool c2, float[B, 2] w)"
    "{ c2 = Identity(c)  w = Concat <axis = 0> (v, x) }"
)
BRANCHES = "then_branch = t () => (p) { p = Neg(x) }, else_branch = e () => (q) { r = Exp(x)  q = Add(r, x) }"
SCANNED = (
    "body = b (float[2] h, float[2] a, float[2] d) => (float[2] h2, float[2] o)"
    "{ p = Mul(h, a)  h2 = Add(p, d)  o = Neg(h2) }"
)


@dataclass(frozen=True)
class Case:
    """A model, and what is left of its control flow for either kind of target."""

    name: str
    text: str
    feeds: Mapping[str, Array]
    flat: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def proto(self) -> onnx.ModelProto:
        return parser.parse_model(f'<ir_version: 10, opset_import: ["" : 25]> g {self.text}')


def scan(axes: str, directions: str, shape: str, name: str) -> Case:
    text = (
        f"(float[2] h0, float[3, 2] a, float[2, 3] d) => (float[2] h, float[{shape}] o) {{ h, o = Scan "
        f"<num_scan_inputs = 2, scan_input_axes = [0, 1], {directions}, {axes}, {SCANNED}> (h0, a, d) }}"
    )
    return Case(name, text, {"h0": X, "a": ROWS[:3], "d": ROWS[3:].T.copy()}, (), ("Loop",))


CASES = [
    Case(
        "loop_of_known_length",
        f"(float[2] x) => (float[2] y, float[3, 2] s) <int64 n = {{3}}> {{ y, s = Loop <{COUNTED}> (n, , x) }}",
        {"x": X}, (), ("Loop",),
    ),
    Case(
        "loop_of_no_steps",
        f"(float[2] x) => (float[2] y, float[N, 2] s) <int64 n = {{0}}> {{ y, s = Loop <{COUNTED}> (n, , x) }}",
        {"x": X},
    ),
    Case(
        "loop_whose_condition_is_false",
        f"(float[2] x) => (float[2] y, float[N, 2] s) <bool f = {{0}}> {{ y, s = Loop <{COUNTED}> (, f, x) }}",
        {"x": X},
    ),
    Case(
        "state_that_grows",  # too long for KEPT's first choice, but it cannot stay a loop
        f"(float[1, 2] x) => (float[6, 2] y) <int64 n = {{5}}> {{ y = Loop <{GROWING}> (n, , x) }}",
        {"x": X[None]},
    ),
    Case(
        "condition_that_constants_decide",
        "(float[2] x) => (float[2] y) <float h = {3.5}, bool t = {1}, float one = {1}> { y, m = Loop (, t, x, one) <"
        "body = b (int64 i, bool c, float[2] v, float k) => (bool c2, float[2] w, float k2)"
        "{ w = Add(v, k)  k2 = Add(k, k)  c2 = Less(k2, h) }> }",
        {"x": X},
    ),
    Case(
        "condition_on_data_with_a_bound",
        f"(float[2] x) => (float[2] y) <int64 n = {{9}}, float h = {{1.6}}> {{ y = Loop <{BELOW}> (n, , x) }}",
        {"x": np.array([0.1, 0.3], np.float32)}, (), ("Loop",),
    ),
    Case(
        "first_condition_on_data",
        f"(float[2] x, bool go) => (float[2] y) <int64 n = {{9}}, float h = {{1.6}}>"
        f"{{ y = Loop <{BELOW}> (n, go, x) }}",
        {"x": np.array([0.1, 0.3], np.float32), "go": np.array(False)}, (), ("Loop",),
    ),
    Case(
        "nested",
        "(float[2] x) => (float[2] y) <int64 n = {2}> { y = Loop (n, , x) <body = b (int64 i, bool c, float[2] v) => "
        "(bool c2, float[2] w) { c2 = Identity(c)  w = Loop (n, , v) <body = d (int64 j, bool e, float[2] f) => "
        "(bool e2, float[2] g) { e2 = Identity(e)  k = Add(i, j)  l = Cast <to = 1> (k)  m = Mul(f, x)"
        "  g = Add(m, l) }> }> }",
        {"x": X}, (), ("Loop", "Loop"),
    ),
    Case("if", f"(float[2] x, bool c) => (float[2] y) {{ y = If <{BRANCHES}> (c) }}",
         {"x": X, "c": np.array(False)}, (), ("If",)),
    Case("if_on_a_row", f"(float[2] x, bool[1] c) => (float[2] y) {{ y = If <{BRANCHES}> (c) }}",
         {"x": X, "c": np.array([True])}, (), ("If",)),
    scan("scan_output_axes = [0]", "scan_input_directions = [0, 0]", "3, 2", "scan"),
    scan("scan_output_axes = [1]", "scan_input_directions = [1, 0]", "2, 3", "scan_one_way_each"),
    scan("scan_output_axes = [-1], scan_output_directions = [1]", "scan_input_directions = [1, 1]", "2, 3",
         "scan_backwards"),
    Case(
        "sequence",
        "(float[6, 2] x) => (float[8, 2] a, float[2, 2] b, int64 n, float[4, 2] d) <int64 two = {2}, int64 m = {-1}> {"
        "s = SplitToSequence <axis = 0> (x, two)  b = SequenceAt(s, m)  k = Neg(b)  t = SequenceInsert(s, k, m)"
        "  a = ConcatFromSequence <axis = 0> (t)  n = SequenceLength(t)  u = SequenceErase(s)"
        "  d = ConcatFromSequence <axis = 0> (u) }",
        {"x": ROWS},
    ),
    Case(
        "positions_on_data",
        "(float[6, 2] x, int64 p) => (float[8, 2] a, float[2, 2] b, float[4, 2] d) <int64 two = {2}> {"
        "s = SplitToSequence <axis = 0> (x, two)  b = SequenceAt(s, p)  k = Neg(b)  t = SequenceInsert(s, k, p)"
        "  a = ConcatFromSequence <axis = 0> (t)  u = SequenceErase(s, p)  d = ConcatFromSequence <axis = 0> (u) }",
        {"x": ROWS, "p": np.array(-2)},
    ),
    Case(
        "uneven_parts_stacked_and_mapped",
        "(float[5, 2] x) => (float[5, 2] a, float[2, 5] b) <int64 two = {2}> {"
        "s = SplitToSequence <axis = 0> (x, two)  t = SequenceMap (s) <body = b (float[K, 2] v) => (float[K, 2] w)"
        "{ w = Exp(v) }>  a = ConcatFromSequence <axis = 0> (t)  r = SplitToSequence <axis = 0, keepdims = 0> (x)"
        "  b = ConcatFromSequence <axis = -1, new_axis = 1> (r) }",
        {"x": ROWS[:5]},
    ),
    Case(
        "sequence_filled_by_a_loop",
        "(float[2] x) => (float[3, 2] y) <int64 n = {3}> { e = SequenceEmpty()  s = Loop (n, , e) <"
        "body = b (int64 i, bool c, v) => (bool c2, w) { c2 = Identity(c)  k = Cast <to = 1> (i)  z = Add(x, k)"
        "  w = SequenceInsert(v, z) }>  y = ConcatFromSequence <axis = 0, new_axis = 1> (s) }",
        {"x": X},
    ),
    Case(
        "sequences_of_branches",
        "(float[2] x, bool c) => (float[2, 2] y) { s = If (c) <then_branch = t () => (p)"
        "{ n = Neg(x)  p = SequenceConstruct(x, n) }, else_branch = e () => (q) { r = Exp(x)"
        "  q = SequenceConstruct(r, x) }>  y = ConcatFromSequence <axis = 0, new_axis = 1> (s) }",
        {"x": X, "c": np.array(False)}, (), ("If",),
    ),
    Case(
        "sequence_as_a_state",
        "(float[2] x, int64 n) => (float[2] y) { s = SequenceConstruct(x, x)  t = Loop (n, , s) <"
        "body = b (int64 i, bool c, v) => (bool c2, w) <int64 z = {0}> { c2 = Identity(c)  a = SequenceAt(v, z)"
        "  m = Mul(a, x)  u = SequenceErase(v, z)  w = SequenceInsert(u, m) }>  y = SequenceAt(t, n) }",
        {"x": X, "n": np.array(1)}, ("Loop",), ("Loop",),
    ),
    Case(
        "optional",
        "(float[2] x) => (float[2] y, bool h) { o = Optional(x)  h = OptionalHasElement(o)  y = If (h) <"
        "then_branch = t () => (p) { p = OptionalGetElement(o) }, else_branch = e () => (q) { q = Exp(x) }> }",
        {"x": X},
    ),
]  # fmt: skip


def specialized(case: Case, control: Control) -> Specialized:
    return specialize(FORMAT.read(case.proto).hub(), None, control)


def run(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    found: list[Array] = onnxruntime.InferenceSession(serialized(proto), options).run(None, dict(feeds))
    return found


@pytest.mark.parametrize("kind", ["flat", "kept"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_numbers(case: Case, kind: str) -> None:
    hub = specialized(case, FLAT if kind == "flat" else KEPT)
    left = [node.op_type for node in every_node(hub.model.graph) if node.op_type in ("If", "Loop", "Scan")]
    assert left == list(case.flat if kind == "flat" else case.kept)
    names = {value.name for node in every_node(hub.model.graph) for value in node.outputs if value.name}
    assert len(names) == sum(1 for node in every_node(hub.model.graph) for value in node.outputs if value.name)
    for ours, original in zip(run(ir.to_proto(hub.model), case.feeds), run(case.proto, case.feeds), strict=True):
        np.testing.assert_allclose(ours, original, rtol=1e-6)


def test_what_a_node_was_written_out_from_is_stamped() -> None:
    hub = specialized(CASES[0], FLAT)
    assert {layers_of(node) for node in hub.model.graph} == {("y",)}
    assert {value.name for value in hub.model.graph.outputs} == {"y", "s"}


def test_bodies_are_specialised() -> None:
    text = (
        "(float[2, 3] x, int64 n) => (float[2, 3] y) { y = Loop (n, , x) <body = b (int64 i, bool c, float[P, Q] v) => "
        "(bool c2, float[P, Q] w) { c2 = Identity(c)  s = Shape(v)  r = Reshape(v, s)  w = Neg(r) }> }"
    )
    (loop,) = specialized(Case("", text, {}), KEPT).model.graph
    body = loop.attributes["body"].as_graph()
    assert [node.op_type for node in body] == ["Reshape", "Neg"]
    assert [layers_of(node) for node in body] == [("y",), ("y",)]
    assert [list(value.shape) for value in (*body.outputs[1:], *loop.outputs)] == [[2, 3], [2, 3]]


REFUSALS = [
    ("(float[2] x, int64 n) => (float[2] y, float[N, 2] s) "
     f"{{ y, s = Loop <{COUNTED}> (n, , x) }}", FLAT, "how often it repeats is computed at run time from 'n'"),
    ("(float[2] x, int64 n) => (float[2] y, float[N, 2] s) "
     f"{{ y, s = Loop <{COUNTED}> (n, , x) }}", KEPT, "the length of its scan output 's'"),
    (f"(float[1, 2] x, int64 n) => (float[N, 2] y) {{ y = Loop <{GROWING}> (n, , x) }}", KEPT,
     r"a state of float32\[1, 2\] becomes float32\[2, 2\] in a step"),
    (f"(float[1, 2] x) => (float[N, 2] y) <int64 n = {{999}}> {{ y = Loop <{GROWING}> (n, , x) }}", FLAT,
     "it repeats 999 times"),
    (f"(float[2] x) => (float[2] y) <float h = {{9}}> {{ y = Loop <{BELOW}> (, , x) }}", FLAT,
     "nothing bounds the number of its steps"),
    ("(float[2] x, bool c) => (float[N] y) { y = If (c) <then_branch = t () => (p) { p = Neg(x) }, "
     "else_branch = e () => (q) { q = Concat <axis = 0> (x, x) }> }", KEPT,
     r"its branches make float32\[2\] and float32\[4\]"),
    ("(float[2, 2] x, bool c, int64 i) => (float[2] y) { y = If (c) <then_branch = t () => (p)"
     "{ p = Gather <axis = 0> (x, i) }, else_branch = e () => (q) { q = ReduceSum <keepdims = 0> (x, i) }> }", FLAT,
     "Gather 'p' may not be computed unless the condition holds"),
    ("(float[2] x, int64 n) => (float[N, 2] y) { e = SequenceEmpty()  s = Loop (n, , e) <"
     "body = b (int64 i, bool c, v) => (bool c2, w) { c2 = Identity(c)  w = SequenceInsert(v, x) }>"
     "  y = ConcatFromSequence <axis = 0, new_axis = 1> (s) }", KEPT, "more or fewer tensors from step to step"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "control", "cause"), REFUSALS, ids=[cause for *_, cause in REFUSALS])
def test_what_cannot_be_said_stays_and_says_why(text: str, control: Control, cause: str) -> None:
    hub = specialized(Case("", text, {}), control)
    refusals = [refusal_of(node) for node in hub.model.graph if node.op_type in ("If", "Loop")]
    assert len(refusals) == 1
    assert refusals[0] is not None
    with pytest.raises(type(refusals[0]), match=cause):
        raise refusals[0]


def test_sequences_at_the_interface_stay() -> None:
    text = "(seq(float[2]) s, float[2] x) => (seq(float[2]) t) { t = SequenceInsert(s, x) }"
    assert [node.op_type for node in specialized(Case("", text, {}), FLAT).model.graph] == ["SequenceInsert"]


def test_without_a_target_loops_stay_as_they_are() -> None:
    hub = specialize(FORMAT.read(CASES[0].proto).hub())
    assert [node.op_type for node in hub.model.graph] == ["Loop"]
