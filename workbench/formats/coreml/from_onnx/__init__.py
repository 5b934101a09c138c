"""The hub's operators said in MIL: one module a family; each registers its lowerings in :data:`TABLE`."""

from __future__ import annotations

from workbench.formats.coreml.from_onnx import (
    activation,
    binary,
    convolution,
    indexing,
    linear,
    normalization,
    padding,
    pooling,
    quantization,
    recurrent,
    reduction,
    resizing,
    shape,
    unary,
)
from workbench.formats.coreml.from_onnx.table import TABLE

FAMILIES = (
    activation,
    binary,
    convolution,
    indexing,
    linear,
    normalization,
    padding,
    pooling,
    quantization,
    recurrent,
    reduction,
    resizing,
    shape,
    unary,
)

__all__ = ["FAMILIES", "TABLE"]
