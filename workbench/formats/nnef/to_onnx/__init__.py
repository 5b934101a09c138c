"""NNEF operations → ONNX, by family; the lowerings register in :data:`TABLE`."""

from workbench.formats.nnef.to_onnx import algebra, elementwise, movement, regions, window
from workbench.formats.nnef.to_onnx.engine import lower_to_hub
from workbench.formats.nnef.to_onnx.node import TABLE

__all__ = ["TABLE", "algebra", "elementwise", "lower_to_hub", "movement", "regions", "window"]
