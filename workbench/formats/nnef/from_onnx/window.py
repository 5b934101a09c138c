"""Convolution and pooling: https://onnx.ai/onnx/operators/. The padding is always written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.lowering import Refused

Pairs = list[tuple[int, int]]


def _pairs(pads: Sequence[int]) -> Pairs:
    half = len(pads) // 2
    return [(int(before), int(after)) for before, after in zip(pads[:half], pads[half:], strict=True)]


def _list(node: HubNode, name: str, rank: int) -> list[int]:
    return list(node.attr_ints(name) or (1,) * rank)


def _padding(node: HubNode, extents: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> Pairs:
    """The explicit padding of a window (``auto_pad`` resolved)."""
    mode, pads = node.attr_string("auto_pad") or "NOTSET", node.attr_ints("pads")
    if mode == "NOTSET":
        return _pairs(pads or (0,) * (2 * len(extents)))
    if mode == "VALID":
        return [(0, 0)] * len(extents)
    pairs = []
    for extent, size, step in zip(extents, window, stride, strict=True):
        total = max((-(-extent // step) - 1) * step + size - extent, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return pairs


def _bias(node: HubNode, b: Builder, index: int) -> list[Tensor]:
    """The bias as ``[1, channels]``, or nothing."""
    value = node.input(index)
    if value is None:
        return []
    bias = b.tensor(value)
    return [b.reshape(bias, (1, bias.shape[0]))]


@TABLE.lowers("Conv")
def conv_22(node: HubNode, b: Builder) -> Tensor:
    """Cross-correlation over 1 to 3 (or more) spatial axes."""
    x, filter = b.tensor(node.value(0)), b.tensor(node.value(1))
    rank = x.rank - 2
    stride, dilation = _list(node, "strides", rank), _list(node, "dilations", rank)
    node.ignore("kernel_shape")  # repeated in the filter's shape
    window = [(k - 1) * d + 1 for k, d in zip(filter.shape[2:], dilation, strict=True)]
    return b.op(
        "conv",
        x,
        filter,
        *_bias(node, b, 2),
        padding=_padding(node, x.shape[2:], window, stride),
        stride=stride,
        dilation=dilation,
        groups=node.attr_int("group"),
    )


@TABLE.lowers("ConvTranspose")
def convtranspose_22(node: HubNode, b: Builder) -> Tensor:
    """The transpose of Conv; the output's shape decides what is cut off."""
    x, filter = b.tensor(node.value(0)), b.tensor(node.value(1))
    rank = x.rank - 2
    stride, dilation = _list(node, "strides", rank), _list(node, "dilations", rank)
    mode, pads = node.attr_string("auto_pad") or "NOTSET", node.attr_ints("pads")
    extra = node.attr_ints("output_padding") or (0,) * rank
    given = node.attr_ints("output_shape")
    node.ignore("kernel_shape")
    shape = node.shape(node.outputs[0])
    full = [
        (i - 1) * s + (k - 1) * d + 1
        for i, s, k, d in zip(x.shape[2:], stride, filter.shape[2:], dilation, strict=True)
    ]
    if mode == "NOTSET" and given is None:
        padding = _pairs(pads or (0,) * (2 * rank))
    else:
        padding = []
        for extent, more, wanted in zip(full, extra, shape[2:], strict=True):
            total = max(extent + more - wanted, 0)
            small, large = total // 2, total - total // 2
            padding.append((large, small) if mode == "SAME_LOWER" or (given and mode == "NOTSET") else (small, large))
    exact = all(e - p - q == w for e, (p, q), w in zip(full, padding, shape[2:], strict=True))
    return b.op(
        "deconv",
        x,
        filter,
        *_bias(node, b, 2),
        padding=padding,
        stride=stride,
        dilation=dilation,
        output_shape=[] if exact else list(shape),
        groups=node.attr_int("group"),
    )


class _Pool:
    """The window of a pooling operator, in NNEF's lists with batch and channels in front."""

    def __init__(self, node: HubNode, b: Builder) -> None:
        self.x = b.tensor(node.value(0))
        rank = self.x.rank - 2
        self.size = list(node.attr_ints("kernel_shape") or ())
        self.stride = _list(node, "strides", rank)
        self.dilation = _list(node, "dilations", rank)
        node.attr_int("ceil_mode")  # repeated in the output's shape
        window = [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]
        self.padding = _padding(node, self.x.shape[2:], window, self.stride)
        self.beyond = [  # how far the last window reaches over the padded input, where the extents are rounded up
            max((o - 1) * s + w - (i + p + q), 0)
            for o, s, w, i, (p, q) in zip(
                node.shape(node.outputs[0])[2:], self.stride, window, self.x.shape[2:], self.padding, strict=True
            )
        ]

    def emit(self, b: Builder, name: str, x: Tensor, padding: Pairs, border: str) -> Tensor:
        """The operation over ``x`` with the given padding of the spatial axes."""
        made: Tensor = self.emit_all(b, name, x, padding, border)
        return made

    def emit_all(self, b: Builder, name: str, x: Tensor, padding: Pairs, border: str) -> Any:
        """The same of an operation with several results."""
        return b.ops(
            name,
            x,
            size=[1, 1, *self.size],
            border=border,
            padding=[(0, 0), (0, 0), *padding],
            stride=[1, 1, *self.stride],
            dilation=[1, 1, *self.dilation],
        )

    @property
    def extended(self) -> Pairs:
        """The padding together with what the last window needs."""
        return [(p, q + more) for (p, q), more in zip(self.padding, self.beyond, strict=True)]


@TABLE.lowers("MaxPool")
def maxpool_22(node: HubNode, b: Builder) -> list[Tensor | None]:
    """Maxima; the border takes no part. Integers have eight bits at most, which scalars hold."""
    pool = _Pool(node, b)
    pool.x = b.scalar(pool.x)
    columns = bool(node.attr_int("storage_order"))
    if not _is_used(node, 1):
        return [b.like(pool.emit(b, "max_pool", pool.x, pool.extended, "ignore"), node.outputs[0]), None]
    if "max_pool_with_index" not in b.declared:
        raise Refused("indices of maxima are asked for, which the dialect does not have")
    padded = any(pair != (0, 0) for pair in pool.extended)
    if not padded and not columns:
        if not _is_used(node, 0):
            return [None, _of_all(b, pool, pool.emit(b, "argmax_pool", pool.x, pool.padding, "constant"))]
        maxima, places = pool.emit_all(b, "max_pool_with_index", pool.x, pool.padding, "constant")
        return [b.like(maxima, node.outputs[0]), _of_all(b, pool, places)]
    maxima = pool.emit(b, "max_pool", pool.x, pool.extended, "ignore")
    return [b.like(maxima, node.outputs[0]), _of_all(b, pool, _places(b, pool, columns), not columns)]


def _places(b: Builder, pool: _Pool, columns: bool) -> Tensor:
    """Positions of maxima within their planes, of windows that reach over the border or in column-major order.

    NNEF does not say what a position is there, so the border becomes part of the tensor, of the least number that there
    is, and positions in that are taken apart.
    """
    least = float(np.finfo(b.scalar_dtype).min)
    pairs = pool.extended
    wide = b.op("pad", b.scalar(pool.x), padding=[(0, 0), (0, 0), *pairs], value=least)
    if math.prod(wide.shape[2:]) > b.whole:
        raise Refused(f"positions among {math.prod(wide.shape[2:]):,} elements are not exact as scalars")
    _, found = pool.emit_all(b, "max_pool_with_index", wide, [(0, 0)] * len(pairs), "constant")
    rest = b.scalar(found)
    extents, total = pool.x.shape[2:], None
    for axis in reversed(range(len(pairs))):
        whole = b.op("floor", b.op("div", rest, b.number(float(wide.shape[2 + axis]))))
        own = b.op("sub", rest, b.op("mul", whole, b.number(float(wide.shape[2 + axis]))))
        step = math.prod(extents[:axis] if columns else extents[axis + 1 :])
        part = b.op("mul", b.op("sub", own, b.number(float(pairs[axis][0]))), b.number(float(step)))
        total, rest = part if total is None else b.op("add", total, part), whole
    assert total is not None
    return total


def _is_used(node: HubNode, index: int) -> bool:
    value = node.outputs[index] if len(node.outputs) > index else None
    return value is not None and bool(value.name) and (bool(value.uses()) or value.is_graph_output())


def _of_all(b: Builder, pool: _Pool, places: Tensor, by_rows: bool = True) -> Tensor:
    """NNEF counts positions within the plane of a channel, ONNX within the whole tensor."""
    planes, volume = math.prod(pool.x.shape[:2]), math.prod(pool.x.shape[2:])
    if planes * volume > b.whole:
        raise Refused(f"positions among {planes * volume:,} elements are not exact as scalars")
    first = np.arange(planes).reshape(*pool.x.shape[:2], *[1] * (pool.x.rank - 2)) * volume
    counted = b.integer(b.op("add", b.scalar(places), b.const(first)))
    if by_rows:
        b.within_planes[counted] = places, volume
    return counted


@TABLE.lowers("AveragePool")
def averagepool_22(node: HubNode, b: Builder) -> Tensor:
    """Means; zeros of the border count if the node says so, what lies beyond the border never does."""
    pool = _Pool(node, b)
    included = bool(node.attr_int("count_include_pad"))
    if not included:
        return pool.emit(b, "avg_pool", pool.x, pool.extended, "ignore")
    if not any(pool.beyond):
        return pool.emit(b, "avg_pool", pool.x, pool.padding, "constant")
    x = b.op("pad", pool.x, padding=[(0, 0), (0, 0), *pool.padding])
    return pool.emit(b, "avg_pool", x, [(0, more) for more in pool.beyond], "ignore")


@TABLE.lowers("LpPool")
def lppool_22(node: HubNode, b: Builder) -> Tensor:
    """``(sum |x|^p)^(1/p)`` over a window."""
    pool = _Pool(node, b)
    return _norm(node, b, pool.x, lambda powered: pool.emit(b, "box", powered, pool.extended, "constant"))


@TABLE.lowers("GlobalLpPool")
def globallppool_22(node: HubNode, b: Builder) -> Tensor:
    """``(sum |x|^p)^(1/p)`` over all spatial axes."""
    x = b.tensor(node.value(0))
    return _norm(node, b, x, lambda powered: b.op("sum_reduce", powered, axes=list(range(2, x.rank))))


def _norm(node: HubNode, b: Builder, x: Tensor, summed: Callable[[Tensor], Tensor]) -> Tensor:
    """The norm that the node names, of what ``summed`` adds up."""
    p = node.attr_int("p")
    if p < 1:
        raise Refused(f"p = {p} is no norm")
    powered = b.op("mul", x, x) if p == 2 else b.op("abs", x)
    total = summed(b.op("pow", powered, b.number(float(p))) if p > 2 else powered)
    if p > 2:
        return b.op("pow", total, b.number(1.0 / p))
    return total if p == 1 else b.op("sqrt", total)


@TABLE.lowers("GlobalAveragePool")
def globalaveragepool_22(node: HubNode, b: Builder) -> Tensor:
    """The mean over all spatial axes."""
    x = b.tensor(node.value(0))
    return b.op("mean_reduce", x, axes=list(range(2, x.rank)))


@TABLE.lowers("GlobalMaxPool")
def globalmaxpool_22(node: HubNode, b: Builder) -> Tensor:
    """The maximum over all spatial axes."""
    x = b.tensor(node.value(0))
    return b.op("max_reduce", x, axes=list(range(2, x.rank)))


@TABLE.lowers("LRN")
def lrn_13(node: HubNode, b: Builder) -> Tensor:
    """Local response normalisation across channels."""
    x = b.tensor(node.value(0))
    size = [node.attr_int("size") if axis == 1 else 1 for axis in range(x.rank)]
    alpha, beta, bias = (node.attr_float(name) for name in ("alpha", "beta", "bias"))
    return b.op("local_response_normalization", x, size=size, alpha=alpha, beta=beta, bias=bias)
