"""Pad. MIL: ``tensor_operation.pad``."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.slicing import Pick, sliced
from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import is_open
from workbench.lowering import Refused

_NATIVE = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
_NUMPY = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@lowers("Pad", since=25)
def pad_25(node: HubNode, t: ProgramTarget) -> Any:
    """Negative amounts crop first, as ONNX says; the rest is padded."""
    x, rank = t.var(node.value(0)), node.rank(node.value(0))
    mode = node.attr_string("mode") or "constant"
    amounts = node.require_constant(1)
    axes = [int(axis) % rank for axis in node.constant_or(3, np.arange(rank))]
    around = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        around[axis] = (int(amounts[position]), int(amounts[position + len(axes)]))
    if mode == "constant":
        value = node.constant_or(2, np.zeros((), np.float32))
        return _constant(_crop(x, around, t), [(max(a, 0), max(b, 0)) for a, b in around], value.reshape(-1)[0], t)
    if any(amount < 0 for pair in around for amount in pair):
        raise Refused(f"negative amounts with the mode {mode!r}", "crop with Slice in the source model")
    return _copying(x, around, mode, t)


def _crop(x: Var, around: list[tuple[int, int]], t: ProgramTarget) -> Var:
    picks = [Pick(max(-a, 0), size - max(-b, 0) - max(-a, 0)) for size, (a, b) in zip(t.shape(x), around, strict=True)]
    if any(pick.count <= 0 for pick in picks):
        raise Refused("the node crops a dimension away before it pads it; Core ML has no empty tensors")
    return sliced(t, x, picks)


def _constant(x: Var, around: list[tuple[int, int]], value: Any, t: ProgramTarget) -> Var:
    if not any(amount for pair in around for amount in pair):
        return t.op("identity", x=x)
    if t.is_float(x):
        return t.op("pad", x=x, pad=_amounts(around), mode="constant", constant_val=t.scalar(float(value), x))
    for axis, pair in enumerate(around):  # MIL pads floats only; integers and booleans are put beside constants
        parts = [_filled(x, axis, size, value, t) if size else None for size in pair]
        values = [part for part in (parts[0], x, parts[1]) if part is not None]
        x = t.op("concat", values=values, axis=axis) if len(values) > 1 else x
    return x


def _filled(x: Var, axis: int, size: int, value: Any, t: ProgramTarget) -> Var:
    shape = [*t.shape(x)[:axis], size, *t.shape(x)[axis + 1 :]]
    if is_open(shape):
        return t.cast(t.filled(shape, np.int32(value)), t.kind(x))
    return t.const(np.full(shape, value, dtype=np.bool_ if t.kind(x) == "bool" else np.int32), "padding")


def _copying(x: Var, around: list[tuple[int, int]], mode: str, t: ProgramTarget) -> Var:
    """Modes that repeat elements: MIL's own where it has them, else by gathering positions along each axis."""
    if not any(amount for pair in around for amount in pair):
        return t.op("identity", x=x)
    last_two = not any(amount for pair in around[:-2] for amount in pair)
    short = all(max(pair) < size for pair, size in zip(around, t.shape(x), strict=True))
    if mode in _NATIVE and t.is_float(x) and last_two and short:
        return t.op("pad", x=x, pad=_amounts(around[-2:]), mode=_NATIVE[mode], constant_val=t.scalar(0, x))
    boolean = t.kind(x) == "bool"
    x = t.cast(x, "int32") if boolean else x
    for axis, pair in enumerate(around):
        if any(pair):
            positions = np.pad(np.arange(t.shape(x)[axis]), pair, mode=_NUMPY[mode])  # type: ignore[call-overload]
            x = t.op("gather", x=x, indices=t.const(positions, "positions"), axis=axis)
    return t.cast(x, "bool") if boolean else x


def _amounts(around: list[tuple[int, int]]) -> Any:
    return np.asarray(around, np.int32).reshape(-1)
