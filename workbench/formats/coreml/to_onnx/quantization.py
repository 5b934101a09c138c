"""Quantisation at run time.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS17.quantization_ops
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter


def _parameters(op: MilOperation, emit: Emitter, dtype: str) -> tuple[ir.Value, ir.Value, int]:
    """Scale (float32), zero point (of the quantised dtype) and axis."""
    scale = op.array("scale")
    zero = op.known("zero_point")
    point = np.zeros(scale.shape, dtype=dtype) if zero is None else zero
    return emit.const(scale, "float32"), emit.const(point, dtype), op.integer("axis", 1)


@mil.lowers("quantize", since=17)
def quantize(op: MilOperation, emit: Emitter) -> ir.Value:
    """``clip(round(input / scale) + zero_point)``, ties to even."""
    op.ignore("output_dtype")  # the declared dtype of the output says the same
    x = op.value("input")
    scale, zero, axis = _parameters(op, emit, op.outputs[0].dtype)
    return emit.op("QuantizeLinear", x, scale, zero, axis=axis)


@mil.lowers("dequantize", since=17)
def dequantize(op: MilOperation, emit: Emitter) -> ir.Value:
    """``scale * (input - zero_point)``"""
    x = op.raw("input")
    scale, zero, axis = _parameters(op, emit, op.dtype("input"))
    return emit.op("DequantizeLinear", x, scale, zero, axis=axis)
