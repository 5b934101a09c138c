"""Matching two models that have no record of one another: by their numbers, and by place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compare.support import build, source
from workbench.compare import compare
from workbench.compare.namesakes import layout
from workbench.compare.prints import print_of, relation
from workbench.errors import ExecutionError
from workbench.hub import Emitter
from workbench.model import Model

RNG = np.random.default_rng(7)
KERNELS = [RNG.normal(size=shape).astype(np.float32) for shape in ((4, 3, 3, 3), (5, 4, 3, 3))]
BIAS = RNG.normal(size=5).astype(np.float32)


def channels_first(fault: float = 1.0) -> Model:
    """Convolution, activation, convolution with bias, pooling."""

    def emit(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("x", "float32", [1, 3, 8, 7])
        for at, kernel in enumerate(KERNELS):
            with emitter.layer([f"conv{at}"]):
                weights = emitter.const(kernel * np.float32(fault if at == 0 else 1.0))
                x = emitter.rename(emitter.op("Conv", x, weights, pads=[1, 1, 1, 1]), f"conv{at}_out")
            with emitter.layer([f"act{at}"]):
                x = emitter.rename(emitter.op("Tanh", x), f"act{at}_out")
        with emitter.layer(["bias"]):
            x = emitter.rename(emitter.op("Add", x, emitter.const(BIAS.reshape(5, 1, 1))), "bias_out")
        with emitter.layer(["pool"]):
            return [emitter.rename(emitter.op("GlobalAveragePool", x), "y")]

    return source(build(emit), name="first")


def channels_last(fault: float = 1.0) -> Model:
    """The same under other names, its activations on the other layout; the last layer written as a mean."""

    def emit(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("image", "float32", [1, 3, 8, 7])
        for at, kernel in enumerate(KERNELS):
            with emitter.layer([f"c{at}"]):
                weights = emitter.const(kernel * np.float32(fault if at == 0 else 1.0))
                x = emitter.op("Conv", x, weights, pads=[1, 1, 1, 1])
            with emitter.layer([f"t{at}"]):
                x = emitter.op("Transpose", x, perm=[0, 2, 3, 1])
            with emitter.layer([f"a{at}"]):
                x = emitter.rename(emitter.op("Tanh", x), f"tanh{at}")
            if at == 0:
                with emitter.layer(["back"]):
                    x = emitter.op("Transpose", x, perm=[0, 3, 1, 2])
        with emitter.layer(["b"]):
            x = emitter.rename(emitter.op("Add", x, emitter.const(BIAS)), "sum")
        with emitter.layer(["mean"]):
            mean = emitter.op("ReduceMean", x, emitter.const([1, 2]), keepdims=0)
            return [emitter.rename(mean, "pooled")]

    return source(build(emit), name="second")


def test_two_exports_of_one_network_match_layer_by_layer_across_layouts() -> None:
    report = compare(channels_first(), channels_last())
    assert report.ok, str(report)
    found = {row.tensor: (row.target_tensor, row.status, row.evidence) for row in report.rows}
    assert found["act0_out"] == ("tanh0", "ok", "numbers")
    assert found["act1_out"] == ("tanh1", "ok", "numbers")
    assert found["bias_out"] == ("sum", "ok", "numbers")
    assert found["y"] == ("pooled", "ok", "numbers")
    assert {row.status for row in report.rows} == {"ok"}
    assert max(row.accumulated.relative_l2 for row in report.rows if row.accumulated) < 1e-6


def test_what_a_fault_has_changed_is_matched_by_its_place_and_blamed() -> None:
    def chain(name: str, gain: float) -> Model:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [2, 9])
            for at, operator in enumerate(("Tanh", "Mul", "Sigmoid", "Exp")):
                with emitter.layer([f"{name}{at}"]):
                    extra = [emitter.const(np.float32(gain))] if operator == "Mul" else []
                    x = emitter.rename(emitter.op(operator, x, *extra), f"{name}{at}_out")
            return [x]

        return source(build(emit), name=name)

    report = compare(chain("p", 2.0), chain("q", 2.6))
    assert [(row.tensor, row.target_tensor, row.evidence) for row in report.rows] == [
        ("p0_out", "q0_out", "numbers"),
        ("p1_out", "q1_out", "place"),
        ("p2_out", "q2_out", "place"),
        ("p3_out", "q3_out", "place"),
    ]
    assert [row.blame for row in report.rows] == ["", "own", "inherited", "inherited"]


def test_tensors_with_the_same_values_are_told_apart_as_far_as_possible_and_named() -> None:
    def emit(emitter: Emitter, names: tuple[str, ...]) -> list[ir.Value]:
        x = emitter.input("x", "float32", [1, 6])
        steps: list[tuple[str, dict[str, Any], list[Any]]] = [
            ("Abs", {}, []), ("Relu", {}, []), ("Reshape", {}, [emitter.const([2, 3])]), ("Exp", {}, [])
        ]  # fmt: skip
        for name, (operator, attributes, extra) in zip(names, steps, strict=True):
            with emitter.layer([name]):
                x = emitter.rename(emitter.op(operator, x, *extra, **attributes), f"{name}_out")
        return [x]

    first = source(build(lambda emitter: emit(emitter, ("a", "b", "c", "d"))))
    second = source(build(lambda emitter: emit(emitter, ("k", "l", "m", "n"))))
    report = compare(first, second)
    assert [(row.tensor, row.target_tensor) for row in report.rows] == [
        ("a_out", "k_out"), ("b_out", "l_out"), ("c_out", "m_out"), ("d_out", "n_out")
    ]  # fmt: skip
    assert set(report.rows[0].rivals) == {"b_out", "c_out"}
    assert report.rows[3].rivals == ()


def test_one_name_for_different_tensors_does_not_make_a_pair() -> None:
    def swapped(names: tuple[str, str]) -> Model:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [3, 4])
            for name, operator in zip(names, ("Tanh", "Exp"), strict=True):
                with emitter.layer([name]):
                    x = emitter.rename(emitter.op(operator, x), name)
            with emitter.layer(["last"]):
                return [emitter.rename(emitter.op("Sin", x), "y")]

        return source(build(emit))

    report = compare(swapped(("a", "b")), swapped(("b", "a")))
    assert report.ok, str(report)
    assert {(row.tensor, row.target_tensor) for row in report.rows} == {("a", "b"), ("b", "a"), ("y", "y")}


def test_models_that_have_nothing_in_common_match_nowhere() -> None:
    def single(operator: str, name: str) -> Model:
        def emit(emitter: Emitter) -> list[ir.Value]:
            x = emitter.input("x", "float32", [4, 5])
            with emitter.layer([name]):
                return [emitter.rename(emitter.op(operator, x), name)]

        return source(build(emit))

    report = compare(single("Exp", "a"), single("Sin", "b"))
    assert [row.status for row in report.rows if row.output] == ["unmatched"]
    assert not report.ok


# prints


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # it measures how busy the machine is
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False), st.integers(0, 99))
def test_a_permuted_tensor_is_recognised_and_put_back(dims: list[int], random: Any, seed: int) -> None:
    array = np.random.default_rng(seed).normal(size=dims)
    order = list(range(array.ndim))
    random.shuffle(order)
    first, second = print_of(array), print_of(array.transpose(order))
    if array.size == 1:
        return  # nothing to tell
    assert first is not None
    assert second is not None
    found = relation(first, second, 1e-6)
    assert found is not None
    own = array.transpose(order)
    np.testing.assert_array_equal(
        (own.transpose(found) if found else own).reshape(array.shape), array, err_msg=f"{order} → {found}"
    )


@pytest.mark.parametrize(
    ("other", "tolerance"),
    [
        (lambda x: x * 1.01, 1e-4),
        (lambda x: x + 0.01, 1e-4),
        (lambda x: x[::-1], 1e-4),
        (lambda x: x.reshape(-1)[:-1], 1e-4),
        (lambda x: x.astype(np.int64), 2e-2),
        (lambda x: np.where(x == x.max(), 10 * x, x), 2e-2),
    ],
)
def test_another_tensor_is_not_taken_for_it(other: Any, tolerance: float) -> None:
    x = RNG.normal(size=(5, 6))
    first, second = print_of(x), print_of(other(x))
    assert first is not None
    assert second is not None
    assert relation(first, second, tolerance) is None


@pytest.mark.parametrize(
    "array", [np.zeros((3, 3)), np.full(9, 2.5), np.arange(4), np.asarray([], np.float32), ["text"], None]
)
def test_what_says_nothing_has_no_print(array: Any) -> None:
    assert print_of(array) is None


def test_numbers_that_are_not_finite_do_not_get_in_the_way() -> None:
    x = RNG.normal(size=(4, 4))
    x[1, 2], x[2, 3] = np.inf, np.nan
    first, second = print_of(x), print_of(x.T)
    assert first is not None
    assert second is not None
    assert relation(first, second, 1e-6) == (1, 0)


# places


def convolved(*, gain: float = 1.0, at: int = 0, last: bool = False, inputs_last: bool = False) -> Model:
    """Three convolutions and a classifier; one weight is multiplied by a factor.

    Args:
        gain: of the weight of convolution number ``at``.
        last: activations have their channels last, and other names.
        inputs_last: the input has, too.
    """
    rng = np.random.default_rng(3)
    kernels = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((6, 3, 3, 3), (5, 6, 3, 3), (5, 5, 1, 1))]
    dense = rng.normal(0, 0.3, (5, 4)).astype(np.float32)
    mark = "q" if last else "p"

    def emit(emitter: Emitter) -> list[ir.Value]:
        x = emitter.input("image" if last else "x", "float32", [1, 8, 7, 3] if inputs_last else [1, 3, 8, 7])
        if inputs_last:
            with emitter.layer(["turn"]):
                x = emitter.op("Transpose", x, perm=[0, 3, 1, 2])
        for index, kernel in enumerate(kernels):
            with emitter.layer([f"{mark}conv{index}"]):
                weights = emitter.const(kernel * np.float32(gain if index == at else 1.0))
                pads = [kernel.shape[-1] // 2] * 4
                x = emitter.rename(emitter.op("Conv", x, weights, pads=pads), f"{mark}conv{index}_out")
            if last:
                with emitter.layer([f"there{index}"]):
                    x = emitter.op("Transpose", x, perm=[0, 2, 3, 1])
            with emitter.layer([f"{mark}act{index}"]):
                x = emitter.rename(emitter.op("Tanh", x), f"{mark}act{index}_out")
            if last and index < 2:
                with emitter.layer([f"back{index}"]):
                    x = emitter.op("Transpose", x, perm=[0, 3, 1, 2])
        with emitter.layer([f"{mark}mean"]):
            axes = emitter.const([1, 2] if last else [2, 3])
            x = emitter.rename(emitter.op("ReduceMean", x, axes, keepdims=0), f"{mark}mean_out")
        with emitter.layer([f"{mark}dense"]):
            x = emitter.rename(emitter.op("MatMul", x, emitter.const(dense)), f"{mark}dense_out")
        with emitter.layer([f"{mark}soft"]):
            return [emitter.rename(emitter.op("Softmax", x, axis=1), f"{mark}y")]

    return source(build(emit), name=mark)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("inputs_last", [False, True])
@pytest.mark.parametrize("gain", [1.2, 30.0], ids=["small", "gross"])
def test_a_fault_is_found_across_layouts_from_the_first_layer_on(at: int, inputs_last: bool, gain: float) -> None:
    report = compare(convolved(), convolved(gain=gain, at=at, last=True, inputs_last=inputs_last))
    assert report.first_bad is not None
    assert report.first_bad.layer == f"pconv{at}", str(report)
    assert [row.layer for row in report.culprits()] == [f"pconv{at}"]
    assert {row.tensor[1:] == row.target_tensor[1:] for row in report.rows} == {True}, "each has its counterpart"
    assert {row.blame for row in report.rows[: 2 * at]} <= {""}
    assert report.first_bad.signature is not None
    assert report.first_bad.signature.kind == "gain"


def test_the_layout_of_an_input_is_told_from_its_sizes_and_said() -> None:
    first, second = convolved(), convolved(last=True, inputs_last=True)
    for report in (compare(first, second), compare(second, first)):
        assert report.ok, str(report)
        assert any("in another layout" in note for note in report.notes)
    image = np.random.default_rng(1).random((1, 3, 8, 7), dtype=np.float32)
    given_either = [compare(first, second, feeds) for feeds in ({"x": image}, {"image": image.transpose(0, 2, 3, 1)})]
    assert [report.rows for report in given_either[:1]] == [report.rows for report in given_either[1:]]
    assert not any("layout" in note for note in compare(first, convolved(last=True)).notes)


@pytest.mark.parametrize(
    ("reference", "target", "expected"),
    [
        ([1, 3, 8, 7], [1, 8, 7, 3], (0, 3, 1, 2)),
        ([1, 8, 7, 3], [1, 3, 8, 7], (0, 2, 3, 1)),
        (["n", 3, "h", "w"], ["n", "h", "w", 3], (0, 3, 1, 2)),
        ([2, 4, 9], [2, 9, 4], (0, 2, 1)),
        ([1, 3, 3, 3], [1, 3, 3, 3], None),
        (["n", 3, "h", "w"], ["n", 3, 8, 7], None),
        (["n", "c", "h", "w"], ["n", "h", "w", 3], None),
        ([1, 3, 8, 7], [1, 7, 8, 3], None),
        ([1, 3, 8, 7], [3, 8, 7], None),
        ([4, 6], [6, 4], None),
        (None, [1, 2, 3], None),
    ],
)
def test_a_layout_is_seen_only_where_sizes_say_so(reference: Any, target: Any, expected: Any) -> None:
    assert layout(reference, target) == expected


def test_inputs_that_cannot_be_told_apart_are_asked_for_by_name() -> None:
    def sum_of(names: tuple[str, str]) -> Model:
        def emit(emitter: Emitter) -> list[ir.Value]:
            values = [emitter.input(name, "float32", [2, 3]) for name in names]
            with emitter.layer(["sub"]):
                return [emitter.rename(emitter.op("Sub", *values), "y")]

        return source(build(emit))

    first, second = sum_of(("a", "b")), sum_of(("p", "q"))
    with pytest.raises(ExecutionError, match=r"the input p.*which input.*\(a: float32\[2, 3\], b.*\{'p': array, 'a'"):
        compare(first, second)
    feeds = dict(zip("abpq", RNG.random((4, 2, 3)).astype(np.float32), strict=True))
    assert compare(first, second, {**feeds, "p": feeds["a"], "q": feeds["b"]}).ok
