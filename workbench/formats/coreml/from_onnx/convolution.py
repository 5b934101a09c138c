"""Conv and ConvTranspose. MIL: ``conv``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.slicing import Pick, entire, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.formats.coreml.from_onnx.windows import Windows, windows_of
from workbench.hub import HubNode
from workbench.hub.sizes import is_open
from workbench.lowering import Refused


@lowers("Conv", since=22)
def conv_22(node: HubNode, t: ProgramTarget) -> Any:
    node.ignore("kernel_shape")  # it is the weight's
    shape, weights = node.shape(node.value(0)), node.value(1)
    windows = windows_of(node, node.shape(weights)[2:], shape[2:])
    groups = node.attr_int("group")
    _check_rank(shape)
    if is_open(node.shape(weights)):
        raise Refused("computed weights of an open size", "fix the size with shapes={…}, or make them constants")
    if not node.is_constant(1) and max(windows.dilations) > 1:
        raise Refused("computed weights cannot be dilated in Core ML", "make the weights constants of the model")
    return _with_bias(node, t, _transposable=False, arguments={
        "x": t.var(node.value(0)), "weight": t.var(weights), "strides": list(windows.strides), **windows.padding,
        "dilations": list(windows.dilations), "groups": groups,
    })  # fmt: skip


def _check_rank(shape: tuple[int, ...]) -> None:
    if not 3 <= len(shape) <= 5:
        raise Refused(f"data of rank {len(shape)}, Core ML convolves ranks 3 to 5")


def _with_bias(node: HubNode, t: ProgramTarget, *, _transposable: bool, arguments: dict[str, Any]) -> Var:
    """Emit the convolution; a bias that is computed is added afterwards."""
    operator = "conv_transpose" if _transposable else "conv"
    if node.input(2) is None:
        return t.op(operator, **arguments)
    if node.is_constant(2):
        return t.op(operator, bias=t.var(node.value(2)), **arguments)
    return _add_bias(t.op(operator, **arguments), t.var(node.value(2)), t)


def _add_bias(x: Var, bias: Var, t: ProgramTarget) -> Var:
    return t.op("add", x=x, y=t.reshape(bias, (t.shape(bias)[0],) + (1,) * (len(x.shape) - 2)))


@lowers("ConvTranspose", since=22)
def convtranspose_22(node: HubNode, t: ProgramTarget) -> Any:
    """Without padding where ONNX asks for more elements than the windows reach: the rest is bias only."""
    node.ignore("kernel_shape", "output_shape", "output_padding", "auto_pad", "pads")  # read by _crops
    shape, weights = node.shape(node.value(0)), node.require_constant(1)
    _check_rank(shape)
    windows = _transposed_windows(node, weights.shape[2:])
    crops = _crops(node, windows, shape[2:])
    groups = node.attr_int("group")
    arguments = {
        "x": t.var(node.value(0)), "weight": t.var(node.value(1)), "strides": list(windows.strides),
        "dilations": list(windows.dilations), "groups": groups,
    }  # fmt: skip
    if all(amount >= 0 for pair in crops for amount in pair):
        flat = [amount for pair in crops for amount in pair]
        return _with_bias(node, t, _transposable=True, arguments={**arguments, "pad_type": "custom", "pad": flat})
    full = t.op("conv_transpose", pad_type="valid", **arguments)
    grown = [(0, 0), (0, 0), *((max(-before, 0), max(-after, 0)) for before, after in crops)]
    wide = t.op("pad", x=full, pad=np.asarray(grown, np.int32).reshape(-1), mode="constant",
                constant_val=t.scalar(0, full))  # fmt: skip
    picks = [entire(size) for size in t.shape(wide)[:2]]
    picks += [
        Pick(max(before, 0), size - max(after, 0) - max(before, 0))
        for size, (before, after) in zip(t.shape(wide)[2:], crops, strict=True)
    ]
    result = sliced(t, wide, picks)
    return result if node.input(2) is None else _add_bias(result, t.var(node.value(2)), t)


def _transposed_windows(node: HubNode, kernel: tuple[int, ...]) -> Windows:
    count = len(kernel)
    strides = node.attr_ints("strides") or (1,) * count
    dilations = node.attr_ints("dilations") or (1,) * count
    return Windows(kernel, strides, dilations, ((0, 0),) * count)


def _crops(node: HubNode, windows: Windows, spatial: tuple[int, ...]) -> list[tuple[int, int]]:
    """What is cut off the full result at each end (negative: added), from pads, output_padding and output_shape.

    The hub's inferred output shape fixes the sum; ``pads`` or ``auto_pad`` say how it is divided.
    """
    full = [
        stride * (size - 1) + (width - 1) * dilation + 1
        for size, width, stride, dilation in zip(
            spatial, windows.kernel, windows.strides, windows.dilations, strict=True
        )
    ]
    totals = [size - wanted for size, wanted in zip(full, node.shape(node.outputs[0])[2:], strict=True)]
    auto, given = node.attr_string("auto_pad"), node.attr_ints("pads")
    if auto in ("SAME_UPPER", "SAME_LOWER") or node.has("output_shape"):
        paddings = node.attr_ints("output_padding") or (0,) * len(totals)
        return [
            _divided(total + extra, extra, auto == "SAME_UPPER") for total, extra in zip(totals, paddings, strict=True)
        ]
    begins = given[: len(totals)] if given is not None and auto != "VALID" else (0,) * len(totals)
    return [(begin, total - begin) for begin, total in zip(begins, totals, strict=True)]


def _divided(total: int, extra: int, upper: bool) -> tuple[int, int]:
    """Total padding divided in two, the odd one at the end (``SAME_UPPER``) or at the beginning."""
    half = total // 2
    before = half if upper else total - half
    return before, total - before - extra
