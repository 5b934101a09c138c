"""The table of compositions: operators of ONNX said in other operators of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.hub.emitter import Emitter
from workbench.hub.node import HubNode
from workbench.lowering import Table

Composition = Callable[[HubNode, Emitter], Any]
"""Takes the node and an emitter; returns one value or a sequence of them. Raises ``Refused``, may approximate."""

TABLE: Table[Composition] = Table("onnx", "onnx")
composes = TABLE.lowers
CONTRIB = "com.microsoft"
"""The domain of onnxruntime's own operators."""
