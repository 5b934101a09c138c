"""The hub's operators said in MIL: one module a family; each registers its lowerings in :data:`TABLE`."""

from __future__ import annotations

from workbench.formats.coreml.from_onnx import (
    activation,
    binary,
    bitwise,
    control,
    convolution,
    einsum,
    indexing,
    linear,
    normalization,
    padding,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resizing,
    shape,
    suppression,
    unary,
)
from workbench.formats.coreml.from_onnx.table import TABLE

FAMILIES = (
    activation,
    binary,
    bitwise,
    control,
    convolution,
    einsum,
    indexing,
    linear,
    normalization,
    padding,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resizing,
    shape,
    suppression,
    unary,
)

__all__ = ["FAMILIES", "TABLE"]
