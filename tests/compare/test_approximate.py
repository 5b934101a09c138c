"""What a lowering declares approximate is recorded in the converted model and shown wherever a report is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import onnx
import pytest

import workbench as wb
from tests.compare.support import chain, converted, same_names, source
from workbench.compare import Report, compare, load_report
from workbench.document import Provenance
from workbench.hub import OPSET
from workbench.lowering import Outcome, approximations
from workbench.model import Model
from workbench.plan import Verdict
from workbench.widgets.compare_step import verdict_of
from workbench.widgets.figures import about

BOUND = "tanh within 1e-3 absolute"


def declared(model: Model, bounds: dict[str, str]) -> Model:
    """The converted model with a record that declares bounds."""
    made = model.provenance
    assert made is not None
    model.document.provenance = dataclasses.replace(made, approximate=bounds)
    return model


def erf() -> Model:
    """Relu, Erf, and the sum of both."""
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Relu", ["x"], ["r"], name="relu"),
            onnx.helper.make_node("Erf", ["r"], ["e"], name="erf"),
            onnx.helper.make_node("Add", ["r", "e"], ["y"], name="add"),
        ],
        "erf",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 8])],
    )
    return wb.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10))


def test_outcomes_become_one_bound_for_each_layer() -> None:
    found = approximations(
        [
            Outcome(("a", "b"), "Erf-13", Verdict.APPROXIMATE, "one"),
            Outcome(("b",), "Erf-13", Verdict.APPROXIMATE, "two; one"),
            Outcome(("c",), "Relu-14", Verdict.EXACT, "a remark"),
        ]
    )
    assert found == {"a": "one", "b": "one; two"}


def test_the_record_keeps_bounds_and_older_records_are_read() -> None:
    made = Provenance("onnx", "m", {}, {}, {}, {}, approximate={"erf": BOUND})
    assert Provenance.from_json(made.to_json()) == made
    older = json.loads(made.to_json())
    del older["approximate"]
    read = Provenance.from_json(json.dumps(older))
    assert read is not None
    assert read.approximate == {}
    assert Provenance.from_json(json.dumps({**older, "approximate": ["erf"]})) is None


def test_nnef_records_the_error_function(tmp_path: Path) -> None:
    model = erf()
    target = wb.load(model.convert("nnef").save(tmp_path / "erf.nnef.tgz"))
    assert target.provenance is not None
    assert target.provenance.approximate == {"erf": "erf within 5e-7 absolute"}
    report = wb.compare(model, target)
    assert report.ok
    assert {row.tensor: row.approximate for row in report.rows} == {
        "r": "",
        "e": "erf within 5e-7 absolute",
        "y": "",
    }
    back = wb.compare(target, model)  # the same is known when the converted model is the reference
    assert [row.layers for row in back.rows if row.approximate]
    assert {row.approximate for row in back.rows} == {"", "erf within 5e-7 absolute"}


def test_core_ml_records_float16_and_siblings_know_both_records() -> None:
    model = erf()
    half = model.convert("coreml", precision="mixed", keep_fp32=["add"])
    assert half.provenance is not None
    assert set(half.provenance.approximate) == {"relu", "erf"}
    report = wb.compare(model, half)
    assert report.ok
    assert ["float16" in row.approximate for row in report.rows] == [True, True, False]
    siblings = wb.compare(model.convert("nnef"), half)
    bounds = [row.approximate for row in siblings.rows if row.target_tensor]
    assert any("float16" in bound and "erf within" in bound for bound in bounds)


def test_onnx_has_nothing_to_declare() -> None:
    made = erf().convert("onnx").provenance
    assert made is not None
    assert made.approximate == {}


@pytest.fixture(scope="module")
def report() -> Report:
    """One layer beyond its tolerance and two within it, two of the three declared."""
    reference = source(chain(3))
    hub = chain(3, fault=1)
    target = converted(hub, reference, same_names(hub))
    return compare(reference, declared(target, {"dense_1": BOUND, "tanh_2": BOUND}))


def test_a_bound_does_not_hide_an_error(report: Report) -> None:
    first = report.first_failing
    assert first is not None
    assert first.layer == "dense_1"
    assert first.approximate == BOUND
    assert first.remark == f"{first.reason}, but declared approximate: {BOUND}"
    last = report.outputs[0]
    assert (last.layer, last.approximate) == ("tanh_2", BOUND)
    assert report.rows[0].remark == ""


def test_every_form_shows_the_bound(report: Report, tmp_path: Path) -> None:
    assert report.approximations == (f"2 tensors: {BOUND}",)
    assert f"  declared approximate: 2 tensors: {BOUND}" in str(report).splitlines()
    assert f"declared approximate: 2 tensors: {BOUND}" in report._repr_html_()
    page = report.to_html(tmp_path / "r.html").read_text()
    assert f"but declared approximate: {BOUND}<" in page
    assert f"<dt>declared approximate</dt><dd>2 tensors: {BOUND}</dd>" in page
    assert [row["approximate"] for row in json.loads(report.to_json())["rows"]].count(BOUND) == 2
    assert (report.to_frame()["approximate"] == BOUND).sum() == 2


def test_the_widget_shows_the_bound(report: Report) -> None:
    first = report.first_failing
    assert first is not None
    assert f"but declared approximate: {BOUND}" in str(about(first))
    assert f"Declared approximate: 2 tensors: {BOUND}." in str(verdict_of(report))


def test_reports_are_reopened_with_their_bounds_and_older_ones_without(report: Report, tmp_path: Path) -> None:
    path = report.save(tmp_path / "r.json")
    assert load_report(path) == report
    data = json.loads(path.read_text())
    for row in data["rows"]:
        del row["approximate"]
    path.write_text(json.dumps(data))
    assert load_report(path).approximations == ()


def test_a_row_that_stands_for_several_layers_has_their_bounds() -> None:
    reference = source(chain(2))
    hub = chain(2)
    target = converted(hub, reference, {name: name for name in ("d_0", "t_0", "t_1")})
    found = compare(reference, declared(target, {"dense_1": "one", "tanh_1": "one; two"}))
    by_tensor = {row.tensor: row.approximate for row in found.rows}
    assert by_tensor["t_1"] == "one; two"
    assert by_tensor["d_1"] == "one"  # it has no row of its own to be measured in, and says so
    assert by_tensor["t_0"] == ""


def test_a_float16_program_has_one_row_for_each_tensor() -> None:
    """It holds each output in float16 and, cast, in float32."""
    model = erf()
    half = model.convert("coreml", precision="fp16")
    report = wb.compare(model, half)
    assert [row.tensor for row in report.rows] == ["r", "e", "y"]
    assert report.rows[-1].target_tensor == half.outputs[0].name
    assert report.rows[-1].output
