"""The table that the lowerings to tract's own operators register in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.formats.nnef.from_onnx import TABLE as STANDARD
from workbench.formats.nnef.tract.table import Overlay
from workbench.hub import HubNode

Lowering = Callable[[HubNode, Any], Any]
TABLE: Overlay[Lowering] = Overlay(STANDARD)
