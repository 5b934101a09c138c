"""Sliding windows: convolution (NNEF 1.0.5, section 4.3), pooling (4.8), change of resolution (4.3, 4.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.shapes import same_padding
from workbench.formats.nnef.to_onnx.movement import padded
from workbench.formats.nnef.to_onnx.node import TABLE, NnefNode, filled, rank_of, reshape, scalar_const, shape_of
from workbench.hub import Emitter
from workbench.lowering import Refused

Pairs = list[tuple[int, int]]


def _onnx_pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [before for before, _ in padding] + [after for _, after in padding]


def bias_of(node: NnefNode, e: Emitter, channels: int) -> ir.Value | None:
    """The bias as ONNX wants it, ``[channels]``; ``None`` if it is zero."""
    number = node.number("bias")
    if number is not None:
        return None if number == 0 else e.const(np.full(channels, number), node.scalar)
    bias = node.tensor("bias")
    if shape_of(bias) == (channels,):
        return bias
    return reshape(e, bias, [channels])


def _outside(e: Emitter, x: ir.Value, padding: Pairs, border: str) -> tuple[ir.Value, Pairs]:
    """Apply the part of the padding that Conv cannot: any border but zeros, and cropping."""
    zeros = border in ("constant", "ignore")
    if zeros and all(min(pair) >= 0 for pair in padding):
        return x, padding
    full: Pairs = [(0, 0), (0, 0), *padding]
    return padded(e, x, full, "constant" if zeros else border), [(0, 0)] * len(padding)


def convolution(
    node: NnefNode, e: Emitter, x: ir.Value, filter: ir.Value, bias: ir.Value | None, groups: int, window: bool = True
) -> ir.Value:
    """``conv``; with ``window=False`` a 1×1 one without padding, stride and dilation."""
    rank = rank_of(x) - 2
    stride = (node.attr("stride") if window else []) or [1] * rank
    dilation = (node.attr("dilation") if window else []) or [1] * rank
    kernel = list(shape_of(filter, 2))
    padding = node.attr("padding") if window else [(0, 0)] * rank
    padding = list(padding or same_padding(shape_of(x, 2), kernel, stride, dilation))
    x, padding = _outside(e, x, padding, node.attr("border"))
    return e.op(
        "Conv",
        x,
        filter,
        bias,
        kernel_shape=kernel,
        strides=stride,
        dilations=dilation,
        pads=_onnx_pads(padding),
        group=groups or int(shape_of(x, 1, 2)[0]),
    )


@TABLE.lowers("conv")
def conv(node: NnefNode, e: Emitter) -> ir.Value:
    """Cross-correlation; ``groups = 0`` means one group for each channel."""
    filter = node.tensor("filter")
    bias = bias_of(node, e, shape_of(filter)[0])
    return convolution(node, e, node.tensor("input"), filter, bias, node.attr("groups"))


@TABLE.lowers("separable_conv")
def separable_conv(node: NnefNode, e: Emitter) -> ir.Value:
    """``conv`` of each channel with the plane filter, then with the point filter."""
    plane, point = node.tensor("plane_filter"), node.tensor("point_filter")
    filtered = convolution(node, e, node.tensor("input"), plane, None, 0)
    bias = bias_of(node, e, shape_of(point)[0])
    return convolution(node, e, filtered, point, bias, node.attr("groups"), window=False)


def transposed_convolution(
    node: NnefNode,
    e: Emitter,
    x: ir.Value,
    filter: ir.Value,
    bias: ir.Value | None,
    groups: int,
    crop: int = 0,
    window: bool = True,
) -> ir.Value:
    """``deconv``; the first ``crop`` entries of the lists belong to batch and channels (``debox``)."""
    if node.attr("border") not in ("constant", "ignore"):
        raise Refused(f"a transposed window with border {node.attr('border')!r} has no counterpart")
    rank = rank_of(x) - 2
    stride = list((node.attr("stride") if window else [])[crop:] or [1] * rank)
    dilation = list((node.attr("dilation") if window else [])[crop:] or [1] * rank)
    padding = list(node.attr("padding")[crop:]) if window else [(0, 0)] * rank
    wanted = list(node.attr("output_shape")[2:]) if window else []
    kernel = shape_of(filter, 2)
    if not padding:
        wanted = wanted or [extent * step for extent, step in zip(shape_of(x, 2), stride, strict=True)]
        padding = same_padding(wanted, kernel, stride, dilation)
    extra = [0] * rank
    if wanted:
        full = [(i - 1) * s + (k - 1) * d for i, s, k, d in zip(shape_of(x, 2), stride, kernel, dilation, strict=True)]
        extra = [w - (i + 1 - sum(pair)) for w, i, pair in zip(wanted, full, padding, strict=True)]
    if any(amount < 0 for amount in extra) or any(min(pair) < 0 for pair in padding):
        raise Refused("the padding of a transposed window is negative")
    return e.op(
        "ConvTranspose",
        x,
        filter,
        bias,
        kernel_shape=list(kernel),
        strides=stride,
        dilations=dilation,
        pads=_onnx_pads(padding),
        output_padding=extra,
        group=groups,
    )


def _transposed_groups(node: NnefNode, channels: int) -> int:
    groups: int = node.attr("groups")
    return groups or (node.attr("output_shape")[1] if node.attr("output_shape") else channels)


@TABLE.lowers("deconv")
def deconv(node: NnefNode, e: Emitter) -> ir.Value:
    """The transpose of ``conv``; the filter is [input channels, output channels / groups, …]."""
    x, filter = node.tensor("input"), node.tensor("filter")
    groups = _transposed_groups(node, shape_of(x, 1, 2)[0])
    bias = bias_of(node, e, shape_of(filter)[1] * groups)
    return transposed_convolution(node, e, x, filter, bias, groups)


@TABLE.lowers("separable_deconv")
def separable_deconv(node: NnefNode, e: Emitter) -> ir.Value:
    """``deconv`` with the point filter, then of each channel with the plane filter."""
    plane, point = node.tensor("plane_filter"), node.tensor("point_filter")
    spread = transposed_convolution(node, e, node.tensor("input"), point, None, node.attr("groups") or 1, window=False)
    channels = shape_of(spread)[1]
    return transposed_convolution(node, e, spread, plane, bias_of(node, e, channels), channels)


@TABLE.lowers("debox", "avg_unpool")
def debox(node: NnefNode, e: Emitter) -> ir.Value:
    """The transpose of ``box``: each value spread over a window, divided by its volume if normalised."""
    x, size = node.tensor("input"), node.attr("size")
    if size[:2] != [1, 1] or rank_of(x) < 3:
        raise Refused("a transposed window over batch or channels has no counterpart")
    normalize = node.name == "avg_unpool" or node.attr("normalize")
    if normalize and node.attr("border") != "constant":
        raise Refused(f"normalised with border {node.attr('border')!r}")
    channels = shape_of(x, 1, 2)[0]
    weight = 1.0 / math.prod(size) if normalize else 1.0
    filter = filled(e, (channels, 1, *size[2:]), weight, node.scalar)
    return transposed_convolution(node, e, x, filter, None, channels, crop=2)


# pooling


@dataclass
class _Window:
    """A pooling window over the spatial axes of ``x`` (rank 3 to 5), and how to bring the result back."""

    x: ir.Value
    size: list[int]
    padding: Pairs
    stride: list[int]
    dilation: list[int]
    back: tuple[list[int], list[int]] | None = None

    def restored(self, e: Emitter, y: ir.Value) -> ir.Value:
        """The pooled tensor with its axes where they were."""
        if self.back is None:
            return y
        outer, order = self.back
        y = reshape(e, y, [*outer, *shape_of(y)[2:]])
        return e.op("Transpose", y, perm=[order.index(axis) for axis in range(len(order))])


def _window(node: NnefNode, e: Emitter, x: ir.Value) -> _Window:
    """Bring the axes that the window spans to the end; an empty padding is made explicit."""
    rank, size = rank_of(x), node.attr("size")
    stride = list(node.attr("stride") or [1] * rank)
    dilation = list(node.attr("dilation") or [1] * rank)
    padding = list(node.attr("padding") or same_padding(shape_of(x), size, stride, dilation))
    spans = [(k, s, pair) != (1, 1, (0, 0)) for k, s, pair in zip(size, stride, padding, strict=True)]
    if 3 <= rank <= 5 and not any(spans[:2]):
        return _Window(x, list(size[2:]), padding[2:], stride[2:], dilation[2:])
    shape = shape_of(x)
    inner = [axis for axis, active in enumerate(spans) if active] or [rank - 1]
    if len(inner) > 3:
        raise Refused(f"a window over {len(inner)} axes, ONNX has at most 3")
    outer = [axis for axis in range(len(shape)) if axis not in inner]
    order = outer + inner
    x = e.op("Transpose", x, perm=order) if order != sorted(order) else x
    x = reshape(e, x, [math.prod(shape[axis] for axis in outer), 1, *(shape[axis] for axis in inner)])
    lists = [[values[axis] for axis in inner] for values in (size, padding, stride, dilation)]
    back = ([shape[axis] for axis in outer], order)
    return _Window(x, lists[0], lists[1], lists[2], lists[3], back)


def _pool(e: Emitter, window: _Window, operator: str, count_include_pad: int | None = None) -> ir.Value:
    return e.op(
        operator,
        window.x,
        kernel_shape=window.size,
        strides=window.stride,
        dilations=window.dilation,
        pads=_onnx_pads(window.padding),
        count_include_pad=count_include_pad,
    )


def _fits_onnx(window: _Window) -> bool:
    """ONNX wants every padding to be smaller than the kernel and not negative."""
    return all(0 <= p < k for k, pair in zip(window.size, window.padding, strict=True) for p in pair)


def _pad_explicitly(e: Emitter, window: _Window, border: str, fill: ir.Value | None = None) -> None:
    window.x = padded(e, window.x, [(0, 0), (0, 0), *window.padding], border, fill)
    window.padding = [(0, 0)] * len(window.padding)


def maximum(node: NnefNode, e: Emitter, x: ir.Value) -> ir.Value:
    """The maximum of each window; with the border ``constant`` the zeros of the border take part."""
    window, border = _window(node, e, x), node.attr("border")
    if border == "ignore" and not _fits_onnx(window):
        _pad_explicitly(e, window, "constant", scalar_const(node, e, -math.inf))
    elif border != "ignore":
        _pad_explicitly(e, window, border)
    return window.restored(e, _pool(e, window, "MaxPool"))


def average(node: NnefNode, e: Emitter, x: ir.Value, normalize: bool = True) -> ir.Value:
    """The mean of each window, or the sum; with the border ``ignore`` the mean over what lies inside."""
    window, border = _window(node, e, x), node.attr("border") if "border" in node.operation.arguments else "constant"
    if border == "ignore" and normalize:
        if not _fits_onnx(window):
            raise Refused("the padding is larger than the window and the border is ignored")
        return window.restored(e, _pool(e, window, "AveragePool", count_include_pad=0))
    if border not in ("constant", "ignore") or not _fits_onnx(window):
        _pad_explicitly(e, window, "constant" if border == "ignore" else border)
    pooled = _pool(e, window, "AveragePool", count_include_pad=1)
    volume = math.prod(window.size)
    if not normalize and volume != 1:
        pooled = e.op("Mul", pooled, scalar_const(node, e, float(volume)))
    return window.restored(e, pooled)


@TABLE.lowers("max_pool")
def max_pool(node: NnefNode, e: Emitter) -> ir.Value:
    """See :func:`maximum`."""
    return maximum(node, e, node.tensor("input"))


@TABLE.lowers("avg_pool")
def avg_pool(node: NnefNode, e: Emitter) -> ir.Value:
    """See :func:`average`."""
    return average(node, e, node.tensor("input"))


@TABLE.lowers("box")
def box(node: NnefNode, e: Emitter) -> ir.Value:
    """The sum over each window, or the mean if normalised."""
    return average(node, e, node.tensor("input"), node.attr("normalize"))


@TABLE.lowers("rms_pool")
def rms_pool(node: NnefNode, e: Emitter) -> ir.Value:
    """``sqrt(avg_pool(x ^ 2))``."""
    x = node.tensor("input")
    return e.op("Sqrt", average(node, e, e.op("Mul", x, x)))


# indices


def _plain_window(node: NnefNode, e: Emitter, x: ir.Value) -> _Window:
    window = _window(node, e, x)
    if window.back is not None or any(pair != (0, 0) for pair in window.padding):
        raise Refused(
            "NNEF does not say what the index of a maximum is relative to when the window reaches over the border "
            "or over batch and channels"
        )
    return window


def _volume(x: ir.Value) -> int:
    return math.prod(shape_of(x, 2))


def _flat(e: Emitter, x: ir.Value) -> ir.Value:
    return reshape(e, x, [*shape_of(x)[:2], _volume(x)])


@TABLE.lowers("max_pool_with_index")
def max_pool_with_index(node: NnefNode, e: Emitter) -> list[ir.Value]:
    """See :func:`index_of_maximum`."""
    return index_of_maximum(node, e)


def index_of_maximum(node: NnefNode, e: Emitter) -> list[ir.Value]:
    """The maxima and their positions, counted within the plane of their channel."""
    window = _plain_window(node, e, node.tensor("input"))
    output, index = e.ops(
        "MaxPool",
        window.x,
        outputs=2,
        kernel_shape=window.size,
        strides=window.stride,
        dilations=window.dilation,
    )
    return [output, e.op("Mod", index, e.const(_volume(window.x)))]


@TABLE.lowers("argmax_pool")
def argmax_pool(node: NnefNode, e: Emitter) -> ir.Value:
    """The positions of the maxima."""
    return index_of_maximum(node, e)[1]


@TABLE.lowers("sample")
def sample(node: NnefNode, e: Emitter) -> ir.Value:
    """The values at the positions that ``argmax_pool`` found."""
    x, index = _plain_window(node, e, node.tensor("input")).x, node.tensor("index")
    return reshape(e, e.op("GatherElements", _flat(e, x), _flat(e, index), axis=2), shape_of(index))


@TABLE.lowers("desample", "max_unpool")
def desample(node: NnefNode, e: Emitter) -> ir.Value:
    """The values at their positions, zeros elsewhere (the sum where positions coincide)."""
    x, index, size = node.tensor("input"), node.tensor("index"), node.attr("size")
    stride = node.attr("stride") or [1] * rank_of(x)
    if any(pair != (0, 0) for pair in node.attr("padding")) or (not node.attr("padding") and stride != size):
        raise Refused("NNEF does not say what an index is relative to when the window reaches over the border")
    shape = node.attr("output_shape") or [
        (extent - 1) * s + k for extent, s, k in zip(shape_of(x), stride, size, strict=True)
    ]
    zeros = filled(e, (*shape_of(x)[:2], math.prod(shape[2:])), 0.0, node.scalar)
    spread = e.op("ScatterElements", zeros, _flat(e, index), _flat(e, x), axis=2, reduction="add")
    return reshape(e, spread, [*shape_of(x)[:2], *shape[2:]])


# resolution


@TABLE.lowers("nearest_downsample")
def nearest_downsample(node: NnefNode, e: Emitter) -> ir.Value:
    """Every n-th value."""
    factor = node.attr("factor")
    axes = list(range(2, 2 + len(factor)))
    ends = [shape_of(node.tensor("input"))[axis] for axis in axes]
    return e.op("Slice", node.tensor("input"), e.const([0] * len(axes)), e.const(ends), e.const(axes), e.const(factor))


@TABLE.lowers("area_downsample")
def area_downsample(node: NnefNode, e: Emitter) -> ir.Value:
    """The mean of n values."""
    return e.op("AveragePool", node.tensor("input"), kernel_shape=node.attr("factor"), strides=node.attr("factor"))


@TABLE.lowers("nearest_upsample")
def nearest_upsample(node: NnefNode, e: Emitter) -> ir.Value:
    """Each value n times."""
    scales = e.const(np.asarray([1, 1, *node.attr("factor")], np.float32))
    return e.op(
        "Resize",
        node.tensor("input"),
        None,
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@TABLE.lowers("multilinear_upsample")
def multilinear_upsample(node: NnefNode, e: Emitter) -> ir.Value:
    """Linear interpolation: centres (``symmetric``), corners (``aligned``) or first elements (``asymmetric``) in place.

    Beyond a border that is ``constant`` there are zeros.
    """
    x, factor, method, border = node.tensor("input"), node.attr("factor"), node.attr("method"), node.attr("border")
    if method == "aligned":
        return _linear(e, x, factor, "align_corners")
    if border not in ("replicate", "constant"):
        raise Refused(f"the border {border!r} is not one of replicate, constant")
    if method == "symmetric" and border == "replicate":
        return _linear(e, x, factor, "half_pixel")
    if method == "symmetric":
        return _beside_zeros(e, x, factor, "half_pixel", 1)
    if method != "asymmetric":
        raise Refused(f"the method {method!r} is not one of symmetric, asymmetric, aligned")
    if border == "replicate" or max(factor) > 2:
        raise Refused(
            "where asymmetric samples lie is not agreed on, but for factors up to 2 and the border 'constant': "
            "the reference interpreter moves them by a part of a sample"
        )
    return _beside_zeros(e, x, factor, "asymmetric", 0)


def _beside_zeros(e: Emitter, x: ir.Value, factor: list[int], coordinates: str, before: int) -> ir.Value:
    """Interpolated with one zero behind the last element, and as many before the first."""
    wide = _linear(e, padded(e, x, [(0, 0), (0, 0), *[(before, 1)] * len(factor)], "constant"), factor, coordinates)
    axes = list(range(2, 2 + len(factor)))
    starts = [f * before for f in factor]
    ends = [f * (before + shape_of(x)[axis]) for f, axis in zip(factor, axes, strict=True)]
    return e.op("Slice", wide, e.const(starts), e.const(ends), e.const(axes))


def _linear(e: Emitter, x: ir.Value, factor: list[int], coordinates: str) -> ir.Value:
    scales = e.const(np.asarray([1, 1, *factor], np.float32))
    return e.op("Resize", x, None, scales, mode="linear", coordinate_transformation_mode=coordinates)
