"""The table of lowerings from the hub to ML programs; the family modules register in it."""

from __future__ import annotations

from workbench.hub.lower import Lowering
from workbench.lowering import Table

TABLE: Table[Lowering] = Table("onnx", "coreml")
lowers = TABLE.lowers
