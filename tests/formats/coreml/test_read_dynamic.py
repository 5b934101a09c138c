"""Programs with sizes that are only known at run time, and with control flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.formats.coreml.reading import Case, check, palette_convolution
from workbench.errors import ConversionError

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(19)
X = RNG.normal(size=(1, 4, 9, 10)).astype(np.float32)
W = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)


def tensor(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


def dynamic(name: str, build: Any, expect: Any, x: Array = X, **options: Any) -> Case:
    return Case(name, build, {"x": x}, expect, dynamic=True, **options)


def pool(kernel: int, stride: int, pad: int) -> Any:
    return lambda mb, x: mb.max_pool(
        x=x, kernel_sizes=[kernel] * 2, strides=[stride] * 2, pad_type="custom", pad=[pad] * 4, ceil_mode=True
    )


def same(x: Array, extents: tuple[int, int], strides: tuple[int, int], kind: str, fill: float = 0.0) -> Any:
    """Pad so that the output is ceil(size / stride), the odd element behind or, ``same_lower``, before."""
    pads: list[int] = []
    for size, extent, stride in zip(x.shape[2:], extents, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        pads = [*((large, small) if kind == "same_lower" else (small, large)), *pads]
    return F.pad(tensor(x), pads, value=fill)


CASES = [
    dynamic(
        "conv-same", lambda mb, x: mb.conv(x=x, weight=W, pad_type="same"),
        lambda x: F.conv2d(tensor(x), tensor(W), padding=1), atol=1e-5,
    ),
    *(
        dynamic(
            f"max_pool-ceil-{kernel}-{stride}-{pad}-{size}", pool(kernel, stride, pad),
            lambda x, k=kernel, s=stride, p=pad: F.max_pool2d(tensor(x), k, s, p, ceil_mode=True), X[:, :, :size],
        )
        for kernel, stride, pad in ((3, 2, 1), (2, 2, 1), (3, 2, 0), (3, 3, 1), (2, 2, 0))
        for size in (5, 6, 7, 8)
    ),
    dynamic(
        "upsample", lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    dynamic(
        "upsample_bilinear",
        lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
        lambda x: F.interpolate(tensor(x), scale_factor=2, mode="bilinear", align_corners=False), atol=1e-5,
    ),
    *(
        dynamic(
            f"conv-same-strided-{kind}-{size}",
            lambda mb, x, kind=kind: mb.conv(x=x, weight=W, pad_type=kind, strides=[2, 3], dilations=[2, 1]),
            lambda x, kind=kind: F.conv2d(same(x, (5, 3), (2, 3), kind), tensor(W), stride=(2, 3), dilation=(2, 1)),
            X[:, :, :size], atol=1e-5, release=16,
        )
        for kind in ("same", "same_lower")
        for size in (7, 8)
    ),
    *(
        dynamic(
            f"{name}-same-{size}",
            lambda mb, x, name=name: getattr(mb, name)(x=x, kernel_sizes=[3, 2], strides=[2, 3], pad_type="same"),
            lambda x, make=make, fill=fill: make(same(x, (3, 2), (2, 3), "same", fill)),
            X[:, :, :, :size], atol=1e-5,
        )
        for name, fill, make in (
            ("max_pool", -np.inf, lambda x: F.max_pool2d(x, (3, 2), (2, 3))),
            ("avg_pool", 0.0, lambda x: F.avg_pool2d(x, (3, 2), (2, 3))),
            ("l2_pool", 0.0, lambda x: (6 * F.avg_pool2d(x**2, (3, 2), (2, 3))).sqrt()),
        )
        for size in (9, 10)
    ),
    *(
        dynamic(
            f"avg_pool-ceil-{exclude}-{pad}-{size}",
            lambda mb, x, exclude=exclude, pad=pad: mb.avg_pool(
                x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[pad] * 4, ceil_mode=True,
                exclude_padding_from_average=exclude,
            ),
            lambda x, exclude=exclude, pad=pad: F.avg_pool2d(
                tensor(x), (3, 2), 2, pad, ceil_mode=True, count_include_pad=not exclude
            ),
            X[:, :, :size, :-1], atol=1e-5,
        )
        for exclude in (False, True)
        for pad in (0, 1)
        for size in (6, 7)
    ),
    dynamic(
        "max_pool-ceil-wide-strides",
        lambda mb, x: mb.max_pool(
            x=x, kernel_sizes=[2, 2], strides=[3, 3], pad_type="custom", pad=[1] * 4, ceil_mode=True
        ),
        lambda x: F.max_pool2d(tensor(x), 2, 3, 1, ceil_mode=True),
    ),
    dynamic(
        "upsample-fraction",
        lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.5, scale_factor_width=2.5),
        lambda x: x[:, :, np.arange(13) * 9 // 13][..., np.arange(25) * 10 // 25],
    ),
    dynamic(
        "upsample_bilinear-fraction",
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=1.5, scale_factor_width=2.5, align_corners=False, half_pixel_centers=True
        ),
        lambda x: F.interpolate(tensor(x), size=(13, 25), mode="bilinear", align_corners=False), atol=1e-5,
        release=16,
    ),
    dynamic("flatten", lambda mb, x: mb.reshape(x=x, shape=[1, 4, -1]), lambda x: x.reshape(1, 4, -1)),
    dynamic(
        "instance_norm",
        lambda mb, x: mb.instance_norm(
            x=mb.transpose(x=x, perm=[0, 2, 1, 3]), gamma=X[0, 0, :, 0], beta=X[0, 0, :, 1], epsilon=1e-3
        ),
        lambda x: F.instance_norm(
            tensor(x.transpose(0, 2, 1, 3)), weight=tensor(X[0, 0, :, 0]), bias=tensor(X[0, 0, :, 1]), eps=1e-3
        ),
        atol=1e-5,
    ),
    dynamic("band_part", lambda mb, x: mb.band_part(x=x, lower=0, upper=-1), np.triu),
    dynamic("argsort", lambda mb, x: mb.argsort(x=x, axis=3, ascending=True), lambda x: np.argsort(x, 3)),
    dynamic(
        "shape-arithmetic",
        lambda mb, x: mb.fill(
            value=2.0,
            shape=mb.concat(values=(mb.mul(x=mb.gather(x=mb.shape(x=x), indices=[2, 3]), y=[2, 1]), [3]), axis=0),
        ),
        lambda x: np.full((2 * x.shape[2], x.shape[3], 3), 2.0, np.float32),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sizes_at_run_time(case: Case) -> None:
    document = check(case)
    assert document.inputs[0].describe() == "float32[1, 4, x_2, x_3]"


def test_what_needs_the_size_is_refused_with_the_way_out() -> None:
    build = lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[3, 3], pad_type="valid", ceil_mode=True)  # noqa: E731
    with pytest.raises(ConversionError, match=r"outside the tensor.*fix the input shapes"):
        check(dynamic("outside", build, np.copy))


# -- control flow ------------------------------------------------------------------------------------------------------


def doubled_while_small(mb: Any, x: Any) -> Any:
    """Double until the largest element is at least 100; count the steps. Reads a constant of the outer block."""
    limit = mb.const(val=np.float32(100))
    return mb.while_loop(
        _cond=lambda n, y: mb.less(x=mb.reduce_max(x=y, axes=[0, 1, 2, 3], keep_dims=False), y=limit),
        _body=lambda n, y: (mb.add(x=n, y=1), mb.mul(x=y, y=2.0)),
        loop_vars=(np.asarray([0], np.int32), x),
    )


def doubled_by_numpy(x: Array) -> tuple[Array, Array]:
    count = 0
    while x.max() < 100:
        count, x = count + 1, x * 2
    return np.asarray([count], np.int32), x


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_while_loop(scale: float) -> None:
    """With the second scale the condition is false at once: the loop does not run."""
    check(Case("while", doubled_while_small, {"x": X * np.float32(scale)}, doubled_by_numpy))


@pytest.mark.parametrize("chosen", [0, 1])
def test_cond(chosen: int) -> None:
    """Branches that read from outside, nested in one another."""

    def build(mb: Any, p: Any, x: Any) -> Any:
        pred = mb.squeeze(x=mb.cast(x=p, dtype="bool"))
        inner = lambda: mb.cond(  # noqa: E731
            pred=mb.logical_not(x=pred), _true_fn=lambda: mb.identity(x=x), _false_fn=lambda: mb.add(x=x, y=1.0)
        )
        return mb.cond(pred=pred, _true_fn=inner, _false_fn=lambda: mb.sub(x=x, y=1.0))

    feeds = {"p": np.asarray([chosen], np.int32), "x": X}
    document = check(Case("cond", build, feeds, lambda p, x: x + 1 if p[0] else x - 1))
    assert [layer.operator for layer in document.layers].count("cond") == 2


def test_refusals_inside_blocks_are_reported() -> None:
    def build(mb: Any, x: Any) -> Any:
        row = lambda: palette_convolution(mb, x)  # noqa: E731
        pred = mb.less(x=mb.reduce_max(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=0.0)
        return mb.cond(pred=pred, _true_fn=row, _false_fn=row)

    with pytest.raises(ConversionError, match=r"iOS15\.conv_quantized"):
        check(Case("row", build, {"x": X}, np.copy))
