"""Whether looking at the tensors has changed them is noted in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.support import build, chain, converted, same_names, source
from workbench.compare import Report, compare, observer
from workbench.errors import ExecutionError
from workbench.executors import OnnxRuntimeExecutor
from workbench.hub import Emitter


class Fused(OnnxRuntimeExecutor):
    """A runtime whose fusions compute something else than its single layers do."""

    name = "fused"
    factor = 1.5

    def run(self, feeds: Mapping[str, Any], tensors: Sequence[str] | None = None) -> dict[str, Any]:
        found = super().run(feeds, tensors)
        return {name: array * np.asarray(self.factor, array.dtype) for name, array in found.items()}


def observed(monkeypatch: pytest.MonkeyPatch, factor: float, side: str, **options: Any) -> Report:
    """Two healthy models, one of which gives other outputs where it is run whole."""
    model = source(chain(2), name="reference")
    target = converted(chain(2), model, same_names(chain(2)))
    chosen = {"reference": model, "target": target}[side]

    def executor_for(document: Any, *, threads: int = 0) -> OnnxRuntimeExecutor:
        if document is not chosen.document:
            return OnnxRuntimeExecutor(document.hub(), document.name)
        made = Fused(document.hub(), document.name, name="fused")
        made.factor = factor
        return made

    monkeypatch.setattr(observer, "executor_for", executor_for)
    return compare(model, target, **options)


@pytest.mark.parametrize("side", ["reference", "target"])
def test_another_output_of_the_untouched_model_is_noted(
    side: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    report = observed(monkeypatch, 1.5, side)
    (note,) = report.notes
    assert note.startswith(f"tapping changes the {side}'s output 't_1': relative L2")
    assert "run by fused" in note
    assert report.ok, "the rows are about the tapped models"
    assert f"note: {note}" in str(report)
    assert wb.load_report(report.save(tmp_path / "r.json")).notes == report.notes
    assert "tapping changes" in report.to_html(tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_what_rounding_explains_is_not(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert observed(monkeypatch, factor, "target").notes == ()


def test_it_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observed(monkeypatch, 1.5, "target", observe=False).notes == ()
    assert observed(monkeypatch, 1.5, "target", mode="isolated").notes == ()


def test_a_model_that_only_runs_in_pieces_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def executor_for(document: Any, *, threads: int = 0) -> Any:
        raise ExecutionError("it is too large for this runtime.")

    monkeypatch.setattr(observer, "executor_for", executor_for)
    model = source(chain(1))
    report = compare(model, model)
    known = "whether tapping changes the reference's outputs is not known"
    assert report.notes[0] == f"{known}: it is too large for this runtime."
    assert report.ok


def test_every_kind_of_output_is_observed() -> None:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input("x", "float32", ["n", 3])
        with emitter.layer(["all"]):
            values, indices = emitter.ops("TopK", x, emitter.const([2]), outputs=["values", "indices"])
            less = emitter.rename(emitter.op("Less", x, emitter.const(0.0)), "less")
            return [values, indices, less]

    model = source(build(emit))
    (note,) = compare(model, model, feeds={"x": np.asarray([[np.nan, np.inf, 1]], np.float32)}).notes
    assert note.startswith("the feed 'x' has NaN"), "and none on what tapping changes"
