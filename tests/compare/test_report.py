"""Reports: shown without figures that vary, kept in a file, opened without models, safe to show."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import workbench as wb
from tests.compare.support import build, chain, converted, same_names, source
from workbench.compare import Report, Side, compare, load_report
from workbench.compare.tolerance import power_of_ten
from workbench.errors import ModelError, OptionError, SaveError, WorkbenchError
from workbench.hub import Emitter


@pytest.fixture(scope="module")
def faulty() -> Report:
    reference = source(chain(6))
    hub = chain(6, fault=2, factor=1.05)
    target = converted(hub, reference, {**same_names(hub), "t_4": "t_4"}, folded=("dense_5",))
    object.__setattr__(target.provenance, "tensors", {k: v for k, v in target.provenance.tensors.items() if k != "d_5"})
    return compare(reference, target)


def test_texts_are_the_same_every_time(faulty: Report) -> None:
    assert repr(faulty) == ("Report(onnx 'net' → onnx 'converted', not ok, 12 tensors: 4 ok, 7 failing, 1 unmatched)")
    assert str(faulty).splitlines() == [
        repr(faulty),
        "  reference: onnx, run by onnxruntime",
        "  target: onnx, run by onnxruntime",
        "  output 't_5': failing, relative L2 < 1e-01, top-1 agreement 100%",
        "  look first at MatMul 'dense_2': makes an error: relative L2 above 2e-05 (< 1e-01)",
        f"  it looks like {faulty.culprits(1)[0].signature}",
    ]
    assert "it looks like gain: the weight is multiplied by the factor " in str(faulty)
    shown = faulty._repr_html_()
    assert "0x" not in shown
    assert not re.search(r"\d\.\d{3,}", shown)
    assert "dense_2" in shown
    assert "folded into a constant" in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1e-7, "< 1e-06"),
        (9.9e-7, "< 1e-06"),
        (0.02, "< 1e-01"),
        (3, "< 1e+01"),
        (math.inf, "huge"),
        (math.nan, "huge"),
    ],
)
def test_powers_of_ten(value: float, text: str) -> None:
    assert power_of_ten(value) == text


def test_verdicts(faulty: Report) -> None:
    assert not faulty
    assert not faulty.ok
    assert [row.layer for row in faulty.worst(2)] == ["dense_2", faulty.worst(2)[1].layer]
    assert faulty.worst(100)[-1].status == "unmatched"
    assert len(faulty.worst(3)) == 3
    assert faulty.executors == ("onnxruntime", "onnxruntime")
    assert faulty.count("failing") == len(faulty.failing) == 7
    empty = dataclasses.replace(faulty, rows=())
    assert not empty.ok


def test_a_report_is_reopened_without_its_models(faulty: Report, tmp_path: Path) -> None:
    path = faulty.save(tmp_path / "report.json")
    again = load_report(path)
    assert again == faulty
    assert str(again) == str(faulty)
    assert path.stat().st_size < 40_000
    with pytest.raises(WorkbenchError, match="compare the models again"):
        again.tensors(0)
    first = faulty.to_html(tmp_path / "first.html", details=0)
    assert again.to_html(tmp_path / "again.html").read_text() == first.read_text()


def test_json_has_only_what_json_can_say(faulty: Report, tmp_path: Path) -> None:
    text = faulty.to_json(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == text
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert data["ok"] is False
    assert data["rows"][0]["accumulated"]["sqnr_db"] == "inf"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(kind="other"),
        lambda data: data.update(version=99),
        lambda data: data.pop("rows"),
        lambda data: data["rows"][0].update(status="fine"),
        lambda data: data["rows"][0].update(surprise=1),
        lambda data: data["rows"][0]["accumulated"].pop("gain"),
        lambda data: data.update(reference=3),
    ],
)
def test_damaged_reports_are_refused(faulty: Report, tmp_path: Path, change: Any) -> None:
    data = json.loads(faulty.to_json())
    change(data)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match="damaged"):
        load_report(path)


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    for name, content in {"a": b"\xff\x00", "b": b"[]", "c": b"[" * 100_000}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError):
            load_report(tmp_path / name)
    with pytest.raises(ModelError, match=r"missing: no such file; report\.save\(path\) writes one"):
        load_report(tmp_path / "missing")
    with pytest.raises(SaveError):
        load = compare(source(chain(1)), source(chain(1)))
        load.save(tmp_path / "nowhere" / "r.json")


def test_frames(faulty: Report) -> None:
    frame = faulty.to_frame()
    assert len(frame) == 12
    assert list(frame["status"].value_counts().to_dict().items()) == [("failing", 7), ("ok", 4), ("unmatched", 1)]
    assert frame.loc[4, "relative_l2"] == pytest.approx(0.05, rel=1e-3)
    assert frame.loc[5, "isolated_relative_l2"] == 0
    assert set(frame.loc[frame["status"] != "unmatched", "evidence"]) == {"provenance"}
    assert set(frame["rivals"]) == {()}


def test_inner_failures_of_shape_show_in_every_form(tmp_path: Path) -> None:
    def make(axis: int) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [2, 3])
            with emitter.layer(["sum"]):
                return [emitter.rename(emitter.op("ReduceSum", x, emitter.const([axis])), "s")]

        return build(emit)

    reference = source(make(1))
    report = compare(reference, converted(make(0), reference, {"s": "s"}))
    assert report.worst(1)[0].reason == "shape [1, 3] instead of [2, 1]"
    assert "output 's': failing, shape [1, 3] instead of [2, 1]" in str(report)
    assert "shape [1, 3]" in report.to_html(tmp_path / "r.html").read_text(encoding="utf-8")
    assert load_report(report.save(tmp_path / "r.json")) == report
    assert report.plot().axes


def test_precision_is_named() -> None:
    report = compare(source(chain(1)), source(chain(1), note="float16 storage and rounding"))
    assert report.target == Side("net", "onnx", "onnxruntime", "float16 storage and rounding")
    assert "(float16 storage and rounding)" in str(report)


def test_details_of_a_row(faulty: Report) -> None:
    first = faulty.first_failing
    assert first is not None
    detail = faulty.detail(first, mode="isolated")
    assert (detail.title, detail.mode, detail.shape) == ("dense_2", "isolated", (2, 16))
    with pytest.raises(WorkbenchError, match="folded into a constant"):
        faulty.detail(next(row for row in faulty.rows if row.status == "unmatched"))
    x, y = faulty.tensors(first.index, mode="isolated")
    np.testing.assert_allclose(y, x * 1.05, rtol=1e-4)


def test_a_missing_pandas_is_named_with_its_extra(faulty: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(WorkbenchError, match=r"pip install 'exchange-workbench\[pandas\]'"):
        faulty.to_frame()


def test_models_may_be_paths_and_live_objects(tmp_path: Path) -> None:
    path = wb.samples.digits()
    report = compare(path, onnx.load(str(path)))
    assert report.ok
    assert compare(str(path), wb.load(path)).ok
    with pytest.raises(ModelError, match="no such file"):
        compare(tmp_path / "absent.onnx", path)


def test_rows_go_by_index_layer_and_tensor(faulty: Report) -> None:
    row = faulty.row("dense_2")
    assert row is faulty.row(row.index)
    assert row is faulty.row("d_2")
    assert row is faulty.row(row)
    assert faulty.row(-1) is faulty.rows[-1]


def test_a_single_row_can_be_corrected_and_slips_are_refused(faulty: Report) -> None:
    first = faulty.first_failing
    assert first is not None
    assert faulty.counterfactual(first).layers == faulty.counterfactual(first.index).layers == first.layers
    with pytest.raises(OptionError, match="no row 99; the report has 12"):
        faulty.counterfactual(99)
    with pytest.raises(OptionError, match="'isolted'; there are accumulated, isolated"):
        faulty.tensors(first, mode="isolted")  # not silently the accumulated ones
    with pytest.raises(OptionError, match="no row 99"):
        faulty.tensors(99)


def test_older_reports_without_notes_are_opened(faulty: Report, tmp_path: Path) -> None:
    data = json.loads(faulty.to_json())
    del data["notes"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    assert load_report(tmp_path / "old.json") == faulty
