"""Fourier transforms as products with constant matrices of cosines and sines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.hub.compositions.kit import Array, Kit, dims, dtype
from workbench.hub.compositions.table import composes
from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Refused


@composes("DFT", since=20)
def dft_20(node: HubNode, emit: Emitter) -> Any:
    """input [*, 1 or 2] (real, or real and imaginary) along one axis; ``dft_length`` cuts it or fills it with zeros."""
    k, x = Kit(emit), node.value(0)
    rank = len(dims(x))
    axis = int(node.constant_or(2, np.asarray(-2)).reshape(-1)[0]) % rank
    inverse, onesided = bool(node.attr_int("inverse")), bool(node.attr_int("onesided"))
    size = dims(x)[axis]
    length = node.constant_or(1, np.asarray(2 * (size - 1) if inverse and onesided else size))
    return transform(k, x, axis, int(length.reshape(-1)[0]), inverse=inverse, onesided=onesided)


def transform(k: Kit, x: ir.Value, axis: int, length: int, *, inverse: bool, onesided: bool) -> ir.Value:
    """The transform of ``x`` [*, 1 or 2] along an axis: [*, 2], or [*, 1] of an inverse that is one-sided."""
    rank, parts = len(dims(x)), dims(x)[-1]
    wide = k.moved(x, axis, rank - 2)  # [*, size, parts]
    shape = dims(wide)
    matrix = _matrix(min(shape[-2], length), parts, length, inverse=inverse, onesided=onesided)
    if shape[-2] > length:
        wide = k.take(wide, rank - 2, 0, length)
    rows = k.reshape(wide, (math.prod(shape[:-2]), matrix.shape[0]))
    made = k("MatMul", rows, matrix.astype(dtype(x)))
    results = 1 if inverse and onesided else 2
    return k.moved(k.reshape(made, (*shape[:-2], matrix.shape[1] // results, results)), rank - 2, axis)


def _matrix(size: int, parts: int, length: int, *, inverse: bool, onesided: bool) -> Array:
    """[size · parts, results]: the transform of every unit vector, computed in float64."""
    real = np.eye(size).reshape(size, 1, size)
    units: Array = np.concatenate([real, 1j * real], axis=1) if parts == 2 else real
    units = units.reshape(size * parts, size)
    if inverse and onesided:
        return np.fft.irfft(units, n=length, axis=-1)
    found = (np.fft.ifft if inverse else np.fft.fft)(units, n=length, axis=-1)
    if onesided:
        found = found[:, : length // 2 + 1]
    return np.stack([found.real, found.imag], axis=-1).reshape(size * parts, -1)


@composes("STFT", since=17)
def stft_17(node: HubNode, emit: Emitter) -> Any:
    """signal [B, L] or [B, L, 1 or 2] → [B, frames, bins, 2]: frames cut out, weighted by the window, transformed."""
    k, signal = Kit(emit), node.value(0)
    if len(dims(signal)) == 2:
        signal = k("Unsqueeze", signal, [2])
    _, size, _ = dims(signal)
    step = int(node.require_constant(1).reshape(-1)[0])
    window = node.input(2)
    length = int(node.constant_or(3, np.asarray(dims(window)[0] if window is not None else size)).reshape(-1)[0])
    if window is not None and dims(window)[0] != length:
        raise Refused(f"the window has {dims(window)[0]} elements, a frame {length}")
    places = np.arange(0, size - length + 1, step)[:, None] + np.arange(length)
    frames = k("Gather", signal, places.astype(np.int64), axis=1)
    if window is not None:
        frames = k("Mul", frames, k.reshape(window, (length, 1)))
    return transform(k, frames, 2, length, inverse=False, onesided=bool(node.attr_int("onesided")))
