"""Control flow written as MIL's ``cond`` and ``while_loop``: the same numbers, and every layer inside is accounted for.

The oracle is onnxruntime on the original; that a program is well-formed, coremltools' own reader says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

import workbench
from tests.formats.coreml.writing import drafted, operators_of, run, run_written, written
from workbench.document import Document
from workbench.formats.coreml import toolkit

Array = np.ndarray[Any, Any]
X = np.array([0.5, -0.9], np.float32)
STEPS = np.array(3)
RNG = np.random.default_rng(5)


@dataclass(frozen=True)
class Case:
    """A model, and MIL operators that it has to become."""

    name: str
    text: str
    feeds: Mapping[str, Array]
    operators: frozenset[str]
    weights: Mapping[str, Array] = field(default_factory=dict)
    opset: int = 25

    def __str__(self) -> str:
        return self.name

    @property
    def proto(self) -> onnx.ModelProto:
        model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {self.opset}]> g {self.text}')
        model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in self.weights.items())
        return model


def ops(*names: str) -> frozenset[str]:
    return frozenset(names)


CASES = [
    Case(
        "branch_on_data",
        "(float[2] x) => (float[2] y, int64 k, bool[2] b) <float h = {0}, int64 one = {1}, int64 two = {2}> {"
        "s = ReduceSum <keepdims = 0> (x)  c = Less(s, h)  y, k, b = If (c) <then_branch = t () => (p, p2, p3)"
        "{ p = Neg(x)  p2 = Identity(one)  p3 = Less(p, x) }, else_branch = e () => (q, q2, q3)"
        "{ q = Exp(x)  q2 = Identity(two)  q3 = Less(x, q) }> }",
        {"x": X}, ops("cond"),
    ),
    Case(
        "branch_that_only_hands_on",
        "(float[2] x, bool c) => (float[2] y, float[2] z) <float[2] k = {3, 4}> { y = If (c) <"
        "then_branch = t () => (p) { p = Identity(x) }, else_branch = e () => (q) { q = Identity(k) }>"
        "  z = Mul(y, k) }",
        {"x": X, "c": np.array(True)}, ops("cond"),
    ),
    Case(
        "trips_on_data",
        "(float[2] x, int64 n) => (float[2] y) { y = Loop (n, , x) <body = b (int64 i, bool c, float[2] v) => "
        "(bool c2, float[2] w) { c2 = Identity(c)  k = Cast <to = 1> (i)  a = Add(v, k)  w = Mul(a, x) }> }",
        {"x": X, "n": STEPS}, ops("while_loop"),
    ),
    Case(
        "condition_on_data",
        "(float[2] x) => (float[2] y) <float h = {100}> { s = ReduceSum <keepdims = 0> (x)  c = Less(s, h)"
        "  y = Loop (, c, x) <body = b (int64 i, bool d, float[2] v) => (bool d2, float[2] w)"
        "{ w = Add(v, v)  t = ReduceSum <keepdims = 0> (w)  d2 = Less(t, h) }> }",
        {"x": abs(X)}, ops("while_loop"),
    ),
    Case(
        "largest_integer_bounds_nothing",
        "(float[2] x) => (float[2] y) <int64 n = {9223372036854775807}, bool t = {1}, float h = {9}> {"
        "y = Loop (n, t, x) <body = b (int64 i, bool d, float[2] v) => (bool d2, float[2] w)"
        "{ w = Add(v, x)  s = ReduceSum <keepdims = 0> (w)  d2 = Less(s, h) }> }",
        {"x": abs(X)}, ops("while_loop"),
    ),
    Case(
        "condition_that_fails_at_once",
        "(float[2] x, bool go) => (float[2] y) <bool f = {0}> { y = Loop (, go, x) <"
        "body = b (int64 i, bool d, float[2] v) => (bool d2, float[2] w) { d2 = Identity(f)  w = Add(v, x) }> }",
        {"x": X, "go": np.array(True)}, ops("while_loop"),
    ),
    Case(
        "state_that_is_reset_swapped_and_kept",
        "(float[2] x, int64 n) => (float[2] y1, float[2] y2, float[2] y3, float[2] y4) <float[2] k = {7, 8}> {"
        "z = Neg(x)  y1, y2, y3, y4 = Loop (n, , x, z, k, x) <body = b (int64 i, bool c, float[2] p, float[2] q, "
        "float[2] r, float[2] s) => (bool c2, float[2] q2, float[2] p2, float[2] r2, float[2] s2) {"
        "c2 = Identity(c)  p2 = Identity(p)  q2 = Identity(q)  r2 = Identity(k)  s2 = Identity(s) }> }",
        {"x": X, "n": STEPS}, ops("while_loop"),
    ),
    Case(
        "constants_that_happen_to_stay_in_the_first_step",
        "(int64 n) => (int64 a, int64 b) <int64 zero = {0}> { a, b = Loop (n, , zero, zero) <"
        "body = b (int64 i, bool c, int64 p, int64 q) => (bool c2, int64 p2, int64 q2)"
        "{ c2 = Identity(c)  p2 = Add(p, i)  q2 = Add(q, p2) }> }",
        {"n": STEPS}, ops("while_loop"),
    ),
    Case(
        "elements_in_a_list",
        "(float[2] x, int64 n) => (float[2] y, float[3, 2] s, bool[3, 2] b, float[3] t) { y, s, b, t = Loop (n, , x) <"
        "body = l (int64 i, bool c, float[2] v) => (bool c2, float[2] w, float[2] z, bool[2] u, float r) {"
        "c2 = Identity(c)  w = Add(v, x)  z = Neg(w)  u = Less(w, x)  r = ReduceSum <keepdims = 0> (w) }> }",
        {"x": X, "n": STEPS}, ops("while_loop", "make_list", "list_write", "list_gather"),
    ),
    Case(
        "elements_in_rows",  # too long to be written out, both ways through its sequence
        "(float[2] h0, float[300, 2] a) => (float[2] h, float[2, 300] o, bool[300] f) <float z = {0}> {"
        "h, o, f = Scan <"
        "num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1, 0], scan_output_directions = [1, 0], "
        "body = b (float[2] g, float[2] d) => (float[2] g2, float[2] p, bool k) {"
        "m = Add(g, d)  g2 = Tanh(m)  p = Neg(g2)  s = ReduceSum <keepdims = 0> (g2)  k = Less(s, z) }> (h0, a) }",
        {"h0": X, "a": RNG.standard_normal((300, 2)).astype(np.float32)}, ops("while_loop", "scatter"),
    ),
    Case(
        "branches_in_loops_in_loops",
        "(float[2] x, int64 n) => (float[2] y) <float h = {1}> { y = Loop (n, , x) <body = b (int64 i, bool c, "
        "float[2] v) => (bool c2, float[2] w) { c2 = Identity(c)  w = Loop (n, , v) <body = d (int64 j, bool e, "
        "float[2] f) => (bool e2, float[2] g) { e2 = Identity(e)  s = ReduceSum <keepdims = 0> (f)  l = Less(s, h)"
        "  m = If (l) <then_branch = t () => (p) { p = Sub(f, x) }, else_branch = u () => (q) { q = Mul(f, x) }>"
        "  k = Add(i, j)  r = Cast <to = 1> (k)  g = Add(m, r) }> }> }",
        {"x": X, "n": STEPS}, ops("while_loop", "cond"),
    ),
    Case(
        "lstm_and_a_function_body_inside",
        "(float[4, 1, 3] x, int64 n) => (float[4, 1, 3] y) <int64[1] one = {1}> { y = Loop (n, , x) <"
        "body = b (int64 i, bool c, float[4, 1, 3] v) => (bool c2, float[4, 1, 3] w) { c2 = Identity(c)"
        "  o = LSTM <hidden_size = 3> (v, k, r)  s = Squeeze(o, one)  w = Celu <alpha = 2.0> (s) }> }",
        {"x": RNG.standard_normal((4, 1, 3)).astype(np.float32), "n": STEPS}, ops("while_loop", "lstm"),
        {name: RNG.standard_normal((1, 12, 3)).astype(np.float32) for name in ("k", "r")}, 22,
    ),
    Case(
        "sequences_of_branches",
        "(float[2] x, bool c) => (float[2, 2] y) { s = If (c) <then_branch = t () => (p)"
        "{ n = Neg(x)  p = SequenceConstruct(x, n) }, else_branch = e () => (q) { r = Exp(x)"
        "  q = SequenceConstruct(r, x) }>  y = ConcatFromSequence <axis = 0, new_axis = 1> (s) }",
        {"x": X, "c": np.array(False)}, ops("cond"),
    ),
]  # fmt: skip
BY_NAME = {case.name: case for case in CASES}


def check(document: Document, case: Case, tolerance: float) -> None:
    want = run(case.proto, case.feeds)
    got = run_written(document, case.feeds)
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name].astype(np.float64), array.astype(np.float64), tolerance, tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_numbers(case: Case) -> None:
    document = written(case.proto)
    assert case.operators <= set(operators_of(document))
    check(document, case, 1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if "on_data" in case.name or "rows" in case.name], ids=str)
@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"target": "iOS15"}], ids=str)
def test_in_float16_and_for_older_systems(case: Case, options: dict[str, str]) -> None:
    check(written(case.proto, **options), case, 1e-2)


def test_no_trips_at_all() -> None:
    case = BY_NAME["trips_on_data"]
    found = run_written(written(case.proto), {**case.feeds, "n": np.array(0)})
    np.testing.assert_array_equal(found["y"], X)


def test_another_number_of_elements_than_declared_fails() -> None:
    case = BY_NAME["elements_in_a_list"]
    with pytest.raises(Exception, match="Reshape"):
        run_written(written(case.proto), {**case.feeds, "n": np.array(4)})


@pytest.mark.parametrize("name", ["branches_in_loops_in_loops", "elements_in_a_list", "elements_in_rows"])
def test_coremltools_reads_the_program_with_names_of_its_own(name: str, tmp_path: Path) -> None:
    document = written(BY_NAME[name].proto)
    document.write(tmp_path / "model.mlpackage")
    with toolkit.session():
        model = toolkit.coremltools().models.MLModel(str(tmp_path / "model.mlpackage"), skip_model_load=True)
        spec = model.get_spec()
        milproto = toolkit.submodule("converters.mil.frontend.milproto.load")
        milproto.load(spec, spec.specificationVersion, model.weights_dir).validate()
    made = [output.name for layer in document.layers for output in layer.outputs]
    assert len(made) == len(set(made))


def test_layers_inside_name_their_source() -> None:
    """The branches and bodies of an ONNX node belong to its layer; what the interface casts belongs to none."""
    document = written(BY_NAME["branches_in_loops_in_loops"].proto)
    provenance = document.provenance
    assert provenance is not None
    stamped = {layer.name: provenance.layers.get(layer.name) for layer in document.layers}
    assert {sources for name, sources in stamped.items() if name != "n_squeeze"} == {("y",)}
    assert {"m", "p", "q", "g"} <= set(stamped)


def test_inner_layers_of_another_core_ml_model_are_named_one_by_one() -> None:
    first = workbench.load(BY_NAME["branch_on_data"].proto).convert("coreml")
    second = first.convert("coreml")
    assert second.provenance is not None
    sources = {source for names in second.provenance.layers.values() for source in names}
    assert {layer.name for layer in first.layers} - sources <= set(second.provenance.folded)
    assert workbench.compare(first, second).ok


REFUSALS = [
    ("(float[2] x, bool c) => (float y) { y = If (c) <then_branch = t () => (p) { p = ReduceSum <keepdims = 0> (x) }, "
     "else_branch = e () => (q) { m = Unique(x)  q = ReduceSum <keepdims = 0> (m) }> }",
     "in it, Range-11 'y': how long its result is"),
    ("(seq(float[2]) s) => (float[2, 2] y) { y = ConcatFromSequence <axis = 0, new_axis = 1> (s) }",
     "the input 's' is a sequence"),
    ("(float[2] x) => (seq(float[2]) s) { s = SequenceConstruct(x, x) }", "the output 's' is a sequence"),
    ("(float[2] x) => (float[2] y) { y = Loop (, , x) <body = b (int64 i, bool c, float[2] v) => (bool c2, float[2] w)"
     "{ c2 = Identity(c)  w = Add(v, x) }> }", "nothing ends it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cause"), REFUSALS, ids=[cause for _, cause in REFUSALS])
def test_refusals(text: str, cause: str) -> None:
    made = drafted(Case("", text, {}, frozenset()).proto)
    notes = [outcome.note for outcome in made.outcomes if outcome.verdict == "refused"]
    assert any(note.startswith(cause) for note in notes), notes
