"""MIL operators that move, index, reduce, fill or quantise, against coremltools' value inference or numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, package, run
from workbench.errors import LimitError
from workbench.formats.coreml.read import read

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)
X = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
Y = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
INTS = RNG.integers(-9, 9, size=(3, 4)).astype(np.int32)
HALF = X.astype(np.float16)


def one(name: str, x: Array, expect: Any = None, release: int = 15, **parameters: Any) -> Case:
    """An operator of the name before the first dash, of one tensor ``x``."""
    operator = name.split("-")[0]
    return Case(name, lambda mb, x: getattr(mb, operator)(x=x, **parameters), {"x": x}, expect, release)


SHAPES = [
    one("reshape", X, shape=[6, 20]),
    one("reshape-minus", X, shape=[-1, 5, 2]),
    one("reshape-zero", X, lambda x: x.reshape(2, 12, 5, 1), shape=[0, 12, 5, -1]),
    one("reshape-zeros-from-the-right", X, lambda x: x[np.newaxis], shape=[0, 0, -1, 0, 0], release=17),
    one("reshape-int", INTS, shape=[2, 6]),
    one("reshape-half", HALF, shape=[6, 20], release=16),
    Case(
        "reshape-computed",
        lambda mb, x, y: mb.reshape(x=x, shape=mb.concat(values=(mb.shape(x=y), [-1]), axis=0)),
        {"x": X, "y": Y[0, :, 0, :2]},
        lambda x, y: x.reshape(3, 2, -1),
    ),
    Case(
        "reshape_like",
        lambda mb, x, y: mb.reshape_like(x=x, ref_tensors=(y, x), begins=(0, 2), ends=(2, 0), end_masks=(False, True)),
        {"x": X, "y": X.reshape(6, 1, 4, 5)},
        lambda x, y: x.reshape(6, 1, 4, 5),
        release=16,
    ),
    one("expand_dims", X, axes=[0, -1]),
    one("squeeze", X[:1, :1], axes=[0, 1]),
    one("squeeze-all", X[:1, :, :1]),
    one("flatten2d", X, axis=2),
    one("transpose", X, perm=[0, -1, 1, -2]),
    one("transpose-half", HALF, perm=[3, 2, 1, 0], release=16),
    one("shape", X),
    one("tile", X, reps=[1, 2, 1, 3]),
    one("reverse", X, axes=[1, -1]),
    one("reverse-all", X),
    one("split", X, axis=-1, split_sizes=[1, 4]),
    one("split-equal", X, axis=2, num_splits=2),
    one("depth_to_space", X.reshape(1, 12, 2, 5), lambda x: depth_to_space(x, 2), block_size=2),
    one("space_to_depth", X[:, :, :, :4], lambda x: space_to_depth(x, 2), block_size=2),
    one("pixel_shuffle", X.reshape(1, 12, 2, 5), lambda x: torch_shuffle(x, 2), upscale_factor=2),
    one("pixel_unshuffle", X[:, :, :, :4], lambda x: torch_shuffle(x, -2), downscale_factor=np.uint32(2), release=16),
    one("space_to_batch", X[:, :, :, :4], lambda x: to_batch(x), block_shape=[2, 2], paddings=[[1, 1], [0, 0]]),
    one("batch_to_space", X.reshape(4, 3, 2, 5), lambda x: from_batch(x), block_shape=[2, 2], crops=[[1, 0], [0, 2]]),
    one("sliding_windows", X, lambda x: np.stack([x[..., :3], x[..., 2:]], 3), axis=3, size=3, stride=2),
    *(
        Case(name, lambda mb, x, y, p=p: mb.concat(values=(x, y), **p), {"x": x, "y": y}, expect)
        for name, x, y, p, expect in (
            ("concat", X, Y, {"axis": 1}, None),
            ("concat-uneven", X, Y[:, :, :1], {"axis": -2}, None),
            ("concat-int", INTS, INTS[:1], {"axis": 0}, None),
            ("concat-interleaved", X, Y, {"axis": 1, "interleave": True}, lambda x, y: interleaved(x, y)),
        )
    ),
    Case("stack", lambda mb, x, y: mb.stack(values=(x, y), axis=-2), {"x": X, "y": Y}),
    Case(
        "reverse_sequence",
        lambda mb, x, n: mb.reverse_sequence(x=x, lengths=n, seq_axis=3, batch_axis=1),
        {"x": X, "n": np.asarray([2, 5, 0], np.int32)},
        lambda x, n: np.stack([np.concatenate([x[:, i, :, k - 1 :: -1][..., :k], x[:, i, :, k:]], -1)
                               for i, k in enumerate(n)], 1),
    ),
]  # fmt: skip


def depth_to_space(x: Array, b: int) -> Array:
    """Channels ordered (row, column, channel), element by element."""
    n, c, h, w = x.shape
    y = np.empty((n, c // b**2, h * b, w * b), x.dtype)
    for row in range(b):
        for column in range(b):
            first = (row * b + column) * (c // b**2)
            y[:, :, row::b, column::b] = x[:, first : first + c // b**2]
    return y


def space_to_depth(x: Array, b: int) -> Array:
    return np.concatenate([x[:, :, row::b, column::b] for row in range(b) for column in range(b)], axis=1)


def torch_shuffle(x: Array, factor: int) -> Array:
    torch = pytest.importorskip("torch")
    shuffle = torch.nn.functional.pixel_shuffle if factor > 0 else torch.nn.functional.pixel_unshuffle
    return np.asarray(shuffle(torch.from_numpy(np.ascontiguousarray(x)), abs(factor)))


def to_batch(x: Array) -> Array:
    x = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)])
    return np.concatenate([x[:, :, row::2, column::2] for row in range(2) for column in range(2)])


def from_batch(x: Array) -> Array:
    y = np.empty((x.shape[0] // 4, x.shape[1], x.shape[2] * 2, x.shape[3] * 2), x.dtype)
    for index, part in enumerate(np.split(x, 4)):
        y[:, :, index // 2 :: 2, index % 2 :: 2] = part
    return y[:, :, 1:, : y.shape[3] - 2]


def interleaved(x: Array, y: Array) -> Array:
    z = np.empty((2, 6, 4, 5), x.dtype)
    z[:, 0::2], z[:, 1::2] = x, y
    return z


def sliced(name: str, begin: list[int], end: list[int], expect: Any, **parameters: Any) -> Case:
    return Case(
        f"slice-{name}", lambda mb, x: mb.slice_by_index(x=x, begin=begin, end=end, **parameters), {"x": X}, expect
    )


def updated(x: Any, where: Any, values: Any) -> Any:
    result = x.copy()
    result[where] = values
    return result


SLICES = [
    sliced("plain", [0, 1, 1, 0], [2, 3, 3, 5], lambda x: x[0:2, 1:3, 1:3, 0:5]),
    sliced("negative", [0, -2, 0, -4], [1, 3, -1, -1], lambda x: x[0:1, -2:3, 0:-1, -4:-1]),
    sliced("strides", [0, 2, 3, 4], [2, 0, 0, 0], lambda x: x[0:2:1, 2:0:-1, 3:0:-2, 4:0:-3], stride=[1, -1, -2, -3]),
    sliced(
        "masks", [1, 1, 1, 1], [1, 2, 2, 2], lambda x: x[:1, 1:, :, 1:2], begin_mask=[True, False, True, False],
        end_mask=[False, True, True, False],
    ),
    sliced(
        "masks-backwards", [0] * 4, [0, 0, 0, 2], lambda x: x[:, :, ::-1, :2:-1], begin_mask=[True] * 4,
        end_mask=[True, True, True, False], stride=[1, 1, -1, -1],
    ),
    sliced("squeeze", [1, 0, -1, 0], [0, 3, 0, 5], lambda x: x[1, :, -1], squeeze_mask=[True, False, True, False]),
    Case(
        "slice-computed",
        lambda mb, x, b, e: mb.slice_by_index(
            x=x, begin=b, end=e, end_mask=[False, True, False, False], squeeze_mask=[False, False, True, False]
        ),
        {"x": X, "b": np.asarray([0, 1, -1, 1], np.int32), "e": np.asarray([1, 0, 0, -1], np.int32)},
        lambda x, b, e: x[0:1, 1:, -1, 1:-1],
    ),
    Case("slice_by_size", lambda mb, x: mb.slice_by_size(x=x, begin=[0, 1, -2, 0], size=[1, -1, 2, 4]), {"x": X}),
    Case(
        "slice_by_size-computed", lambda mb, x, b: mb.slice_by_size(x=x, begin=b, size=[2, 1, -1, 2]),
        {"x": X, "b": np.asarray([0, 2, 1, 3], np.int32)}, lambda x, b: x[:, 2:3, 1:, 3:5],
    ),
    Case(
        "slice_update",
        lambda mb, x, y: mb.slice_update(x=x, update=y, begin=[0, 0, 1, 0], end=[2, 3, 3, 5], stride=[1, 2, 1, 1]),
        {"x": X, "y": Y[:, :2, :2]}, release=18,
    ),
    Case(
        "slice_update-computed",
        lambda mb, x, y, b, e: mb.slice_update(x=x, update=y, begin=b, end=e, stride=[1, 2, 1, 1]),
        {
            "x": X, "y": Y[:, :2, :2], "b": np.asarray([0, 0, 1, 0], np.int32), "e": np.asarray([2, 3, 3, 5], np.int32)
        },
        lambda x, y, b, e: updated(x, np.s_[0:2, 0:3:2, 1:3, 0:5], y), release=18,
    ),
    Case(
        "slice_update-computed-masks",
        lambda mb, x, y, b: mb.slice_update(
            x=x, update=y, begin=b, end=[9, 9, 9, 9], begin_mask=[True, False, False, False],
            end_mask=[False, True, False, True], squeeze_mask=[False, False, True, False],
        ),
        {"x": X, "y": Y[:, :2, 0, :4], "b": np.asarray([7, 1, -1, 1], np.int32)},
        lambda x, y, b: updated(x, np.s_[:, 1:, -1, 1:], y), release=18,
    ),
    Case(
        "slice_update-computed-backwards",
        lambda mb, x, y, e: mb.slice_update(x=x, update=y, begin=[0, -1, 0, 3], end=e, stride=[1, -1, 2, -2]),
        {"x": X, "y": Y[:1, :2, :2, :2], "e": np.asarray([1, 0, 4, 0], np.int32)},
        lambda x, y, e: updated(x, np.s_[0:1, -1:0:-1, 0:4:2, 3:0:-2], y), release=18,
    ),
    Case(
        "slice_update-unknown-sizes",
        lambda mb, x, y: mb.slice_update(
            x=x, update=y, begin=[0, 1, 0, 0], end=[2, 3, 1, 1], end_mask=[False, False, True, True]
        ),
        {"x": X, "y": Y[:, :2]}, lambda x, y: updated(x, np.s_[:, 1:3], y), release=18, dynamic=True,
    ),
]  # fmt: skip

AT = np.asarray([[2, 0], [1, -1]], dtype=np.int32)
INDEXING = [
    Case("gather", lambda mb, x, i: mb.gather(x=x, indices=i, axis=1), {"x": X, "i": AT}),
    Case(
        "gather-batch", lambda mb, x, i: mb.gather(x=x, indices=i, axis=1, batch_dims=1),
        {"x": X, "i": np.abs(AT)}, release=16,
    ),
    Case(
        "gather-batch-inner", lambda mb, x, i: mb.gather(x=x, indices=i, axis=3, batch_dims=1),
        {"x": X, "i": np.asarray([[4, 1, 0], [2, 2, 3]], np.int32)},
        lambda x, i: np.stack([np.take(x[n], i[n], axis=2) for n in range(2)]), release=16,
    ),
    Case(
        "gather-iOS17", lambda mb, x, i: mb.gather(x=x, indices=mb.cast(x=i, dtype="uint16"), axis=0),
        {"x": X, "i": np.asarray([1, 1, 0], np.int32)}, lambda x, i: x[i], release=17,
    ),
    Case(
        "gather_along_axis", lambda mb, x, i: mb.gather_along_axis(x=x, indices=i, axis=0),
        {"x": INTS, "i": np.asarray([[0, 1, 2, 0], [2, 2, 1, 1]], np.int32)},
    ),
    Case(
        "gather_nd", lambda mb, x, i: mb.gather_nd(x=x, indices=i), {"x": X, "i": np.abs(AT % 2)},
        lambda x, i: x[i[:, 0], i[:, 1]],
    ),
    *(
        Case(
            f"scatter-{mode}",
            lambda mb, x, i, u, mode=mode: mb.scatter(data=x, indices=i, updates=u, axis=1, mode=mode),
            {"x": X, "i": np.asarray([2, 0], np.int32), "u": Y[:, :2] + 3},
            lambda x, i, u, f=f: scattered(x, i, u, f),
        )
        for mode, f in (
            ("update", lambda a, b: b), ("add", np.add), ("sub", np.subtract), ("mul", np.multiply),
            ("div", np.divide), ("max", np.maximum), ("min", np.minimum),
        )
    ),
    Case(
        "scatter-matrix", lambda mb, x, i, u: mb.scatter(data=x, indices=i, updates=u, axis=0, mode="add"),
        {"x": X[:, 0, 0], "i": np.asarray([[0, 1], [0, 0]], np.int32), "u": Y[0, :2, :2]},
        lambda x, i, u: np.stack([x[0] + u[0, 0] + u[1, 0] + u[1, 1], x[1] + u[0, 1]]),
    ),
    Case(
        "scatter_along_axis",
        lambda mb, x, i, u: mb.scatter_along_axis(data=x, indices=i, updates=u, axis=0, mode="update"),
        {"x": X[0, 0], "i": np.asarray([[0, 1, 2, 3, 0], [1, 0, 0, 0, 3]], np.int32), "u": Y[0, 0, :2]},
    ),
    Case(
        "scatter_nd", lambda mb, x, i, u: mb.scatter_nd(data=x, indices=i, updates=u, mode="add"),
        {"x": X[0, 0], "i": np.asarray([[1], [1], [3]], np.int32), "u": Y[0, 0, :3]},
        lambda x, i, u: np.stack([x[0], x[1] + u[0] + u[1], x[2], x[3] + u[2]]),
    ),
    *(
        Case(
            f"one_hot-{axis}",
            lambda mb, i, axis=axis: mb.one_hot(
                indices=i, one_hot_vector_size=3, axis=axis, on_value=2.0, off_value=0.5
            ),
            {"i": np.asarray([[0, 2], [1, -1]], np.int32)},
            lambda i, axis=axis: np.moveaxis(np.where(i[..., None] == np.arange(3), 2.0, 0.5), -1, axis),
        )
        for axis in (-1, 0, 1)
    ),
    Case("non_zero", lambda mb, x: mb.non_zero(x=x), {"x": INTS}),
]  # fmt: skip


def scattered(x: Array, i: Array, u: Array, combine: Any) -> Array:
    y = x.copy()
    y[:, i] = combine(y[:, i], u)
    return y


REDUCTIONS = [
    *(
        one(f"reduce_{kind}-{axes}-{keep}", POSITIVE, axes=axes, keep_dims=keep)
        for kind in ("l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square")
        for axes, keep in (([1, -1], True), ([0], False), ([0, 1, 2, 3], True))
    ),
    one("reduce_sum-int", INTS, axes=[0], keep_dims=False),
    one("reduce_argmax", X, axis=1, keep_dims=True),
    one("reduce_argmin", X, axis=-1, keep_dims=False),
    one("reduce_argmax-uint16", X, lambda x: x.argmax(1), release=17, axis=1, keep_dims=False, output_dtype="uint16"),
    one("cumsum", X, axis=1),
    one("cumsum-reverse", X, axis=2, reverse=True),
    one("cumsum-exclusive", X, lambda x: np.cumsum(x, -1) - x, axis=-1, exclusive=True),
    one("topk", X, k=2, axis=-1),
    one("topk-smallest", X, k=3, axis=2, ascending=True),
    one("topk-values", X, lambda x: -np.sort(-x, axis=1)[:, :2], release=16, k=2, axis=1, return_indices=False),
    one("argsort", X, axis=2, ascending=True),
    one("argsort-descending", X, axis=-1),
]

FILLS = [
    one("pad", X, pad=[1, 2, 0, 3], constant_val=2.5),
    one("pad-reflect", X, pad=[1, 2, 3, 1], mode="reflect"),
    one("pad-replicate", X, pad=[1, 2, 3, 1], mode="replicate"),
    Case(
        "pad-computed", lambda mb, x, p: mb.pad(x=x, pad=p), {"x": X[0, 0], "p": np.asarray([1, 0, 2, 1], np.int32)},
        lambda x, p: np.pad(x, [(1, 0), (2, 1)]),
    ),
    one("crop", X, lambda x: x[:, :, 1:, 0:3], crop_height=[1, 0], crop_width=[0, 2]),
    one("band_part", X, lower=1, upper=2),
    one("band_part-lower", X, lower=-1, upper=0),
    Case("fill", lambda mb, s: mb.fill(shape=s, value=1.5), {"s": np.asarray([2, 3], np.int32)}),
    Case("fill_like", lambda mb, x: mb.fill_like(ref_tensor=x, value=7), {"x": X}, release=16),
    Case(
        "range_1d", lambda mb, a, b: mb.range_1d(start=mb.squeeze(x=a), end=mb.squeeze(x=b), step=2.0),
        {"a": np.asarray([1], np.float32), "b": np.asarray([8], np.float32)}, lambda a, b: np.arange(1, 8, 2.0),
    ),
]  # fmt: skip

SCALES, ZEROS = np.asarray([0.1, 0.5, 0.02], np.float32), np.asarray([3, -5, 0], np.int8)
QUANTIZATION = [
    Case(
        "quantize", lambda mb, x: mb.quantize(input=x, scale=0.01, zero_point=np.uint8(100), output_dtype="uint8"),
        {"x": X}, release=17,
    ),
    Case(
        "quantize-axis",
        lambda mb, x: mb.quantize(input=x, scale=SCALES, zero_point=ZEROS, output_dtype="int8", axis=1),
        {"x": X}, release=17,
    ),
    Case(
        "dequantize-axis", lambda mb, x: mb.dequantize(input=x, scale=SCALES, zero_point=ZEROS, axis=1),
        {"x": RNG.integers(-128, 128, size=(2, 3, 4)).astype(np.int8)},
        lambda x: (x.astype(np.float32) - ZEROS[:, None]) * SCALES[:, None], release=17,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", SHAPES + SLICES + INDEXING + REDUCTIONS + FILLS + QUANTIZATION, ids=str)
def test_operator(case: Case) -> None:
    check(case)


def test_constants_that_a_small_file_can_demand_are_bounded() -> None:
    """The file declares the sizes; nothing of that size is made before they are checked."""
    greedy = Case(
        "greedy",
        lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=2**31 - 1, target_size_width=5),
        {"x": X},
    )
    with pytest.raises(LimitError, match="folded_elements"):
        check(greedy)


INDEXED: dict[str, Callable[..., Any]] = {
    "gather": lambda mb, x, i: mb.gather(x=x, indices=i, axis=1, validate_indices=True),
    "gather_along_axis": lambda mb, x, i: mb.gather_along_axis(
        x=mb.reshape(x=x, shape=[-1]), indices=i, validate_indices=True
    ),
    "gather_nd": lambda mb, x, i: mb.gather_nd(x=x, indices=i, validate_indices=True),
    "scatter": lambda mb, x, i: mb.scatter(
        data=x, indices=i, updates=x, axis=1, mode="update", validate_indices=True
    ),
    "scatter_along_axis": lambda mb, x, i: mb.scatter_along_axis(
        data=mb.reshape(x=x, shape=[-1]), indices=i, updates=np.float32([1, 2, 3]), validate_indices=True
    ),
    "scatter_nd": lambda mb, x, i: mb.scatter_nd(
        data=x, indices=i, updates=np.ones(5, np.float32), validate_indices=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", INDEXED)
def test_negative_indices_are_errors_where_indices_are_validated(operator: str, tmp_path: Path) -> None:
    """From iOS 17 on, they are out of bounds like those that are too large; unvalidated, nothing is said of them."""
    good, bad = np.asarray([0, 1, 2], np.int32), np.asarray([0, -1, 2], np.int32)
    case = Case(operator, INDEXED[operator], {"x": X, "i": good}, release=17)
    document = read(package(case, tmp_path))
    run(document, {"x": X, "i": good})
    for index in (bad, np.asarray([0, 1000, 2], np.int32)):
        with pytest.raises(Exception, match=r"(?i)bound|invalid|range"):
            run(document, {"x": X, "i": index})
