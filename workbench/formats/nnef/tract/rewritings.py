"""Standard operations that tract lacks or reads otherwise, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.formats.nnef.shapes import slice_bounds
from workbench.formats.nnef.tract.builder import TractBuilder, rewrites
from workbench.formats.nnef.tract.from_onnx.movement import framed
from workbench.lowering import Refused


@rewrites("cast")
def cast(b: TractBuilder, x: Tensor, dtype: str) -> Tensor:
    """tract has no ``cast``; its own takes the dtype as a string."""
    return b.cast(x, dtype)


@rewrites("reshape")
def reshape(b: TractBuilder, x: Tensor, shape: Sequence[int]) -> Tensor:
    """tract takes no empty list for a shape."""
    if not shape:
        return b.op("squeeze", x, axes=list(range(x.rank)))
    made: Tensor = b.plain("reshape", x, shape=list(shape))
    return made


@rewrites("rcp")
def rcp(b: TractBuilder, x: Tensor) -> Tensor:
    """tract knows no ``rcp``."""
    return b.op("div", b.number(1.0), x)


@rewrites("round")
def rounded(b: TractBuilder, x: Tensor) -> Tensor:
    """tract's ``round`` takes halves away from zero."""
    made: Tensor = b.plain("tract_core_round_even", x)
    return made


@rewrites("elu")
def elu(b: TractBuilder, x: Tensor, alpha: float) -> Tensor:
    """tract's ``elu`` ignores ``alpha``."""
    bent = b.op("sub", b.op("exp", x), b.number(1.0))
    return b.op("select", b.op("lt", x, b.number(0.0)), b.op("mul", bent, b.number(alpha)), x)


@rewrites("softplus")
def softplus(b: TractBuilder, x: Tensor) -> Tensor:
    """``max(x, 0) + log(1 + exp(-|x|))``: tract takes the exponential of large numbers too."""
    tail = b.op("exp", b.op("neg", b.op("abs", x)))
    return b.op("add", b.op("max", x, b.number(0.0)), b.op("log", b.op("add", tail, b.number(1.0))))


@rewrites("sigmoid")
def sigmoid(b: TractBuilder, x: Tensor) -> Tensor:
    """tract's own is of float32 and float16."""
    if b.scalar_dtype != "float64":
        made: Tensor = b.plain("sigmoid", x)
        return made
    one = b.number(1.0)
    return b.op("div", one, b.op("add", b.op("exp", b.op("neg", x)), one))


@rewrites("softmax")
def softmax(b: TractBuilder, x: Tensor, axes: Sequence[int] = (1,)) -> Tensor:
    """tract's own computes exponentials in float32."""
    if b.scalar_dtype != "float64":
        made: Tensor = b.plain("softmax", x, axes=list(axes))
        return made
    grown = b.op("exp", b.op("sub", x, b.op("max_reduce", x, axes=list(axes))))
    return b.op("div", grown, b.op("sum_reduce", grown, axes=list(axes)))


@rewrites("gather")
def gather(b: TractBuilder, x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """tract's own is the same."""
    made: Tensor = b.plain("tract_core_gather", x, indices, axis=axis)
    return made


@rewrites("split")
def split(b: TractBuilder, x: Tensor, axis: int, ratios: Sequence[int]) -> list[Tensor]:
    """tract has no ``split``."""
    unit, start, parts = x.shape[axis] // sum(ratios), 0, []
    for ratio in ratios:
        stop = start + unit * ratio
        parts.append(b.plain("slice", x, axes=[axis], begin=[start], end=[stop]))
        start = stop
    return parts


@rewrites("slice")
def sliced(
    b: TractBuilder,
    x: Tensor,
    axes: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] = (),
) -> Tensor:
    """Both ends are written out, for tract has no "to the end"; what goes backwards is gathered."""
    backwards: list[tuple[int, range]] = []
    forwards: list[tuple[int, int, int, int]] = []
    for axis, low, high, step in zip(axes, begin, end, stride or [1] * len(axes), strict=True):
        first, last = slice_bounds(x.shape[axis], low, high, step)
        if step > 0:
            forwards.append((axis, first, last, step))
        else:
            backwards.append((axis, range(first, last, step)))
    if forwards:
        lists = [list(column) for column in zip(*forwards, strict=True)]
        strides = lists[3] if set(lists[3]) != {1} else []
        x = b.plain("slice", x, axes=lists[0], begin=lists[1], end=lists[2], stride=strides)
    for axis, positions in backwards:
        x = b.op("gather", x, b.const(np.asarray(positions), "integer"), axis=axis)
    return x


@rewrites("pad")
def pad(
    b: TractBuilder, x: Tensor, padding: Sequence[tuple[int, int]], border: str = "constant", value: float = 0.0
) -> Tensor:
    """tract's name of the border that repeats the edge is ``replicated``; a fill it does not have is joined on."""
    borders = {"constant": "constant", "replicate": "replicated", "reflect": "reflect"}
    if border not in borders:
        raise Refused(f"tract pads with no border {border!r}")
    if border == "constant" and b.scalar_dtype != "float32":
        return framed(b, x, padding, value)
    made: Tensor = b.plain("pad", x, padding=list(padding), border=borders[border], value=value)
    return made


@rewrites("local_response_normalization")
def local_response_normalization(
    b: TractBuilder, x: Tensor, size: Sequence[int], alpha: float, beta: float, bias: float
) -> Tensor:
    """tract's windows do not reach over channels: they are laid out as an axis of space."""
    width = size[1]
    shape = (x.shape[0], 1, x.shape[1], math.prod(x.shape[2:]))
    squares = b.reshape(b.op("mul", x, x), shape)
    total = b.op(
        "box",
        squares,
        size=[1, 1, width, 1],
        border="constant",
        padding=[(0, 0), (0, 0), ((width - 1) // 2, width // 2), (0, 0)],
    )
    mean = b.op("mul", b.reshape(total, x.shape), b.number(alpha / width))
    return b.op("div", x, b.op("pow", b.op("add", mean, b.number(bias)), b.number(beta)))


@rewrites("deconv")
def deconv(
    b: TractBuilder,
    x: Tensor,
    filter: Tensor,
    *bias: Tensor,
    groups: int,
    output_shape: Sequence[int] = (),
    **window: object,
) -> Tensor:
    """tract's filter has the output channels in front, and its ``output_shape`` those of space alone."""
    inner, outer = filter.shape[0] // groups, filter.shape[1]
    apart = b.reshape(filter, (groups, inner, outer, *filter.shape[2:]))
    turned = b.transpose(apart, (0, 2, 1, *range(3, apart.rank)))
    ready = b.reshape(turned, (groups * outer, inner, *filter.shape[2:]))
    made: Tensor = b.plain("deconv", x, ready, *bias, groups=groups, output_shape=list(output_shape[2:]), **window)
    return made


@rewrites("max_reduce")
def max_reduce(b: TractBuilder, x: Tensor, axes: Sequence[int]) -> Tensor:
    """See :func:`_extreme`."""
    return _extreme(b, "max_reduce", x, axes)


@rewrites("min_reduce")
def min_reduce(b: TractBuilder, x: Tensor, axes: Sequence[int]) -> Tensor:
    """See :func:`_extreme`."""
    return _extreme(b, "min_reduce", x, axes)


def _extreme(b: TractBuilder, name: str, x: Tensor, axes: Sequence[int]) -> Tensor:
    """tract begins at the largest finite number, and gives that for a row of nothing but infinities."""
    found: Tensor = b.plain(name, x, axes=list(axes))
    if x.kind != "scalar":
        return found
    largest = name == "max_reduce"
    reached = b.op("any_reduce", b.op("ge" if largest else "le", x, found), axes=list(axes))
    return b.op("select", reached, found, b.const(np.asarray(-np.inf if largest else np.inf)))
