"""Windows that move over a tensor: convolutions, poolings, padding, resizing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.variants.kit import (
    Variant,
    giving,
    integer,
    ints,
    known_array,
    renamed,
    setting,
    shape_of,
    together,
    varies,
)

Array = np.ndarray[Any, Any]


@varies("Conv ConvTranspose MaxPool AveragePool LpPool")
def window(node: ir.Node) -> Iterator[Variant]:
    """Padding, strides and dilations, wherever the result keeps its size."""
    auto = node.attributes.get("auto_pad")
    kind = auto.as_string() if auto is not None else "NOTSET"
    for other in ("SAME_UPPER", "SAME_LOWER"):
        if kind.startswith("SAME") and kind != other:
            yield Variant("padding", f"{other} instead of {kind}", setting("auto_pad", other))
    pads = ints(node, "pads")
    rank = len(pads) // 2 if pads else 0
    if pads:
        begin, end = pads[:rank], pads[rank:]
        if begin != end:
            yield Variant("padding", "pads at begin and end exchanged", setting("pads", end + begin))
            even = [(a + b) // 2 for a, b in zip(begin, end, strict=True)]
            rest = [a + b - half for a, b, half in zip(begin, end, even, strict=True)]
            yield Variant("padding", "pads spread evenly", setting("pads", even + rest))
        total = [a + b for a, b in zip(begin, end, strict=True)]
        for where, moved in (("end", [0] * rank + total), ("begin", total + [0] * rank)):
            if moved != pads:
                yield Variant("padding", f"all of the pads at the {where}", setting("pads", moved))
        for by in (-1, 1):
            moved = [a + by for a in begin] + [b - by for b in end]
            if min(moved) >= 0:
                yield Variant("padding", f"{abs(by)} of the pads on the other side", setting("pads", moved))
    for name in ("strides", "dilations"):
        values = ints(node, name)
        if values and len(set(values)) > 1:
            yield Variant("stride or dilation", f"{name} in the other order", setting(name, values[::-1]))
    yield from _dilated(node, pads)


def _dilated(node: ir.Node, pads: list[int] | None) -> Iterator[Variant]:
    weight = shape_of(node, 1) if node.op_type.startswith("Conv") else None
    kernel = list(weight[2:]) if weight is not None else ints(node, "kernel_shape")
    if kernel is None or node.op_type == "ConvTranspose":
        return
    rank = len(kernel)
    own = ints(node, "dilations") or [1] * rank
    pads = pads or [0] * (2 * rank)
    for factor in (1, 2, 3, 4):
        if own == [factor] * rank or all(size == 1 for size in kernel):
            continue
        wider = [(factor - old) * (size - 1) for size, old in zip(kernel, own, strict=True)]
        begin = [pad + more // 2 for pad, more in zip(pads[:rank], wider, strict=True)]
        end = [pad + more - more // 2 for pad, more in zip(pads[rank:], wider, strict=True)]
        if min(begin + end) >= 0:
            change = together(setting("dilations", [factor] * rank), setting("pads", begin + end))
            yield Variant("stride or dilation", f"dilation {factor} instead of {own}", change)


@varies("Conv ConvTranspose")
def convolution(node: ir.Node) -> Iterator[Variant]:
    """The weight in other orders, and no bias."""
    if len(node.inputs) > 2 and (bias := known_array(node, 2)) is not None:
        yield Variant("bias missing", "there is no bias", giving(2, np.zeros_like(bias)))
    pads = ints(node, "pads")
    if node.op_type == "Conv" and pads and max(pads) > 0:
        for mode, words in (("edge", "the nearest values"), ("reflect", "mirrored values")):
            yield Variant("border", f"{words} stand in the padding", _padded(pads, mode))
    weight = known_array(node, 1)
    if weight is None:
        return
    yield Variant("zeroed", "the weight is zero", giving(1, np.zeros_like(weight)))
    spatial = tuple(range(2, weight.ndim))
    if len(spatial) == 2 and weight.shape[2] == weight.shape[3] > 1:
        turned = weight.swapaxes(2, 3)
        yield Variant("transposed weight", "rows and columns of the kernel exchanged", giving(1, turned))
    if weight.shape[0] == weight.shape[1]:
        turned = weight.swapaxes(0, 1)
        yield Variant("transposed weight", "input and output channels of the weight exchanged", giving(1, turned))
    if math.prod(weight.shape[2:]) > 1:
        yield Variant("flipped weight", "the kernel mirrored", giving(1, np.flip(weight, spatial)))
    if weight.shape[1] > 1:
        yield Variant("channel order", "input channels in reverse order", giving(1, weight[:, ::-1]))
    groups = integer(node, "group", 1)
    if groups > 1 and weight.shape[0] % groups == 0:
        rest = weight.shape[1:]
        mixed = weight.reshape(groups, -1, *rest).swapaxes(0, 1).reshape(weight.shape)
        if not np.array_equal(mixed, weight):
            yield Variant("weight order", "output channels in the order of another grouping", giving(1, mixed))


def _padded(pads: Sequence[int], mode: str) -> Callable[[ir.Node], None]:
    """Padding by an operator of its own, that fills it otherwise."""
    rank = len(pads) // 2
    full = np.asarray([0, 0, *pads[:rank], 0, 0, *pads[rank:]], np.int64)

    def change(node: ir.Node) -> None:
        pad = ir.Node("", "Pad", [node.inputs[0], None], [ir.AttrString("mode", mode)], num_outputs=1)
        pad.name = pad.outputs[0].name = f"{node.name}//padded"
        giving(1, full)(pad)
        assert node.graph is not None
        node.graph.insert_before(node, pad)
        node.replace_input_with(0, pad.outputs[0])
        setting("pads", [0] * len(pads))(node)

    return change


@varies("AveragePool MaxPool GlobalAveragePool GlobalMaxPool")
def pooling(node: ir.Node) -> Iterator[Variant]:
    """What is counted, and what is taken."""
    if node.op_type == "AveragePool":
        counted = integer(node, "count_include_pad", 0)
        text = "the padding is not counted" if counted else "the padding is counted"
        yield Variant("pooling divisor", text, setting("count_include_pad", 1 - counted))
        yield Variant("pooling kind", "the maximum instead of the average", renamed("MaxPool", "count_include_pad"))
    elif node.op_type == "MaxPool" and len(node.outputs) == 1:
        for counted in (0, 1):
            change = together(renamed("AveragePool", "storage_order"), setting("count_include_pad", counted))
            yield Variant("pooling kind", "the average instead of the maximum", change)
    elif node.op_type.startswith("Global"):
        other = "GlobalMaxPool" if node.op_type == "GlobalAveragePool" else "GlobalAveragePool"
        yield Variant("pooling kind", f"{other} instead of {node.op_type}", renamed(other))


@varies("Pad")
def padding(node: ir.Node) -> Iterator[Variant]:
    """Pads exchanged, another mode."""
    pads = known_array(node, 1)
    if pads is not None and pads.ndim == 1:
        half = len(pads) // 2
        turned = np.concatenate([pads[half:], pads[:half]])
        if not np.array_equal(turned, pads):
            yield Variant("padding", "pads at begin and end exchanged", giving(1, turned))
    attribute = node.attributes.get("mode")
    own = attribute.as_string() if attribute is not None else "constant"
    for mode in ("constant", "reflect", "edge", "wrap"):
        if mode != own:
            yield Variant("border", f"mode {mode} instead of {own}", setting("mode", mode))


@varies("Resize")
def resizing(node: ir.Node) -> Iterator[Variant]:
    """Another interpolation."""
    conventions = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    roundings = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")
    for mode in ("nearest", "linear", "cubic"):
        for convention in conventions:
            for rounding in roundings if mode == "nearest" else roundings[:1]:
                settings = (setting("mode", mode), setting("coordinate_transformation_mode", convention))
                text = f"{mode}, {convention}" + (f", {rounding}" if mode == "nearest" else "")
                yield Variant("interpolation", text, together(*settings, setting("nearest_mode", rounding)))
