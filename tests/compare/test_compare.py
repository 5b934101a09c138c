"""The engine on pairs of models made for the purpose: who makes an error, who inherits it, and what is no error."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.compare.support import build, chain, converted, same_names, source
from workbench.compare import Tolerance, compare, group
from workbench.errors import Cancelled, ExecutionError, OptionError
from workbench.hub import Emitter
from workbench.model import Model

FLOAT16 = ir.DataType.FLOAT16.value
FLOAT = ir.DataType.FLOAT.value


def pair(fault: int | None = None, depth: int = 12, **options: Any) -> tuple[Any, Any]:
    reference = source(chain(depth))
    hub = chain(depth, fault, **options)
    return reference, converted(hub, reference, same_names(hub))


def test_equal_models_are_ok() -> None:
    report = compare(*pair())
    assert report.ok
    assert len(report.rows) == 24
    assert all(row.accumulated is not None and row.isolated is not None for row in report.rows)
    assert [row.layers for row in report.rows[:2]] == [("dense_0",), ("tanh_0",)]
    assert [row.tensor for row in report.outputs] == ["t_11"]


@pytest.mark.parametrize("fault", [0, 5, 11])
def test_a_faulty_weight_is_found_where_it_is(fault: int) -> None:
    """Two per cent too much in one of many weights: everything behind inherits it, one layer makes it."""
    report = compare(*pair(fault))
    assert not report.ok
    assert [row.layer for row in report.rows if row.blame == "own"] == [f"dense_{fault}"]
    assert report.first_failing is not None
    assert report.first_failing.layer == f"dense_{fault}"
    assert report.worst(1)[0].layer == f"dense_{fault}"
    assert {row.layer for row in report.failing if row.blame == "inherited"} == {
        row.layer for row in report.rows[2 * fault + 1 :]
    }
    found = report.first_failing.isolated
    assert found is not None
    assert found.gain == pytest.approx(1.02, rel=1e-4)


def test_isolated_errors_do_not_depend_on_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pair(5, factor=1.3)
    expected = [(row.accumulated, row.isolated) for row in compare(*models).rows]
    for nodes in (1, 3):
        monkeypatch.setattr(group, "SEGMENT_NODES", nodes)
        assert [(row.accumulated, row.isolated) for row in compare(*models).rows] == expected


def test_one_mode_alone_gives_the_same_figures() -> None:
    models = pair(3)
    both, accumulated, isolated = (compare(*models, mode=mode) for mode in ("both", "accumulated", "isolated"))
    assert [row.accumulated for row in accumulated.rows] == [row.accumulated for row in both.rows]
    assert [row.isolated for row in isolated.rows] == [row.isolated for row in both.rows]
    assert all(row.isolated is None for row in accumulated.rows)
    assert all(row.accumulated is None for row in isolated.rows)
    assert [row.layer for row in isolated.failing] == ["dense_3"]
    assert accumulated.first_failing is not None
    assert accumulated.first_failing.layer == "dense_3"
    with pytest.raises(OptionError, match="'fast'"):
        compare(*models, mode="fast")


def test_samples_are_taken_lazily_and_all_count() -> None:
    generator = np.random.default_rng(1)
    taken = 0

    def samples() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for _ in range(5):
            taken += 1
            yield {"x": generator.standard_normal((2, 16)).astype(np.float32)}

    report = compare(*pair(2), feeds=samples())
    assert taken == report.samples == 5
    first = report.rows[0].accumulated
    assert first is not None
    assert first.size == 5 * 2 * 16


def test_no_sample_is_refused() -> None:
    with pytest.raises(OptionError, match="no sample"):
        compare(*pair(), feeds=[])


def nhwc() -> tuple[Any, Any]:
    """A convolution, and the same in a program that keeps its tensors channels last."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)

    def reference(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", ["batch", 3, 8, 8])
        with emitter.layer(["conv"]):
            y = emitter.rename(emitter.op("Conv", x, emitter.const(weight), pads=[1, 1, 1, 1]), "y")
        with emitter.layer(["relu"]):
            z = emitter.rename(emitter.op("Relu", y), "z")
        with emitter.layer(["flatten"]):
            return [emitter.rename(emitter.op("Flatten", z), "out")]

    def target(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("image", "float32", [2, 8, 8, 3])
        with emitter.layer(["own_conv"]):
            first = emitter.op("Transpose", x, perm=[0, 3, 1, 2])
            conv = emitter.op("Conv", first, emitter.const(weight), pads=[1, 1, 1, 1])
            y = emitter.rename(emitter.op("Transpose", conv, perm=[0, 2, 3, 1]), "own_y")
        with emitter.layer(["own_relu"]):
            z = emitter.rename(emitter.op("Relu", y), "own_z")
        with emitter.layer(["own_flatten"]):
            back = emitter.op("Transpose", z, perm=[0, 3, 1, 2])
            return [emitter.rename(emitter.op("Reshape", back, emitter.const([2, 256])), "own_out")]

    origin = source(build(reference))
    perm = (0, 3, 1, 2)
    links: dict[str, Any] = {"image": ("x", perm), "own_y": ("y", perm), "own_z": ("z", perm), "own_out": "out"}
    return origin, converted(build(target), origin, links, inputs={"image": "x"})


def test_channels_last_is_no_difference() -> None:
    """Layout is undone by provenance, in both directions; feeds are transposed; the batch is the target's."""
    report = compare(*nhwc())
    assert report.ok, str(report)
    assert [(row.tensor, row.target_tensor) for row in report.rows] == [
        ("y", "own_y"),
        ("z", "own_z"),
        ("out", "own_out"),
    ]
    assert report.rows[0].shape == (2, 4, 8, 8)
    assert report.rows[0].target_layers == ("own_conv",)
    isolated = report.rows[2].isolated
    assert isolated is not None
    assert isolated.max_abs == 0


def test_a_wrong_layout_is_a_difference() -> None:
    origin, target = nhwc()
    tensors = dict(target.provenance.tensors)
    tensors["own_y"] = type(tensors["own_y"])("y", (0, 3, 2, 1))
    object.__setattr__(target.provenance, "tensors", tensors)
    report = compare(origin, target)
    assert [row.layer for row in report.failing if row.blame == "own"] == ["conv", "relu"]


def test_the_reference_may_be_the_converted_one() -> None:
    origin, target = nhwc()
    report = compare(target, origin)
    assert report.ok, str(report)
    assert report.relation == "the reference was converted from the target"
    assert {(row.tensor, row.target_tensor) for row in report.rows} == {
        ("own_y", "y"),
        ("own_z", "z"),
        ("own_out", "out"),
    }


def test_two_conversions_of_one_model() -> None:
    origin, target = nhwc()
    other_hub = origin.graph
    other = converted(other_hub, origin, {"y": "y", "z": "z", "out": "out"})
    object.__setattr__(other.document, "format", "other")
    object.__setattr__(target.document, "format", "another")
    from workbench.compare.match import match

    matching = match(other, target)
    assert matching.relation.startswith("both were converted from")
    assert {(p.reference, p.target) for p in matching.pairs} == {("y", "own_y"), ("z", "own_z"), ("out", "own_out")}


def test_float16_is_judged_as_float16() -> None:
    """A program that rounds to float16 differs by its rounding; the same difference in float32 would be an error."""
    reference = source(chain(6))

    def make(emitter: Emitter) -> list[ir.Value]:
        value = emitter.input("x", "float32", [2, 16])
        graph = reference.graph.graph
        for index in range(6):
            with emitter.layer([f"d{index}"]):
                half = emitter.op("Cast", value, to=FLOAT16)
                wide = emitter.op("Cast", half, to=FLOAT)
                weight = graph.initializers[f"w_{index}"].const_value
                assert weight is not None
                product = emitter.op("MatMul", wide, emitter.const(weight.numpy()))
                value = emitter.rename(
                    emitter.op("Cast", emitter.op("Cast", product, to=FLOAT16), to=FLOAT), f"d_{index}"
                )
            with emitter.layer([f"t{index}"]):
                rounded = emitter.op("Cast", emitter.op("Tanh", value), to=FLOAT16)
                value = emitter.rename(emitter.op("Cast", rounded, to=FLOAT), f"t_{index}")
        return [value]

    hub = build(make)
    links = {f"{kind}_{index}": f"{kind}_{index}" for kind in "dt" for index in range(6)}
    target = converted(hub, reference, links)
    report = compare(reference, target)
    assert report.ok, str(report)
    worst = max(row.isolated.relative_l2 for row in report.rows if row.isolated)
    assert 1e-5 < worst < 5e-3
    assert not compare(reference, target, tolerance=1e-6).ok


def test_nan_in_the_same_places_is_right_and_elsewhere_is_not() -> None:
    def make(shift: float) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [64])
            with emitter.layer(["shift"]):
                y = emitter.rename(emitter.op("Add", x, emitter.const(np.float32(shift))), "y")
            with emitter.layer(["log"]):
                return [emitter.rename(emitter.op("Log", y), "z")]

        return build(emit)

    reference = source(make(0))
    same = make(0)
    report = compare(reference, converted(same, reference, same_names(same)))
    assert report.ok
    last = report.rows[-1].accumulated
    assert last is not None
    assert last.nan[0] == last.nan[1] > 0
    other = make(0.5)
    report = compare(reference, converted(other, reference, same_names(other)))
    assert [(row.layer, row.blame) for row in report.failing] == [("shift", "own"), ("log", "inherited")]
    assert "NaN" in report.rows[-1].reason


def test_integers_have_to_be_equal() -> None:
    def make(axis: int) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [4, 4])
            with emitter.layer(["argmax"]):
                return [emitter.rename(emitter.op("ArgMax", x, axis=axis, keepdims=0), "indices")]

        return build(emit)

    reference = source(make(0))
    hub = make(1)
    report = compare(reference, converted(hub, reference, same_names(hub)))
    assert report.rows[0].status == "failing"
    assert "elements differ" in report.rows[0].reason


def test_integers_may_be_held_in_floats_but_not_the_reverse() -> None:
    def indices(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [4, 4])
        with emitter.layer(["argmax"]):
            return [emitter.rename(emitter.op("ArgMax", x, axis=1), "i")]

    def floats(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [4, 4])
        with emitter.layer(["argmax"]):
            return [emitter.rename(emitter.op("Cast", emitter.op("ArgMax", x, axis=1), to=FLOAT), "i")]

    reference = source(build(indices))
    assert compare(reference, converted(build(floats), reference, {"i": "i"})).ok
    reverse = source(build(floats))
    report = compare(reverse, converted(build(indices), reverse, {"i": "i"}))
    assert report.rows[0].status == "failing"
    assert report.rows[0].reason == "dtype int64 instead of float32"


def test_another_shape_is_a_failure_of_its_own() -> None:
    def make(keep: int, axis: int) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [2, 3])
            with emitter.layer(["sum"]):
                axes = emitter.const([axis])
                return [emitter.rename(emitter.op("ReduceSum", x, axes, keepdims=keep), "s")]

        return build(emit)

    reference = source(make(1, 1))
    wrong = make(1, 0)
    report = compare(reference, converted(wrong, reference, same_names(wrong)))
    assert report.rows[0].status == "failing"
    assert report.rows[0].reason == "shape [1, 3] instead of [2, 1]"
    squeezed = make(0, 1)
    assert compare(reference, converted(squeezed, reference, same_names(squeezed))).ok


def test_folded_fused_and_unknown_layers_are_unmatched_for_their_own_reasons() -> None:
    reference = source(chain(3))
    hub = chain(3)
    links = {name: name for name in ("t_0", "t_1", "t_2")}
    target = converted(
        hub, reference, links, layers={"own_1": ("dense_1", "tanh_1"), "own_2": ("tanh_2",)}, folded=("dense_0",)
    )
    report = compare(reference, target)
    reasons = {row.layer: row.reason for row in report.rows if row.status == "unmatched"}
    assert reasons == {
        "dense_0": "folded into a constant by the conversion",
        "dense_1": "computed inside own_1",
        "dense_2": "no layer of the target stands for it",
    }
    assert report.ok


def test_layers_without_a_counterpart_are_named_with_the_one_that_they_are_compared_in() -> None:
    reference = source(chain(3))
    hub = chain(3, fault=1)
    report = compare(reference, converted(hub, reference, {name: name for name in ("d_0", "t_0", "t_1", "t_2")}))
    assert report.first_failing is not None
    assert report.first_failing.layer == "tanh_1"
    assert report.first_failing.reason.endswith("; compared together with dense_1")


def test_a_constant_stands_for_a_computed_tensor() -> None:
    def computed(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [3])
        condition = emitter.input("unused", "float32", [1])
        with emitter.layer(["zero"]):
            zero = emitter.rename(emitter.op("Mul", condition, emitter.const(np.float32(0))), "zero")
        with emitter.layer(["add"]):
            return [emitter.rename(emitter.op("Add", x, zero), "y")]

    def folded(value: float) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [3])
            emitter.input("unused", "float32", [1])
            zero = emitter.const(np.asarray([value], np.float32), name="zero")
            with emitter.layer(["add"]):
                return [emitter.rename(emitter.op("Add", x, zero), "y")]

        return build(emit)

    reference = source(build(computed))
    links = {"zero": "zero", "y": "y"}
    assert compare(reference, converted(folded(0), reference, links)).ok
    report = compare(reference, converted(folded(1), reference, links))
    assert report.rows[0].tensor == "zero"
    assert report.rows[0].status == "failing"


def test_an_unmatched_output_is_not_ok() -> None:
    def make(name: str, operator: str) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [5])
            with emitter.layer(["first"]):
                y = emitter.rename(emitter.op("Abs", x), "y")
            with emitter.layer(["last"]):
                return [emitter.rename(emitter.op(operator, y), name)]

        return build(emit)

    report = compare(source(make("a", "Exp")), source(make("b", "Sin")))
    assert [row.status for row in report.rows] == ["ok", "unmatched"]
    assert not report.ok


def test_outputs_of_unrelated_models_match_by_their_numbers_not_by_position() -> None:
    def make(names: list[str], input_name: str) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input(input_name, "float32", [1, 6])
            made = {operator: emitter.op(operator, x) for operator in ("Exp", "Tanh")}
            return [emitter.rename(made[name.split("_")[0]], name) for name in names]

        return build(emit)

    first = source(make(["Exp_a", "Tanh_a"], "x"))
    second = source(make(["Tanh_b", "Exp_b"], "data"))
    report = compare(first, second)
    assert {(row.tensor, row.target_tensor, row.evidence) for row in report.rows} == {
        ("Exp_a", "Exp_b", "numbers"),
        ("Tanh_a", "Tanh_b", "numbers"),
    }
    assert report.ok


def test_inputs_that_could_be_one_another_are_not_guessed() -> None:
    def make(names: tuple[str, str]) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            first, second = (emitter.input(name, "float32", [3]) for name in names)
            return [emitter.rename(emitter.op("Sub", first, second), "y")]

        return build(emit)

    first, second = source(make(("a", "b"))), source(make(("c", "d")))
    with pytest.raises(ExecutionError, match="input names of both models"):
        compare(first, second)
    values = np.arange(3, dtype=np.float32)
    feeds = {"a": values, "b": values * 2, "c": values, "d": values * 2}
    assert compare(first, second, feeds=feeds).ok


def test_control_flow_runs_whole() -> None:
    def make(factor: float) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [4])
            with emitter.layer(["abs"]):
                y = emitter.rename(emitter.op("Abs", x), "y")
            condition = emitter.op("Greater", emitter.op("ReduceSum", y, keepdims=0), emitter.const(np.float32(0)))
            scale = emitter.const(np.full(4, factor, np.float32))

            def branch(name: str, operator: str) -> ir.Graph:
                node = ir.Node("", operator, [y, scale], outputs=[ir.Value(name=f"{name}_out")])
                node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
                return ir.Graph([], node.outputs, nodes=[node], name=name)

            graphs = [
                ir.AttrGraph("then_branch", branch("then", "Mul")),
                ir.AttrGraph("else_branch", branch("else", "Add")),
            ]
            with emitter.layer(["if"]):
                z = emitter.add(ir.Node("", "If", [condition], graphs, outputs=[ir.Value(name="z")]))[0]
            with emitter.layer(["exp"]):
                return [emitter.rename(emitter.op("Exp", z), "out")]

        return build(emit)

    reference = source(make(2))
    same, other = make(2), make(2.2)
    assert compare(reference, converted(same, reference, same_names(same))).ok
    report = compare(reference, converted(other, reference, same_names(other)))
    assert [row.layer for row in report.rows if row.blame == "own"] == ["if"]


def test_random_numbers_are_skipped() -> None:
    def emit(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [4])
        with emitter.layer(["abs"]):
            y = emitter.rename(emitter.op("Abs", x), "y")
        with emitter.layer(["noise"]):
            noise = emitter.rename(emitter.op("RandomNormalLike", y), "noise")
        with emitter.layer(["add"]):
            return [emitter.rename(emitter.op("Add", y, noise), "out")]

    reference, hub = source(build(emit)), build(emit)
    report = compare(reference, converted(hub, reference, same_names(hub)))
    assert [row.status for row in report.rows] == ["ok", "skipped", "skipped"]
    assert "RandomNormalLike" in report.rows[2].reason


def test_cancellation_between_segments() -> None:
    seen: list[float] = []

    def progress(stage: str, fraction: float) -> None:
        seen.append(fraction)
        if fraction > 0.3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        compare(*pair(depth=40), progress=progress)
    assert 2 < len(seen) < 20
    assert seen == sorted(seen)


def test_addends_that_cancel_are_no_error() -> None:
    """x - mean(x) of a nearly constant x is rounding noise; its relative error says nothing."""

    def make(rounded: bool) -> Any:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [1, 300])
            mean = emitter.op("ReduceMean", x, emitter.const([1]))
            if rounded:  # one unit in the last place
                mean = emitter.op("Mul", mean, emitter.const(np.nextafter(np.float32(1), np.float32(2))))
            with emitter.layer(["center"]):
                return [emitter.rename(emitter.op("Sub", x, mean), "y")]

        return build(emit)

    reference, hub = source(make(False)), make(True)
    feeds = {"x": (1 + 1e-6 * np.random.default_rng(5).random((1, 300))).astype(np.float32)}
    report = compare(reference, converted(hub, reference, {"y": "y"}), feeds=feeds)
    metrics = report.rows[0].isolated
    assert metrics is not None
    assert metrics.relative_l2 > 0
    assert report.ok, str(report)


def test_tolerances_can_be_given() -> None:
    models = pair(5)
    assert compare(*models, tolerance=0.1).ok
    assert compare(*models, tolerance={"dense_5": 0.1, "accumulated": 0.1}).ok
    assert compare(*models, tolerance={"MatMul": 0.1, "Tanh": 0.1}).ok
    assert not compare(*models, tolerance={"dense_4": 0.1}).ok
    with pytest.raises(OptionError, match="'dense_55'"):
        compare(*models, tolerance={"dense_55": 0.1})
    for wrong in (-1, float("nan"), "much", True):
        with pytest.raises(OptionError, match="tolerance"):
            Tolerance(wrong)  # type: ignore[arg-type]


def test_tensors_are_recomputed_as_they_were_compared() -> None:
    report = compare(*pair(5))
    for mode in ("accumulated", "isolated"):
        for row in (report.rows[0], report.rows[10], report.rows[11]):
            x, y = report.tensors(row, mode=mode)
            metrics = getattr(row, mode)
            assert float(np.abs(x - y).max()) == pytest.approx(metrics.max_abs, rel=1e-6)
    origin, target = nhwc()
    x, y = compare(origin, target).tensors(0, mode="isolated")
    assert x.shape == y.shape == (2, 4, 8, 8)
    np.testing.assert_allclose(x, y, rtol=1e-5)


def test_memory_does_not_grow_with_the_depth() -> None:
    def peak(depth: int) -> int:
        reference = source(chain(depth, width=256))
        hub = chain(depth, width=256)
        models = reference, converted(hub, reference, same_names(hub))
        feeds = {"x": np.ones((2, 256), np.float32)}
        assert models[0].graph is not None
        gc.collect()
        tracemalloc.start()
        compare(*models, feeds=feeds)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(4)  # imports
    # A layer's row, pair and nodes take a few kilobytes; its weight alone would take 256 KB, its samples more.
    assert peak(120) - peak(20) < 100 * 40_000


def test_a_model_that_cannot_run_is_named() -> None:
    def emit(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [None])
        with emitter.layer(["reshape"]):
            return [emitter.rename(emitter.op("Reshape", x, emitter.const([3, 5])), "y")]

    reference, hub = source(build(emit)), build(emit)
    with pytest.raises(ExecutionError, match=r"onnx model 'net', Reshape 'Reshape'"):
        compare(reference, converted(hub, reference, same_names(hub)), feeds={"x": np.zeros(4, np.float32)})


def _held_twice(*, fault: float, read_elsewhere: bool) -> ir.Model:
    """Tanh of x, held in ``inner`` and, a factor later, in ``outer``; another output may read ``inner``."""

    def make(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [3])
        inner = emitter.rename(emitter.op("Tanh", x), "inner")
        outer = emitter.rename(emitter.op("Mul", inner, emitter.const(np.float32(fault))), "outer")
        negative = emitter.rename(emitter.op("Neg", inner if read_elsewhere else outer), "negative")
        return [outer, negative]

    return build(make)


def _held_once() -> Model:
    def make(emitter: Emitter) -> list[ir.Value]:
        with emitter.layer(["tanh"]):
            y = emitter.rename(emitter.op("Tanh", emitter.input("x", "float32", [3])), "y")
        with emitter.layer(["neg"]):
            return [y, emitter.rename(emitter.op("Neg", y), "n")]

    return source(build(make))


@pytest.mark.parametrize("read_elsewhere", [False, True])
def test_a_tensor_that_the_target_holds_twice_has_one_row_at_the_interface(read_elsewhere: bool) -> None:
    reference = _held_once()
    links = {"inner": "y", "outer": "y", "negative": "n"}
    report = compare(reference, converted(_held_twice(fault=1, read_elsewhere=read_elsewhere), reference, links))
    assert report.ok
    assert [(row.tensor, row.target_tensor, row.output) for row in report.rows] == [
        ("y", "outer", True),
        ("n", "negative", True),
    ]
    wrong = compare(reference, converted(_held_twice(fault=1.1, read_elsewhere=read_elsewhere), reference, links))
    assert [(row.tensor, row.status, row.blame) for row in wrong.rows if row.tensor == "y"] == [("y", "failing", "own")]
    assert [row.status for row in wrong.rows] == ["failing", "ok" if read_elsewhere else "failing"]


def test_of_two_holders_the_wrong_one_is_shown() -> None:
    def make(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [3])
        right = emitter.rename(emitter.op("Tanh", x), "right")
        wrong = emitter.rename(emitter.op("Sin", x), "wrong")
        return [right, emitter.rename(emitter.op("Neg", wrong), "negative")]

    reference = _held_once()
    report = compare(reference, converted(build(make), reference, {"right": "y", "wrong": "y", "negative": "n"}))
    assert [(row.tensor, row.target_tensor, row.status, row.output) for row in report.rows] == [
        ("y", "wrong", "failing", True),
        ("n", "negative", "failing", True),
    ]
