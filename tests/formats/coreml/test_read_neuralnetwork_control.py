"""Branches, loops and slices by computed bounds of the older form, against the same programs in Python and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.networks import document_of, network_of
from tests.formats.coreml.reading import compare, run
from workbench.errors import ConversionError, ModelError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.read import read

Array = np.ndarray[Any, Any]
X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
VECTOR = np.asarray([1, -2, 3], dtype=np.float32)


def inner(part: Any) -> Any:
    """A builder of a network inside a layer."""
    return toolkit.submodule("models.neural_network").NeuralNetworkBuilder(
        nn_spec=part, disable_rank5_shape_mapping=True, use_float_arraytype=True
    )


def times(nn: Any, source: str, factor: float, target: str) -> None:
    nn.add_elementwise(f"{source}_{target}_{factor}", [source], target, "MULTIPLY", alpha=factor)


def plus(nn: Any, source: str, summand: float, target: str) -> None:
    nn.add_elementwise(f"{source}_{target}_{summand}", [source], target, "ADD", alpha=summand)


def branching(nn: Any) -> None:
    nn.add_greater_than("p", ["x"], "p", alpha=0.0)
    layer = nn.add_branch("b", "p")
    times(inner(layer.branch.ifBranch), "x", 10.0, "y")
    plus(inner(layer.branch.elseBranch), "x", 7.0, "y")


@pytest.mark.parametrize("x", [2.0, -2.0])
def test_branch(x: float) -> None:
    inputs = {"x": np.float32([x])}
    compare(run(document_of(branching, inputs), inputs), [np.float32([10 * x if x > 0 else x + 7])], 1e-6, 1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_branch_may_leave_a_blob_as_it_was(p: float) -> None:
    """Only one of the networks overwrites ``y``, and nothing that it makes on the way is seen outside."""

    def add(nn: Any) -> None:
        plus(nn, "x", 1.0, "y")
        layer = nn.add_branch("b", "p")
        then = inner(layer.branch.ifBranch)
        times(then, "y", 3.0, "z")
        then.add_copy("c", "z", "y")
        layer.branch.elseBranch.SetInParent()
        plus(nn, "y", 0.5, "out")

    inputs = {"x": VECTOR, "p": np.float32([p])}
    expected = (VECTOR + 1) * (3 if p else 1) + 0.5
    compare(run(document_of(add, inputs, ["out"]), inputs), [expected], 1e-6, 1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_network_that_is_never_chosen_is_not_looked_at(p: float) -> None:
    """coremltools writes such for lists: what would make the list longer does not fit, and never has to."""

    def add(nn: Any) -> None:
        nn.add_load_constant_nd("p", "p", np.float32([p]), [1])
        layer = nn.add_branch("b", "p")
        chosen, other = inner(layer.branch.ifBranch), inner(layer.branch.elseBranch)
        if not p:
            chosen, other = other, chosen
        times(chosen, "x", 3.0, "y")
        other.add_expand_dims("e", "x", "e", axes=[0])
        other.add_concat_nd("y", ["x", "e"], "y", axis=0)

    inputs = {"x": VECTOR}
    compare(run(document_of(add, inputs), inputs), [VECTOR * 3], 1e-6, 1e-6)


def test_what_one_branch_alone_makes_is_refused() -> None:
    def add(nn: Any) -> None:
        layer = nn.add_branch("b", "p")
        times(inner(layer.branch.ifBranch), "x", 3.0, "y")
        plus(inner(layer.branch.elseBranch), "x", 3.0, "z")

    with pytest.raises(ConversionError, match="'y', which is read behind it, is not made"):
        document_of(add, {"x": VECTOR, "p": np.float32([1])}).hub()


@pytest.mark.parametrize("limit", [0, 2])
def test_a_loop_with_a_condition(limit: int) -> None:
    """``while x < 100 (and i < limit): x *= 3``; the condition makes a blob that the body reads."""

    def add(nn: Any) -> None:
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l", max_iterations=limit)
        condition, body = inner(layer.loop.conditionNetwork), inner(layer.loop.bodyNetwork)
        condition.add_less_than("c", ["y"], "c", alpha=100.0)
        times(condition, "y", 3.0, "next")
        layer.loop.conditionVar = "c"
        body.add_copy("keep", "next", "y")

    for start in (2.0, 500.0):
        y, count = start, 0
        while y < 100 and (not limit or count < limit):
            y, count = y * 3, count + 1
        inputs = {"x": np.float32([start])}
        compare(run(document_of(add, inputs), inputs), [np.float32([y])], 1e-6, 1e-6)


@pytest.mark.parametrize("count", [0.0, 4.0])
def test_a_loop_by_a_computed_count(count: float) -> None:
    def add(nn: Any) -> None:
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l", input_name="n")
        body = inner(layer.loop.bodyNetwork)
        times(body, "y", 2.0, "z")
        body.add_copy("keep", "z", "y")

    inputs = {"x": VECTOR, "n": np.float32([count])}
    compare(run(document_of(add, inputs), inputs), [VECTOR * 2**count], 1e-6, 1e-6)


@pytest.mark.parametrize("jump", ["loopBreak", "loopContinue"])
def test_loops_are_left_and_continued(jump: str) -> None:
    """``repeat 6: i += 1; if i > 3: jump; y += i``, with the jump in the first branch and work in the second."""

    def add(nn: Any) -> None:
        times(nn, "x", 0.0, "i")
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l", max_iterations=6)
        body = inner(layer.loop.bodyNetwork)
        plus(body, "i", 1.0, "j")
        body.add_copy("count", "j", "i")
        body.add_greater_than("p", ["i"], "p", alpha=3.0)
        fork = body.add_branch("b", "p")
        leaving = fork.branch.ifBranch.layers.add(name="jump")
        getattr(leaving, jump).SetInParent()
        plus(inner(fork.branch.elseBranch), "y", 100.0, "hundred")
        body.add_add_broadcastable("more", ["hundred", "i"], "z")
        body.add_copy("keep", "z", "y")

    y, i = 5.0, 0
    for _ in range(6):
        i += 1
        if i > 3:
            if jump == "loopBreak":
                break
            continue
        y = y + 100 + i
    inputs = {"x": np.float32([5])}
    compare(run(document_of(add, inputs, ["y", "i"]), inputs), [np.float32([y]), np.float32([i])], 1e-6, 1e-6)


def test_a_blob_may_grow_in_a_loop() -> None:
    def add(nn: Any) -> None:
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l", max_iterations=3)
        body = inner(layer.loop.bodyNetwork)
        body.add_concat_nd("more", ["y", "x"], "z", axis=0)
        body.add_copy("keep", "z", "y")

    inputs = {"x": VECTOR}
    compare(run(document_of(add, inputs), inputs), [np.tile(VECTOR, 4)], 1e-6, 1e-6)


def test_refusals_inside_name_the_layer() -> None:
    message = network_of(branching, {"x": VECTOR[:1]})
    message.neuralNetwork.layers[-1].branch.ifBranch.layers[0].custom.className = "Mine"
    with pytest.raises(ConversionError, match=r"inside it: .*'Mine'"):
        read(message).hub()


def test_jumps_outside_of_loops_contradict() -> None:
    def add(nn: Any) -> None:
        nn.add_copy("c", "x", "y")
        nn.spec.neuralNetwork.layers.add(name="jump").loopBreak.SetInParent()

    with pytest.raises(ModelError, match="not inside the body of a loop"):
        document_of(add, {"x": VECTOR}).hub()


@pytest.mark.parametrize("given", [True, False])
def test_slice_dynamic(given: bool) -> None:
    """``x[1, 2:0:-1, 1:3]``: the ends as an input, or as the parameter; the first dimension is dropped."""
    parameters: dict[str, Any] = {
        "strides": [5, -1, 1], "begin_masks": [False] * 3, "end_masks": [False] * 3,
        "squeeze_masks": [True, False, False],
    }  # fmt: skip
    names = ["x", "b", "e"] if given else ["x", "b"]
    inputs = {"x": X, "b": np.float32([-1, 2, 1]), "e": np.float32([9, 0, 3])}
    inputs = {name: inputs[name] for name in names}
    more = {} if given else {"end_ids": [9, 0, 3]}
    found = run(document_of(lambda nn: nn.add_slice_dynamic("s", names, "y", **more, **parameters), inputs), inputs)
    compare(found, [X[-1, 2:0:-1, 1:3]], 0, 0)


@pytest.mark.parametrize(
    ("strides", "dropped", "expected"),
    [
        ([1, -1, 1], [0, 0, 0], X[-1:9, ::-1, 1:]),
        ([1, 1, 2], [1, 0, 0], X[-1, :3, 1::2]),
        ([-1, 1, -1], [0, 1, 0], X[-1:9:-1, 2, 1::-1]),
        ([1, 1, 1], [1, 0, 1], X[-1, :3, 1]),
    ],
)
def test_slice_by_computed_strides_and_masks(strides: list[int], dropped: list[int], expected: Array) -> None:
    """Seven inputs: also which ends are open, and which dimensions are dropped, is only known at run time."""
    given = {
        "b": [-1, 2, 1],
        "e": [9, 3, 0],
        "s": strides,
        "bm": [0, 1, 0],
        "em": [0, strides[1] < 0, 1],
        "sm": dropped,
    }
    inputs = {"x": X, **{name: np.float32(numbers) for name, numbers in given.items()}}
    found = run(document_of(lambda nn: nn.add_slice_dynamic("s", list(inputs), "y"), inputs), inputs)
    compare(found, [expected], 0, 0)


@pytest.mark.parametrize("sizes", [[0, 3, 5, 0, 0, 4], [4, 0, 0, 2, 0, 9]])
def test_padding_up_to_computed_sizes(sizes: list[int]) -> None:
    """A size before or behind; one that is smaller than the tensor's asks for nothing."""
    inputs = {"x": X, "n": np.float32(sizes)}

    def add(nn: Any) -> None:
        nn.add_constant_pad("p", ["x", "n"], "y", value=2.0, pad_to_given_output_size_mode=True)

    missing = [max(size - X.shape[index // 2], 0) for index, size in enumerate(sizes)]
    expected = np.pad(X, np.reshape(missing, (3, 2)), constant_values=2.0)
    compare(run(document_of(add, inputs), inputs), [expected], 0, 0)


@pytest.mark.parametrize("start", [1.0, 40.0, 500.0])
def test_a_condition_that_overwrites_a_blob_is_not_asked_behind_a_break(start: float) -> None:
    """``while (y *= 3) < 1000: if y > 50: break; else: y += 1``"""

    def add(nn: Any) -> None:
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l")
        condition, body = inner(layer.loop.conditionNetwork), inner(layer.loop.bodyNetwork)
        times(condition, "y", 3.0, "next")
        condition.add_copy("keep", "next", "y")
        condition.add_less_than("c", ["y"], "c", alpha=1000.0)
        layer.loop.conditionVar = "c"
        body.add_greater_than("g", ["y"], "g", alpha=50.0)
        branch = body.add_branch("b", "g")
        inner(branch.branch.ifBranch).add_loop_break("leave")
        other = inner(branch.branch.elseBranch)
        plus(other, "y", 1.0, "more")
        other.add_copy("keep", "more", "y")

    y = start
    while True:
        y *= 3
        if y >= 1000 or y > 50:
            break
        y += 1
    inputs = {"x": np.float32([start])}
    compare(run(document_of(add, inputs), inputs), [np.float32([y])], 1e-6, 1e-6)


def test_random_numbers_of_a_loop_differ_from_iteration_to_iteration() -> None:
    def add(nn: Any) -> None:
        nn.add_copy("start", "x", "y")
        layer = nn.add_loop("l", max_iterations=8)
        body = inner(layer.loop.bodyNetwork)
        body.add_random_uniform_static("r", "z", output_shape=[50], minval=0.0, maxval=1.0, seed=3)
        body.add_stack("s", ["z"], "rows", axis=0)
        body.add_concat_nd("c", ["y", "rows"], "next", axis=0)
        body.add_copy("keep", "next", "y")

    inputs = {"x": np.zeros((1, 50), np.float32)}
    (found,) = run(document_of(add, inputs), inputs)
    assert len(set(found[1:].reshape(-1).tolist())) == 8 * 50


def test_open_ends_of_slice_dynamic() -> None:
    """The builder writes five numbers for each parameter, whatever the rank."""
    inputs = {"x": X, "b": np.float32([1, 1, 3]), "e": np.float32([1, 2, 0])}
    masks = {"begin_masks": [True, False, True], "end_masks": [True, False, True]}
    found = run(
        document_of(lambda nn: nn.add_slice_dynamic("s", list(inputs), "y", strides=[1, 1, -2], **masks), inputs),
        inputs,
    )
    compare(found, [X[:, 1:2, ::-2]], 0, 0)
