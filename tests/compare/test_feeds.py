"""Feeds: random ones that fit, files, and names of either model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compare.support import build, converted, source
from workbench.compare import compare
from workbench.compare.feeds import Feeder
from workbench.compare.match import match
from workbench.errors import ExecutionError, LimitError
from workbench.hub import Emitter

DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")


def many(emitter: Emitter) -> list[Any]:
    return [emitter.op("Identity", emitter.input(dtype, dtype, ["batch", "seq_len", 3])) for dtype in DTYPES]


def test_random_feeds_fit_and_repeat() -> None:
    model = source(build(many))
    feeder = Feeder(model, model, match(model, model))
    feeds = feeder.random().reference
    assert {name: array.dtype.name for name, array in feeds.items()} == {name: name for name in DTYPES}
    assert {array.shape for array in feeds.values()} == {(1, 16, 3)}
    assert feeds["int64"].min() >= 0
    assert feeds["int64"].max() < 10
    assert feeds["float32"].std() > 0.5
    again = Feeder(model, model, match(model, model)).random().reference
    other = Feeder(model, model, match(model, model), seed=1).random().reference
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)
    assert not np.array_equal(feeds["float32"], other["float32"])


def identity(name: str, dtype: str = "float32", shape: Any = ("n", 4)) -> Any:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input(name, dtype, shape)
        with emitter.layer(["copy"]):
            return [emitter.rename(emitter.op("Identity", x), "y")]

    return build(emit)


@pytest.mark.parametrize("shape", [(0, 1 << 62), (1 << 40,), (1 << 20, 1 << 20)])
def test_random_feeds_are_bounded(shape: tuple[int, ...]) -> None:
    model = source(identity("x", shape=shape))
    with pytest.raises(LimitError, match=r"the input x: .*tensor_elements"):
        Feeder(model, model, match(model, model)).random()


def test_a_dynamic_reference_takes_the_sizes_of_a_fixed_target() -> None:
    reference = source(identity("x"))
    report = compare(
        reference, converted(identity("image", shape=(5, 4)), reference, {"y": "y"}, inputs={"image": "x"})
    )
    assert report.rows[0].shape == (5, 4)
    assert report.ok


@pytest.mark.parametrize("name", ["x", "image"])
def test_feeds_go_by_either_name(name: str) -> None:
    reference = source(identity("x"))
    target = converted(identity("image"), reference, {"y": "y"}, inputs={"image": "x"})
    assert compare(reference, target, feeds={name: np.ones((2, 4), np.float32)}).ok
    assert compare(target, reference, feeds={name: np.ones((2, 4), np.float32)}).ok


def test_unknown_names_and_wrong_shapes() -> None:
    model = source(identity("x"))
    with pytest.raises(ExecutionError, match="neither model has an input 'z'"):
        compare(model, model, feeds={"z": np.ones(1)})
    with pytest.raises(ExecutionError, match=r"the shape \[2, 3\]"):
        compare(model, model, feeds={"x": np.ones((2, 3), np.float32)})


def test_strings_cannot_be_made_up() -> None:
    model = source(identity("x", "string"))
    with pytest.raises(ExecutionError, match="no random values for the input x: string"):
        compare(model, model)
    report = compare(model, model, feeds={"x": np.full((1, 4), "word", object)})
    assert report.ok


def test_npz_files(tmp_path: Path) -> None:
    model = source(identity("x"))
    np.savez(tmp_path / "good.npz", x=np.ones((3, 4), np.float32))
    assert compare(model, model, feeds=tmp_path / "good.npz").rows[0].shape == (3, 4)
    assert compare(model, model, feeds=str(tmp_path / "good.npz")).feeds == "given"
    np.savez(tmp_path / "pickled.npz", x=np.asarray([{}], object))
    np.save(tmp_path / "single.npz", np.ones(3))
    (tmp_path / "single.npz.npy").rename(tmp_path / "single.npz")
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("pickled.npz", "single.npz", "text.npz", "missing.npz"):
        with pytest.raises(ExecutionError, match=name):
            compare(model, model, feeds=tmp_path / name)
