"""The older form of Core ML model: a list of layers over float32 tensors; its table, families and engine."""

from workbench.formats.coreml.neuralnetwork import (
    activation,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    random,
    recurrent,
    reduction,
    shape,
    slicing,
    suppression,
    volumes,
)
from workbench.formats.coreml.neuralnetwork.form import NetworkForm
from workbench.formats.coreml.neuralnetwork.table import network

__all__ = ["NetworkForm", "network"]

FAMILIES = (
    activation,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    random,
    recurrent,
    reduction,
    shape,
    slicing,
    suppression,
    volumes,
)
"""Every family; importing it registers its lowerings."""
