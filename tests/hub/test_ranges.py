"""The option ``shapes``: ranges and enumerated shapes as values and as text, and which fit a model's inputs."""

from __future__ import annotations

from typing import Any

import pytest

from workbench import Range
from workbench.document import TensorSpec
from workbench.errors import OptionError
from workbench.hub.ranges import Flexible, check_shapes, flexible_inputs, parse_shape, shape_text

INPUTS = (
    TensorSpec("a", "float32", ("batch", 3, None, "w")),
    TensorSpec("b", "int64", ("batch", "seq len")),
)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1,3,224", (1, 3, 224)),
        (" (1, 3) ", (1, 3)),
        ("1..8,3", (Range(1, 8), 3)),
        ("1..8:4, 3", (Range(1, 8, 4), 3)),
        ("1..", (Range(1),)),
        ("1,3,8|1,3,16", [(1, 3, 8), (1, 3, 16)]),
        ("(1, 3) | (2, 3)", [(1, 3), (2, 3)]),
        ("", ()),
    ],
)
def test_text(text: str, shape: Any) -> None:
    assert parse_shape(text) == shape
    assert parse_shape(shape_text(shape)) == shape


@pytest.mark.parametrize("text", ["1,a", "1..b", "..3", "3..1", "0..4", "1..4:9", "1..4|2", "-1", "1.5", "9" * 30])
def test_text_that_is_no_shape(text: str) -> None:
    with pytest.raises(OptionError, match="shapes: "):
        parse_shape(text)


def test_ranges_show_as_they_are_written() -> None:
    assert [repr(Range(1)), repr(Range(1, 8)), repr(Range(1, 8, default=2))] == [
        "Range(1)", "Range(1, 8)", "Range(1, 8, default=2)"
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [(0, 3), (3, 2), (1, 4, 5), (2, 4, 1), ("1", 2), (True, 2), (1, 2.5)])
def test_ranges_that_are_none(arguments: Any) -> None:
    with pytest.raises(OptionError, match=r"shapes: Range\("):
        Range(*arguments)


def test_what_is_open_goes_by_the_names_of_the_model() -> None:
    found = flexible_inputs(INPUTS, {"a": (Range(1, 8), 3, Range(8, 64, 16), 24), "b": (Range(1, 8), Range(2))})
    assert found == {
        "a": Flexible(("batch", 3, "a_2", 24), (1, 3, 16, 24), ((1, 8), (3, 3), (8, 64), (24, 24))),
        "b": Flexible(("batch", "b_1"), (1, 2), ((1, 8), (2, None))),
    }


def test_enumerated_shapes_are_open_where_they_differ() -> None:
    shapes = ((1, 3, 8, 8), (1, 3, 16, 8))
    found = flexible_inputs(INPUTS, {"a": shapes, "b": (1, 2)})
    assert found == {"a": Flexible((1, 3, "a_2", 8), shapes[0], ((1, 1), (3, 3), (8, 16), (8, 8)), shapes)}
    assert flexible_inputs(INPUTS, {"a": (shapes[0],)}) == {}
    assert flexible_inputs(INPUTS, {"a": (Range(2, 2), 3, 4, 4)}) == {}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "the model has no input 'z'"),
        ({"a": (1, 3, 4)}, "does not fit it"),
        ({"a": (Range(1, 8), Range(1, 3), 4, 4)}, "does not fit it"),
        ({"a": (1, 3, True, 4)}, "takes non-negative integers and ranges"),
        ({"a": (1, 3, -1, 4)}, "takes non-negative integers and ranges"),
        ({"a": [(1, 3, 4, 4), (1, 3, 4)]}, "does not fit it"),
        ({"a": [(1, 3, 4, 4), (1, 3, Range(1, 2), 4)]}, "enumerated shapes hold positive integers only"),
        ({"a": (Range(1, 8), 3, 4, 4), "b": (2, 2)}, "the dimension 'batch' is one wherever"),
        ({"a": (Range(1, 8), 3, 4, 4), "b": (Range(1, 9), 2)}, "give it one range, the same everywhere"),
    ],
)
def test_shapes_that_do_not_fit(shapes: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_shapes(INPUTS, shapes)
