"""ML programs → the hub: the table, its families of lowerings, and the engine that runs them."""

from workbench.formats.coreml.to_onnx import (
    activation,
    control,
    convolution,
    elementwise,
    filling,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
    slicing,
)
from workbench.formats.coreml.to_onnx.constexpr import compressed
from workbench.formats.coreml.to_onnx.engine import lower_program
from workbench.formats.coreml.to_onnx.table import mil

__all__ = ["compressed", "lower_program", "mil"]

FAMILIES = (
    activation,
    control,
    convolution,
    elementwise,
    filling,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
    slicing,
)
"""Every family; importing it registers its lowerings."""
