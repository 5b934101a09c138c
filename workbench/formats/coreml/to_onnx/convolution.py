"""Convolution, its form with quantised weights, and its transpose.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.conv
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from workbench.document import Dim
from workbench.errors import ModelError
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.to_onnx.windows import Window, laid, onnx_pads, padding, spatial, split_total, window_of
from workbench.hub import Emitter
from workbench.lowering import Refused


@mil.lowers("conv")
def conv(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C_in, …], weight: [C_out, C_in / groups, …], bias: [C_out]; the layouts are ONNX's."""
    weight = op.value("weight")
    return _convolved(op, emit, op.value(), weight, op.optional("bias"), op.shape(weight)[2:])


def _convolved(
    op: MilOperation, emit: Emitter, x: ir.Value, weight: ir.Value, bias: ir.Value | None, kernel: Sequence[int]
) -> ir.Value:
    window = window_of(op, kernel)
    x, pads = laid(emit, x, padding(op, emit, x, window))
    return emit.op(
        "Conv", x, weight, bias, kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations,
        group=op.integer("groups", 1), pads=pads,
    )  # fmt: skip


@mil.lowers("conv_quantized")
def conv_quantized(op: MilOperation, emit: Emitter) -> ir.Value:
    """As ``conv`` with weights ``quant_scale * weight + quant_bias``; one number each, or one by output channel.

    The bias, of whole numbers as well, is added as it is: the formula is of the weights alone.
    """
    if op.text("quantization_type") != "linear":
        raise Refused(f"quantization_type = {op.text('quantization_type')!r}: no parameter has the table of values")
    bits, codes = op.integer("nbits", 8), op.known("weight")
    if not 1 <= bits <= 8:
        raise ModelError(f"the weights are quantised to {bits} bits, 1 to 8 are possible.")
    if codes is not None and codes.size and int(codes.max()) >= 2**bits:
        raise ModelError(f"a weight of {int(codes.max())} does not fit into {bits} bits.")
    x, weight, bias = op.value(), _real(emit, op.value("weight")), op.optional("bias")
    shape = op.shape(weight)
    for name, operator in (("quant_scale", "Mul"), ("quant_bias", "Add")):
        weight = emit.op(operator, weight, _by_channel(op, emit, name, shape))
    return _convolved(op, emit, x, weight, None if bias is None else _real(emit, bias), shape[2:])


def _real(emit: Emitter, value: ir.Value) -> ir.Value:
    return emit.op("Cast", value, to=ir.DataType.FLOAT.value)


def _by_channel(op: MilOperation, emit: Emitter, name: str, shape: Sequence[int]) -> ir.Value:
    """A parameter of one element, or of one for each output channel, along the first dimension of the weights."""
    value = op.value(name)
    count = math.prod(op.shape(value))
    if count not in (1, shape[0]):
        raise Refused(f"{name!r} has {count} elements: one, or one for each of the {shape[0]} channels is defined")
    return emit.op("Reshape", value, emit.const([count] + [1] * (len(shape) - 1)))


@mil.lowers("conv_transpose")
def conv_transpose(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C_in, …], weight: [C_in, C_out / groups, …]; ``output_shape`` decides where it is given."""
    x, weight = op.value(), op.value("weight")
    window = window_of(op, op.shape(weight)[2:])
    sizes = spatial(x, window)
    kind = op.text("pad_type", "valid")
    wanted = op.ints("output_shape")[2:] if op.has("output_shape") else None
    custom = op.ints("pad", [0, 0] * len(window.kernel))
    pads, extra = [], []
    for index, size in enumerate(sizes):
        given = (custom[2 * index], custom[2 * index + 1]) if kind == "custom" else (0, 0)
        found = _crop(kind, given, None if wanted is None else wanted[index], size, window, index)
        pads.append(found[0])
        extra.append(found[1])
    return emit.op(
        "ConvTranspose", x, weight, op.optional("bias"), kernel_shape=window.kernel, strides=window.strides,
        dilations=window.dilations, group=op.integer("groups", 1), pads=onnx_pads(pads), output_padding=extra,
    )  # fmt: skip


def _crop(
    kind: str, given: tuple[int, int], wanted: int | None, size: Dim, window: Window, index: int
) -> tuple[tuple[int, int], int]:
    """What is cut off before and after, and what is added behind, in one spatial dimension."""
    if kind not in ("valid", "custom", "same"):
        raise Refused(f"pad_type = {kind!r} is not supported")
    stride, extent = window.strides[index], window.extents[index]
    if kind == "same" and wanted is None:
        total = extent - stride  # the output is size * stride
    elif wanted is None:
        return given, 0
    elif not isinstance(size, int):
        raise Refused("'output_shape' with a size that is only known at run time", "fix the input shapes")
    else:
        total = (size - 1) * stride + extent - sum(given) - wanted
        if kind != "same" and total > 0:
            raise Refused(f"output_shape {wanted} is {total} less than pads and strides make")
    extra = max(-total, 0)
    if extra >= max(stride, window.dilations[index]) and extra:
        raise Refused(f"the output is {extra} elements longer than the windows reach")
    return (split_total(max(total, 0)) if kind == "same" else given), extra
