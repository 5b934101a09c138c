"""ML programs → the hub: the table, its families of lowerings, and the engine that runs them."""

from workbench.formats.coreml.to_onnx import (
    activation,
    control,
    convolution,
    elementwise,
    filling,
    image,
    indexing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    shape,
    slicing,
    state,
    suppression,
)
from workbench.formats.coreml.to_onnx.constexpr import compressed
from workbench.formats.coreml.to_onnx.engine import lower_program, program_weights
from workbench.formats.coreml.to_onnx.table import mil

__all__ = ["compressed", "lower_program", "mil", "program_weights"]

FAMILIES = (
    activation,
    control,
    convolution,
    elementwise,
    filling,
    image,
    indexing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    shape,
    slicing,
    state,
    suppression,
)
"""Every family; importing it registers its lowerings."""
