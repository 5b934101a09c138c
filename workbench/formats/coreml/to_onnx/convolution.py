"""Convolution and its transpose.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.conv
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.document import Dim
from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.formats.coreml.to_onnx.windows import Window, onnx_pads, padding, spatial, split_total, window_of
from workbench.hub import Emitter
from workbench.lowering import Refused


@mil.lowers("conv")
def conv(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C_in, …], weight: [C_out, C_in / groups, …], bias: [C_out]; the layouts are ONNX's."""
    x, weight = op.value(), op.value("weight")
    window = window_of(op, op.shape(weight)[2:])
    pads = padding(op, window, spatial(op, x))
    return emit.op(
        "Conv", x, weight, op.optional("bias"), kernel_shape=window.kernel, strides=window.strides,
        dilations=window.dilations, group=op.integer("groups", 1), pads=onnx_pads(pads),
    )  # fmt: skip


@mil.lowers("conv_transpose")
def conv_transpose(op: MilOperation, emit: Emitter) -> ir.Value:
    """x: [N, C_in, …], weight: [C_in, C_out / groups, …]; ``output_shape`` decides where it is given."""
    x, weight = op.value(), op.value("weight")
    window = window_of(op, op.shape(weight)[2:])
    sizes = spatial(op, x)
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
