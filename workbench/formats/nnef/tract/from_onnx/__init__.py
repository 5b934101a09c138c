"""The hub's operators → the tract dialect; the lowerings register in :data:`TABLE`, over those of the standard."""

from workbench.formats.nnef.tract.from_onnx import algebra, arithmetic, movement
from workbench.formats.nnef.tract.from_onnx.table import TABLE

__all__ = ["TABLE", "algebra", "arithmetic", "movement"]
