"""tract's operations → ONNX, by family; the lowerings register in :data:`TABLE`, over those of the standard."""

from workbench.formats.nnef.tract.to_onnx import algebra, attention, elementwise, movement, onnx_operators, window
from workbench.formats.nnef.tract.to_onnx.engine import TractEngine
from workbench.formats.nnef.tract.to_onnx.node import TABLE

__all__ = ["TABLE", "TractEngine", "algebra", "attention", "elementwise", "movement", "onnx_operators", "window"]
