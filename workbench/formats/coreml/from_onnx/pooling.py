"""Pools. MIL: ``pool``; global pools are reductions.

ONNX and MIL round a window count up (``ceil_mode``) by different rules, and ONNX's average counts only the padding that
the node states. So a window that hangs over the end is made explicit: as padding at the end, and for an average that
counts padding as a correction by constant factors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.slicing import Pick, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.formats.coreml.from_onnx.windows import Windows, windows_of
from workbench.hub import HubNode
from workbench.hub.sizes import is_open
from workbench.lowering import Refused

_MOST_TAPS = 128
"""Positions in a window up to which a pool that MIL does not have is composed of slices."""


def _pool_windows(node: HubNode) -> tuple[Windows, Windows]:
    """The windows as the node states them, and with the end padded until the inferred size comes out."""
    shape = node.shape(node.value(0))
    if not 3 <= len(shape) <= 5:
        raise Refused(f"data of rank {len(shape)}, Core ML pools ranks 3 to 5")
    kernel = node.attr_ints("kernel_shape")
    if kernel is None or len(kernel) != len(shape) - 2:
        raise Refused(f"kernel_shape {kernel} does not fit data of rank {len(shape)}")
    stated = windows_of(node, kernel, shape[2:])
    node.ignore("ceil_mode")  # it is in the inferred output shape
    if is_open((*shape[2:], *node.shape(node.outputs[0])[2:])):
        return stated, stated  # sizes that are rounded up have no open size in the hub
    pads = []
    for axis, wanted in enumerate(node.shape(node.outputs[0])[2:]):
        reach = (kernel[axis] - 1) * stated.dilations[axis] + 1
        needed = (wanted - 1) * stated.strides[axis] + reach - shape[axis + 2]
        before = stated.pads[axis][0]
        pads.append((before, max(needed - before, 0)))
    return stated, replace(stated, pads=tuple(pads))


@lowers("MaxPool", since=22)
def maxpool_22(node: HubNode, t: ProgramTarget) -> Any:
    _, windows = _pool_windows(node)
    x = t.var(node.value(0))
    if len(node.outputs) > 1 and node.outputs[1].name:
        return _max_with_indices(x, windows, bool(node.attr_int("storage_order")), t)
    node.ignore("storage_order")  # it speaks of the indices
    if not t.is_float(x):
        if node.dtype(node.value(0)) not in ("int8", "uint8"):
            raise Refused("Core ML pools floats only", "cast to float32 in the source model")
        return t.cast(_max(t.cast(x, "fp32"), windows, t), "int32")
    return _max(x, windows, t)


def _max(x: Var, windows: Windows, t: ProgramTarget) -> Var:
    if max(windows.dilations) > 1:
        return functools.reduce(lambda a, b: t.op("maximum", x=a, y=b), _taps(x, windows, -np.inf, t))
    return _native("max_pool", x, windows, t)


def _max_with_indices(x: Var, windows: Windows, by_columns: bool, t: ProgramTarget) -> list[Var]:
    """Position by position: where the element is greater than all before, it is taken and so is its index.

    An index counts the elements of the whole tensor; by columns, those of an image stand in that order in it.
    """
    windows.require_explicit("the indices of a maximum")
    kind = t.kind(x)
    values = x if t.is_float(x) else t.cast(x, "fp32")
    shape, spatial = t.shape(x), t.shape(x)[2:]
    inside = np.arange(math.prod(spatial)).reshape(spatial[::-1] if by_columns else spatial)
    inside = inside.transpose() if by_columns else inside
    planes = np.arange(shape[0] * shape[1]).reshape(*shape[:2], *(1 for _ in spatial)) * math.prod(spatial)
    padded = np.pad(planes + inside, [(0, 0), (0, 0), *windows.pads], constant_values=-1)
    numbers = [padded[tuple(map(_slice, picks))] for picks in windows.taps(padded.shape)]
    taps = _taps(values, windows, -np.inf, t)
    best, found = taps[0], t.const(numbers[0], "indices")
    for tap, number in zip(taps[1:], numbers[1:], strict=True):
        better = t.op("greater", x=tap, y=best)
        if windows.padded:  # padding is never taken, and the first element after it always
            better = t.op("logical_or", x=better, y=t.op("less", x=found, y=np.int32(0)))
            better = t.op("logical_and", x=better, y=t.const(number >= 0, "inside"))
        found = t.op("select", cond=better, a=t.const(number, "indices"), b=found)
        best = t.op("maximum", x=best, y=tap)
    return [t.cast(best, kind), found]


def _slice(pick: Pick) -> slice:
    return slice(pick.start, pick.start + (pick.count - 1) * pick.step + 1, pick.step)


def _native(operator: str, x: Var, windows: Windows, t: ProgramTarget, **extra: Any) -> Var:
    return t.op(
        operator, x=x, kernel_sizes=list(windows.kernel), strides=list(windows.strides), **windows.padding,
        ceil_mode=False, **extra,
    )  # fmt: skip


def _taps(x: Var, windows: Windows, outside: float, t: ProgramTarget) -> list[Var]:
    """For each position in the window, the elements that stand there: strided slices of the padded data."""
    count = math.prod(windows.kernel)
    if count > _MOST_TAPS:
        raise Refused(f"a window of {count} positions that is composed of slices; those are at most {_MOST_TAPS}")
    around = np.asarray([(0, 0), (0, 0), *windows.pads], np.int32).reshape(-1)
    if windows.padded:
        x = t.op("pad", x=x, pad=around, mode="constant", constant_val=t.scalar(outside, x))
    windows.require_explicit("a window that is composed of slices")
    return [sliced(t, x, picks) for picks in windows.taps(t.shape(x))]


@lowers("AveragePool", since=22)
def averagepool_22(node: HubNode, t: ProgramTarget) -> Any:
    stated, windows = _pool_windows(node)
    included = bool(node.attr_int("count_include_pad"))
    x = t.var(node.value(0))
    if max(windows.dilations) > 1:
        total = functools.reduce(lambda a, b: t.op("add", x=a, y=b), _taps(x, windows, 0.0, t))
        counts = _counts(node, stated, windows, included)
        return t.op("mul", x=total, y=t.const((1 / counts).astype(_numpy(t, x)), "share"))
    result = _native("avg_pool", x, windows, t, exclude_padding_from_average=not included)
    if not included or windows == stated:
        return result
    factor = math.prod(windows.kernel) / _counts(node, stated, windows, included)
    if (factor == 1).all():
        return result
    return t.op("mul", x=result, y=t.const(factor.astype(_numpy(t, x)), "correction"))


def _numpy(t: ProgramTarget, x: Var) -> type[np.generic]:
    return np.float16 if t.kind(x) == "fp16" else np.float32


def _counts(node: HubNode, stated: Windows, windows: Windows, included: bool) -> np.ndarray[Any, Any]:
    """How many elements each window averages over, in the shape of the spatial output."""
    counts = []
    for axis, wanted in enumerate(node.shape(node.outputs[0])[2:]):
        size = node.shape(node.value(0))[axis + 2]
        before, after = stated.pads[axis] if included else (0, 0)
        starts = np.arange(wanted) * windows.strides[axis] - windows.pads[axis][0]
        places = starts[:, None] + np.arange(windows.kernel[axis]) * windows.dilations[axis]
        counts.append(((places >= -before) & (places < size + after)).sum(axis=1))
    return np.asarray(functools.reduce(np.multiply.outer, counts), dtype=np.float64)


@lowers("LpPool", since=22)
def lppool_22(node: HubNode, t: ProgramTarget) -> Any:
    """(Σ |x|ᵖ)^(1/p) over each window, as a sum of slices (MIL's ``l2_pool`` has p = 2 only and no dilations)."""
    _, windows = _pool_windows(node)
    power = node.attr_int("p")
    size = t.op("abs", x=t.var(node.value(0)))
    raised = size if power == 1 else t.op("pow", x=size, y=t.scalar(power, size))
    total = functools.reduce(lambda a, b: t.op("add", x=a, y=b), _taps(raised, windows, 0.0, t))
    return total if power == 1 else t.op("pow", x=total, y=t.scalar(1 / power, total))


@lowers("GlobalAveragePool", "GlobalMaxPool", since=22)
def globalpool_22(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    operator = "reduce_mean" if node.operator == "GlobalAveragePool" else "reduce_max"
    if len(x.shape) == 2:
        return t.op("identity", x=x)
    return t.op(operator, x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


@lowers("GlobalLpPool", since=22)
def globallppool_22(node: HubNode, t: ProgramTarget) -> Any:
    x, power = t.var(node.value(0)), node.attr_int("p")
    axes = list(range(2, len(x.shape)))
    if power in (1, 2):
        return t.op("reduce_l1_norm" if power == 1 else "reduce_l2_norm", x=x, axes=axes, keep_dims=True)
    raised = t.op("pow", x=t.op("abs", x=x), y=t.scalar(power, x))
    total = t.op("reduce_sum", x=raised, axes=axes, keep_dims=True)
    return t.op("pow", x=total, y=t.scalar(1 / power, x))
