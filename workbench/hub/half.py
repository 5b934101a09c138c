"""Float32 values in float16, and the constants that stand for "nothing may come of this" among them.

An attention mask adds a number so low that softmax makes zero of it: float32's lowest, −1e9, −1e6. In float16 they are
all infinite, and a row that is masked throughout is NaN where float32 gives equal shares. So constants far beyond
float16's range become its largest number, as their authors mean them; whatever is computed overflows as it does.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.hub import pool

if TYPE_CHECKING:
    import onnxruntime

Array = np.ndarray[Any, Any]

LARGEST = 65504.0
BEYOND = 1e6
"""From here on a finite constant is a bound, not a quantity."""
SURELY = 1e9
"""From here on a number that was calculated is one too: a mask with the scores added to it."""
_NEAR_LARGEST = 65440.0  # what is left of ±65504 after a score below 32 was added
_MAGNITUDE, _INFINITY, _NEGATIVE_INFINITY = np.uint16(0x7FFF), np.uint16(0x7C00), np.uint16(0xFC00)
"""Bits of a float16: magnitudes are ordered as integers."""


_PAIR = np.dtype(np.float16), np.dtype(np.float32)
_MANY = 1 << 12
"""From so many elements on onnxruntime converts, which has instructions for it and numpy has not: in 4 µs and a quarter
of a nanosecond each, against 1.4."""


def to_half(array: Array) -> Array:
    """The array in float16: rounded to nearest even, infinite beyond ±65504, ±65504 from ±1e6 on; infinities stay."""
    rounded = _converted(array, np.float16)
    if not _has_infinity(rounded):
        return rounded
    bounds = np.isfinite(array) & (np.abs(array) >= BEYOND)
    return np.where(bounds, np.copysign(np.float16(LARGEST), rounded), rounded)


def from_half(half: Array) -> Array:
    """The float16 array in float32."""
    return _converted(half, np.float32)


def as_half_bounds(reference: Array, half: Array, peak: float | None = None) -> Array:
    """The reference (any float) with float16's bounds in the places where both are bounds of one sign.

    Args:
        peak: the largest finite magnitude of the reference, where it is known.
    """
    if half.dtype != np.float16 or reference.dtype.kind != "f" or not half.size:
        return reference
    if peak is not None and peak < SURELY:
        return reference
    bits = half.view(np.uint16) & _MAGNITUDE  # integers, which numpy compares many times as fast as float16 numbers
    bounds = (bits >= np.asarray(_NEAR_LARGEST, np.float16).view(np.uint16)) & (bits < _INFINITY)
    if not bounds.any():
        return reference
    bounds &= np.isfinite(reference) & (np.abs(reference) >= SURELY) & (np.signbit(reference) == np.signbit(half))
    return np.where(bounds, half.astype(reference.dtype), reference)


def _has_infinity(half: Array) -> bool:
    """Whether there are infinities (or NaN) in it: as integers those are the largest of each sign."""
    if not half.size:
        return False
    return bool(half.view(np.int16).max() >= _INFINITY or half.view(np.uint16).max() >= _NEGATIVE_INFINITY)


def _converted(array: Array, dtype: type[np.floating[Any]]) -> Array:
    """Between float32 and float16."""
    if array.size >= _MANY and array.dtype in _PAIR and array.flags.c_contiguous and array.flags.aligned:
        found: Array = _conversion(array.dtype, np.dtype(dtype), pool.is_open()).run(None, {"x": array})[0]
        return found
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype)


@functools.cache
def _conversion(given: np.dtype[Any], wanted: np.dtype[Any], pooled: bool) -> onnxruntime.InferenceSession:
    """A session that converts an array of any shape, on the thread that calls it."""
    import onnx
    import onnxruntime

    source, target = map(onnx.helper.np_dtype_to_tensor_dtype, (given, wanted))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["x"], ["y"], to=target)],
        "conversion",
        [onnx.helper.make_tensor_value_info("x", source, None)],
        [onnx.helper.make_tensor_value_info("y", target, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    if pooled:
        pool.use(options)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
