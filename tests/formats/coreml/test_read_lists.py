"""Lists of tensors against Python's lists, alone and as variables of loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check

Array = np.ndarray[Any, Any]
A = np.asarray([[1, 2, 3], [4, 5, 6]], np.float32)
B = -A


def filled(mb: Any, a: Any, b: Any) -> Any:
    """Written in bounds, behind the end, and at several places at once; gaps are zeros."""
    ls = mb.make_list(init_length=2, elem_shape=(2, 3))
    before = mb.list_read(ls=ls, index=0)
    ls = mb.list_write(ls=ls, index=1, value=a)
    ls = mb.list_write(ls=ls, index=4, value=b)
    ls = mb.list_scatter(ls=ls, indices=[6, 0], value=mb.stack(values=[a, b], axis=0))
    return (
        before, mb.list_read(ls=ls, index=4), mb.list_length(ls=ls),
        mb.list_gather(ls=ls, indices=[0, 1, 2, 3, 4, 5, 6, 1]),
    )  # fmt: skip


def filled_by_hand(a: Array, b: Array) -> list[Array]:
    zeros = np.zeros_like(a)
    held = [b, a, zeros, zeros, b, zeros, a]
    return [zeros, b, np.asarray(7, np.int32), np.stack([*held, a])]


def test_lists() -> None:
    check(Case("lists", filled, {"a": A, "b": B}, filled_by_hand))


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "fp16"), (np.int32, "int32"), (np.bool_, "bool")])
def test_dtypes(dtype: Any, name: str) -> None:
    def build(mb: Any, a: Any) -> Any:
        ls = mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(2, 3), dtype=name), index=2, value=a)
        return mb.list_gather(ls=ls, indices=[2, 1])

    expect = lambda a: np.stack([a, np.zeros_like(a)]).astype(np.int32 if dtype is np.bool_ else dtype)  # noqa: E731
    check(Case("dtype", build, {"a": (A > 2).astype(dtype) if dtype is np.bool_ else A.astype(dtype)}, expect))


def test_elements_whose_size_the_first_write_gives() -> None:
    def build(mb: Any, a: Any) -> Any:
        ls = mb.make_list(init_length=1, elem_shape=("rows", 3))
        return mb.list_gather(ls=mb.list_write(ls=ls, index=1, value=a), indices=[0, 1])

    check(Case("open", build, {"a": A}, lambda a: np.stack([np.zeros_like(a), a])))


def test_computed_indices() -> None:
    def build(mb: Any, a: Any, index: Any) -> Any:
        ls = mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(2, 3)), index=mb.squeeze(x=index), value=a)
        return mb.list_length(ls=ls), mb.list_gather(ls=ls, indices=index)

    feeds = {"a": A, "index": np.asarray([3], np.int32)}
    check(Case("computed", build, feeds, lambda a, index: [np.asarray(4, np.int32), a[None]]))


def steps(mb: Any, x: Any, count: Any) -> Any:
    """Append ``x * i`` for i = 0 … count - 1, as recurrent networks of TensorFlow do."""
    _, held = mb.while_loop(
        _cond=lambda i, ls: mb.less(x=i, y=mb.squeeze(x=count)),
        _body=lambda i, ls: (
            mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=mb.mul(x=x, y=mb.cast(x=i, dtype="fp32"))),
        ),
        loop_vars=(np.int32(0), mb.make_list(init_length=1, elem_shape=(2, 3))),
    )  # fmt: skip
    length = mb.list_length(ls=held)
    return length, mb.list_gather(ls=held, indices=mb.range_1d(start=0, end=length, step=1))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_loop(count: int) -> None:
    """The list grows in the loop; one that never runs leaves the list as it was."""

    def expect(x: Array, _: Array) -> list[Array]:
        held = [x * i for i in range(count)] or [np.zeros_like(x)]
        return [np.asarray(len(held), np.int32), np.stack(held)]

    feeds = {"x": A, "count": np.asarray([count], np.int32)}
    check(Case("loop", steps, feeds, expect))
    check(Case("loop", steps, feeds, expect), optimize=True)


def test_loop_reads_what_it_wrote() -> None:
    """Each element is the sum of the two before; a list of sizes that are only known at run time, nested in cond."""

    def body(mb: Any, i: Any, ls: Any) -> Any:
        one, two = (mb.list_read(ls=ls, index=mb.sub(x=i, y=back)) for back in (1, 2))
        return mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=mb.add(x=one, y=two))

    def build(mb: Any, x: Any) -> Any:
        ls = mb.make_list(init_length=2, elem_shape=(2, 3))
        for index in (0, 1):
            ls = mb.list_write(ls=ls, index=index, value=x)
        _, ls = mb.while_loop(
            _cond=lambda i, ls: mb.less(x=i, y=8), _body=lambda i, ls: body(mb, i, ls), loop_vars=(np.int32(2), ls)
        )
        return mb.list_read(ls=ls, index=7)

    check(Case("fibonacci", build, {"x": A}, lambda x: 21 * x))


def test_loops_in_loops() -> None:
    """An inner loop whose condition is lowered twice for each place it stands in, in float16."""

    def inner(mb: Any, y: Any) -> Any:
        return mb.while_loop(
            _cond=lambda z: mb.less(x=mb.reduce_max(x=z, axes=[0, 1], keep_dims=False), y=np.float16(100)),
            _body=lambda z: (mb.add(x=z, y=z),), loop_vars=(y,),
        )  # fmt: skip

    def build(mb: Any, x: Any) -> Any:
        _, y = mb.while_loop(
            _cond=lambda i, y: mb.less(x=i, y=3),
            _body=lambda i, y: (mb.add(x=i, y=1), mb.mul(x=inner(mb, y), y=np.float16(0.25))),
            loop_vars=(np.int32(0), x),
        )
        return y

    def expect(x: Array) -> Array:
        for _ in range(3):
            while x.max() < 100:
                x = x + x
            x = x * np.float16(0.25)
        return x

    check(Case("nested", build, {"x": A.astype(np.float16)}, expect))
