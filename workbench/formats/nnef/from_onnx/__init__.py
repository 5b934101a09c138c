"""The hub's operators → NNEF, by family; the lowerings register in :data:`TABLE`."""

from workbench.formats.nnef.from_onnx import (
    algebra,
    bitwise,
    einsum,
    elementwise,
    movement,
    quantization,
    recurrent,
    resize,
    scatter,
    sorting,
    window,
)
from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.tensor import Tensor

__all__ = [
    "TABLE",
    "Builder",
    "Tensor",
    "algebra",
    "bitwise",
    "einsum",
    "elementwise",
    "movement",
    "quantization",
    "recurrent",
    "resize",
    "scatter",
    "sorting",
    "window",
]
