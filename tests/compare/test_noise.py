"""What float16 explains is no fault, however large; what it does not explain is one, however small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.compare.support import FakeDocument, build, converted, same_names, source
from workbench.compare import Report, compare, engine, group, load_report
from workbench.hub import Emitter
from workbench.model import Model

HALF, FLOAT = ir.DataType.FLOAT16.value, ir.DataType.FLOAT.value
NEAR_ONE = {"x": np.random.default_rng(0).uniform(1.005, 1.02, (4, 64)).astype(np.float32)}
WEIGHT = (np.random.default_rng(1).standard_normal((64, 64)) / 8).astype(np.float32)

Layer = Callable[[Emitter, ir.Value, Callable[[Any], ir.Value]], ir.Value]


def network(*layers: tuple[str, Layer], half: bool, wide: tuple[str, ...] = ()) -> ir.Model:
    """Layers one after the other; in a float16 program each reads and makes float16, but for those in ``wide``."""

    def make(emitter: Emitter) -> list[ir.Value]:
        value = emitter.input("x", "float32", [4, 64])
        for name, layer in layers:
            narrow = half and name not in wide
            dtype, code = ("float16", HALF) if narrow else ("float32", FLOAT)
            with emitter.layer([name]):
                if value.dtype is not ir.DataType(code):
                    value = emitter.op("Cast", value, to=code)

                def const(array: Any, dtype: str = dtype) -> ir.Value:
                    return emitter.const(np.asarray(array, dtype))

                value = emitter.rename(layer(emitter, value, const), name)
        if half and value.dtype is ir.DataType.FLOAT16:
            value = emitter.op("Cast", value, to=FLOAT)
        return [value]

    return build(make)


def log(emitter: Emitter, x: ir.Value, const: Callable[[Any], ir.Value]) -> ir.Value:
    return emitter.op("Log", x)


def least(emitter: Emitter, x: ir.Value, const: Callable[[Any], ir.Value]) -> ir.Value:
    return emitter.op("ReduceMin", x, emitter.const([1]), keepdims=1)


def times(factor: float) -> Layer:
    return lambda emitter, x, const: emitter.op("Mul", x, const(factor))


def product(gain: float = 1.0) -> Layer:
    return lambda emitter, x, const: emitter.op("MatMul", x, const(WEIGHT * np.float32(gain)))


def against(reference: ir.Model, target: ir.Model, **feeds: Any) -> Report:
    origin = source(reference)
    return compare(origin, converted(target, origin, same_names(reference), note="float16 storage"), feeds=feeds)


def test_a_healthy_float16_model_raises_no_alarm_where_its_precision_explains_the_difference() -> None:
    """log(x) of values near one: half of the digits are gone before the layer begins."""
    layers = ("log", log), ("least", least)
    report = against(network(*layers, half=False), network(*layers, half=True), **NEAR_ONE)
    assert report.ok, str(report)
    row = report.rows[-1]
    assert row.accumulated is not None
    assert row.accumulated.relative_l2 > 1e-2
    assert row.noise is not None
    assert row.db_above_noise is not None
    assert -12 < row.db_above_noise < 3
    assert report.rows[0].remark.startswith("float16 explains it: relative L2 above")
    assert "as the reference has when it is rounded alike" in report.rows[0].remark


def test_a_fault_in_the_same_model_still_alarms() -> None:
    layers = ("log", log), ("times", times(3.0)), ("least", least)
    faulty = ("log", log), ("times", times(3.6)), ("least", least)
    report = against(network(*layers, half=False), network(*faulty, half=True), **NEAR_ONE)
    assert next((row.layer, row.blame) for row in report.failing) == ("times", "own")
    assert report.culprits(1)[0].signature.kind == "gain"


def test_a_fault_below_the_table_is_found_because_the_noise_is_known() -> None:
    """Half a per cent too much is less than any float16 sum is allowed unmeasured, but 20 dB above this one's noise."""
    x = np.random.default_rng(2).standard_normal((4, 64)).astype(np.float32)
    report = against(network(("sum", product()), half=False), network(("sum", product(1.005)), half=True), x=x)
    (row,) = report.rows
    assert row.blame == "own"
    assert row.isolated is not None
    assert row.isolated.relative_l2 < 1.2e-2
    assert row.isolated_db_above_noise == pytest.approx(20, abs=6)
    assert against(network(("sum", product()), half=False), network(("sum", product()), half=True), x=x).ok


def test_overflow_is_never_explained() -> None:
    layers = ("square", times(3e4)), ("back", times(1e-4))
    report = against(network(*layers, half=False), network(*layers, half=True), x=4 * np.ones((4, 64), np.float32))
    row = report.first_bad
    assert row is not None
    assert (row.layer, row.blame) == ("square", "own")
    assert row.signature is not None
    assert row.signature.kind == "overflow"
    assert "65504" in row.signature.evidence[1]


def test_layers_that_stay_in_float32_are_only_explained_what_comes_in() -> None:
    """In a mixed program the wide layer adds nothing by itself; an error of float16's size there is its own."""
    x = np.random.default_rng(2).standard_normal((4, 64)).astype(np.float32)
    narrow, wide = ("first", product()), ("second", product())
    reference = network(narrow, wide, half=False)
    healthy = against(reference, network(narrow, wide, half=True, wide=("second",)), x=x)
    assert healthy.ok, str(healthy)
    noise = healthy.rows[1].noise
    assert noise is not None
    assert noise.accumulated is not None
    assert noise.isolated is not None
    assert noise.accumulated > 1e-4
    assert noise.isolated < 1e-4 + noise.accumulated
    spoilt = network(narrow, ("second", product(1.006)), half=True, wide=("second",))
    assert [row.layer for row in against(reference, spoilt, x=x).failing if row.blame == "own"] == ["second"]


def test_float32_has_no_noise_to_measure_and_a_given_tolerance_counts() -> None:
    layers = ("log", log), ("least", least)
    plain = network(*layers, half=False)
    assert all(row.noise is None for row in against(plain, network(*layers, half=False), **NEAR_ONE).rows)
    origin = source(plain)
    target = converted(network(*layers, half=True), origin, same_names(plain))
    assert not compare(origin, target, feeds=NEAR_ONE, tolerance=1e-3).ok


def test_weights_are_rounded_where_the_target_rounds_them_and_the_reference_is_left_alone() -> None:
    reference = network(("sum", product()), half=False)
    before = {name: value.const_value.numpy().copy() for name, value in reference.graph.initializers.items()}
    x = np.random.default_rng(2).standard_normal((4, 64)).astype(np.float32)
    report = against(reference, network(("sum", product()), half=True), x=x)
    (row,) = report.rows
    assert row.noise is not None
    assert row.isolated is not None
    assert row.noise.isolated == pytest.approx(row.isolated.relative_l2, rel=0.2)
    for name, value in reference.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), before[name])


def test_samples_are_emulated_in_the_same_groups() -> None:
    layers = ("log", log), ("least", least)
    samples = [{"x": np.random.default_rng(seed).uniform(1.005, 1.02, (4, 64)).astype(np.float32)} for seed in range(5)]
    plain = network(*layers, half=False)
    origin = source(plain)
    target = converted(network(*layers, half=True), origin, same_names(plain))
    report = compare(origin, target, feeds=iter(samples))
    assert report.samples == 5
    assert report.ok
    assert all(row.db_above_noise is not None and -12 < row.db_above_noise < 3 for row in report.rows)


def test_what_was_measured_is_kept_with_the_report(tmp_path: Any) -> None:
    layers = ("log", log), ("times", times(3.0))
    faulty = ("log", log), ("times", times(3.6))
    report = against(network(*layers, half=False), network(*faulty, half=True), **NEAR_ONE)
    again = load_report(report.save(tmp_path / "report.json"))
    assert again == report
    assert again.rows[1].signature == report.rows[1].signature is not None
    assert again.culprits(1)[0].noise == report.culprits(1)[0].noise


def test_a_report_from_before_there_was_noise_is_read(tmp_path: Any) -> None:
    import json

    layers = (("log", log),)
    report = against(network(*layers, half=False), network(*layers, half=True), **NEAR_ONE)
    data = json.loads(report.to_json())
    for row in data["rows"]:
        for name in ("noise", "inherited", "amplification", "signature"):
            del row[name]
        for mode in ("accumulated", "isolated"):
            del row[mode]["max_ulp"], row[mode]["margin"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert [row.noise for row in load_report(path).rows] == [None]


def test_the_profile_shows_the_floor() -> None:
    layers = ("log", log), ("least", least)
    report = against(network(*layers, half=False), network(*layers, half=True), **NEAR_ONE)
    labels = [line.get_label() for line in report.plot().axes[0].get_lines()]
    assert "explained by float16" in labels
    plain = against(network(*layers, half=False), network(*layers, half=False), **NEAR_ONE)
    assert "explained by float16" not in [line.get_label() for line in plain.plot().axes[0].get_lines()]


def test_the_models_do_not_have_to_be_converted_from_one_another() -> None:
    layers = ("log", log), ("least", least)
    reference = Model(FakeDocument(network(*layers, half=False)))
    target = Model(FakeDocument(network(*layers, half=True), name="half"))
    report = compare(reference, target, feeds=NEAR_ONE)
    assert report.ok, str(report)
    assert any(row.noise is not None for row in report.rows)


@pytest.mark.parametrize(("factor", "everything"), [(3.0, False), (3.6, True)])
def test_later_samples_are_only_emulated_where_the_first_do_not_explain_them(
    monkeypatch: pytest.MonkeyPatch, factor: float, everything: bool
) -> None:
    runs: Counter[str] = Counter()
    run = group.run_fragment

    def counted(walk: Any, *arguments: Any) -> Any:
        runs[walk.subject] += 1
        return run(walk, *arguments)

    monkeypatch.setattr(group, "run_fragment", counted)
    monkeypatch.setattr(engine, "GROUP_SAMPLES", 1)
    origin = source(network(("log", log), ("times", times(3.0)), half=False))
    hub = network(("log", log), ("times", times(factor)), half=True)
    target = converted(hub, origin, same_names(origin.graph))
    samples = [{"x": NEAR_ONE["x"] + np.float32(0.001 * index)} for index in range(4)]
    report = compare(origin, target, feeds=samples, observe=False)
    assert report.ok is not everything
    once = runs["onnx model 'net in float16'"] / (4 if everything else 1)
    assert once == round(once)
    assert 1 <= once <= 4
