"""A sample of ONNX's node tests through Core ML (all run in ``make conformance``), and what guards such a run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.conformance import node_pool, node_random, node_report
from tests.conformance.node_cases import Case, collect, sample
from tests.conformance.node_check import ROUTES, Outcome, _compared
from tests.conformance.nodes import run
from workbench.hub import runs_hub_opset

pytest.importorskip("coremltools")

SIZE, FLOOR = 150, 120
"""Cases in the sample, and how many of them are right at the least."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not runs_hub_opset(), reason="the last onnxruntime for Python 3.10 has faults of its own")
def test_a_sample_of_the_node_tests_is_right_or_refused() -> None:
    cases = sample(collect(), SIZE)
    outcomes = list(run(cases, "coreml", jobs=2))
    failures = [outcome for outcome in outcomes if outcome.verdict in ("wrong", "error")]
    assert not failures, "\n".join(f"{found.case} {found.variant}: {found.detail}" for found in failures)
    assert node_report.totals(outcomes).cases == SIZE
    assert node_report.totals(outcomes).either >= FLOOR


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not runs_hub_opset(), reason="the last onnxruntime for Python 3.10 has faults of its own")
def test_a_sample_of_the_node_tests_is_right_by_tract_too() -> None:
    pytest.importorskip("tract")
    cases = sample(collect(), SIZE // 5)
    outcomes = list(run(cases, "nnef-tract", jobs=2))
    failures = [outcome for outcome in outcomes if outcome.verdict in ("wrong", "error")]
    failures += [outcome for outcome in outcomes if outcome.elsewhere[0] not in ("", "right")]
    assert not failures, "\n".join(
        f"{found.case} {found.variant}: {found.detail}{found.elsewhere}" for found in failures
    )
    figures, listed = node_report.by_oracle(outcomes)
    assert figures["right"] >= SIZE // 7
    assert listed == []


def test_what_an_oracle_says_is_counted_by_case() -> None:
    def outcome(case: str, variant: str, *said: str) -> Outcome:
        return Outcome(case, "Clip", variant, True, "right", elsewhere=(said[0], "\n".join(said[1:])))

    outcomes = [
        outcome("a", "as is", "refuses", "Loading", "1: no such operator"), outcome("a", "baked", "right"),
        outcome("b", "as is", "right"), outcome("b", "baked", "wrong", "y: 1 of 2 elements differ"),
        outcome("c", "as is", "refuses", "Loading", "1: no such operator"),
        outcome("d", "as is", ""),
    ]  # fmt: skip
    figures, listed = node_report.by_oracle(outcomes)
    assert dict(figures) == {"right": 1, "wrong": 1, "refuses": 1}
    assert listed == [("b", "wrong", "y: 1 of 2 elements differ"), ("c", "refuses", "no such operator")]
    assert "| tract | 1 | 1 | 0 | 1 |" in node_report.oracle_lines(outcomes, ROUTES["nnef-tract"])


def test_a_crash_or_a_hang_costs_its_own_task_alone() -> None:
    tasks = [("'one'",), ("__import__('os')._exit(3)",), ("'two'",), ("__import__('time').sleep(600)",), ("'three'",)]
    found = [(result, failure) for _, result, failure in node_pool.run(eval, tasks, jobs=1, limit=5, first=60)]
    assert found == [
        ("one", ""), (None, "the process ended with the exit code 3"),
        ("two", ""), (None, "no result in 5 s"),
        ("three", ""),
    ]  # fmt: skip


FLOATS = np.asarray([1.0, np.nan, np.inf], np.float32)
COMPARED = {
    "the same": (FLOATS, FLOATS, "float32", ""),
    "within the tolerance": (FLOATS * np.float32(1.0005), FLOATS, "float32", ""),
    "beyond the tolerance": (FLOATS * np.float32(1.002), FLOATS, "float32", "1 of 3 elements differ"),
    "NaN for a number": (np.full(3, np.nan, np.float32), FLOATS, "float32", "2 of 3"),
    "-inf for inf": (FLOATS * np.asarray([1, 1, -1], np.float32), FLOATS, "float32", "at [2]: -inf, not inf"),
    "integers in fewer bits": (np.asarray([7], np.int32), np.asarray([7]), "int64", ""),
    "an integer off by one": (np.asarray([7], np.int32), np.asarray([8]), "int64", "1 of 1"),
    "a float for an integer": (np.asarray([7.0]), np.asarray([7]), "int64", "float64 instead of int64"),
    "a boolean as a float": (np.asarray([1.0], np.float32), np.asarray([True]), "bool", ""),
    "half a boolean": (np.asarray([0.5], np.float32), np.asarray([True]), "bool", "1 of 1"),
    "a scalar as a row": (np.ones(1, np.float32), np.ones((), np.float32), "float32", ""),
    "an axis too many": (np.ones((1, 3)), np.ones(3), "float64", "shape [1, 3] instead of [3]"),
    "another record": (FLOATS, FLOATS, "float16", "recorded as float16 instead of float32"),
}


@pytest.mark.parametrize(("found", "wanted", "declared", "message"), COMPARED.values(), ids=COMPARED)
def test_differences_are_seen(found: object, wanted: object, declared: str, message: str) -> None:
    difference = _compared(found, wanted, declared, True)
    assert difference == "" if not message else message in difference


@pytest.mark.parametrize("name", ["test_bernoulli", "test_bernoulli_seed_expanded"])
def test_draws_are_judged_by_their_distribution(name: str) -> None:
    case = node_random.enlarged(next(case for case in collect() if case.name == name))
    rng = np.random.default_rng(1884)
    shares = 1 - case.inputs[0] if "expanded" in name else case.inputs[0]
    drawn = (rng.uniform(size=shares.shape) < shares).astype(np.float32)
    assert node_random.difference(drawn, case) == ""
    assert "of the draws are 1, of the reference's" in node_random.difference(1 - drawn, case)
    assert "neither 0 nor 1" in node_random.difference(drawn * 2, case)
    alike = np.repeat(rng.uniform(size=node_random.TIMES), shares.size // node_random.TIMES) < shares
    assert "are alike" in node_random.difference(alike, case)


def _outcome(case: str, variant: str, verdict: str, *causes: str) -> Outcome:
    return Outcome(case, "Clip", variant, True, verdict, "", causes)


def test_a_case_is_right_if_a_variant_is_and_none_is_wrong() -> None:
    outcomes = [
        _outcome("a", "as is", "refused", "Clip-13: cause"), _outcome("a", "baked", "right"),
        _outcome("b", "as is", "right"),
        _outcome("c", "as is", "refused", "Clip-13: cause"), _outcome("c", "baked", "refused", "Clip-13: cause"),
        _outcome("d", "as is", "right"), _outcome("d", "baked", "wrong"),
    ]  # fmt: skip
    figures = node_report.totals(outcomes)
    assert (figures.cases, figures.right, figures.either) == (4, {"as is": 2, "baked": 2}, 3)
    assert figures.verdicts == {"right": 2, "refused": 1, "wrong": 1}
    assert node_report.causes(outcomes) == [("Clip-13: cause", 1)]
    assert node_report.table(outcomes)[2] == "| `Clip` | 4 | 3 | 1 | 1 | 0 | cause (1) |"


def test_baking_keeps_the_first_input() -> None:
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "ab"]
    output = helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [2])
    model = helper.make_model(helper.make_graph([helper.make_node("Sub", ["a", "b"], ["c"])], "g", inputs, [output]))
    arrays = (np.asarray([5, 7], np.float32), np.asarray([2, 3], np.float32))
    case = Case("test_sub", "Sub", model.SerializeToString(), arrays, (arrays[0] - arrays[1],), True)
    baked = case.baked()
    assert baked is not None
    graph = onnx.ModelProto.FromString(baked.model).graph
    assert [value.name for value in graph.input] == ["a"]
    assert [(tensor.name, numpy_helper.to_array(tensor).tolist()) for tensor in graph.initializer] == [("b", [2, 3])]
    assert baked.inputs == case.inputs[:1]
    assert baked.baked() is None
