"""What follows from open sizes: shapes, and the elements of integer tensors, for every size in the range."""

from __future__ import annotations

from workbench.hub.symbolic import elements, shapes, slices, windows
from workbench.hub.symbolic.known import OpenShapes
from workbench.hub.symbolic.shapes import broadcast
from workbench.hub.symbolic.slices import bounds_of

RULES = (elements, shapes, slices, windows)
"""The modules with the rules; each registers its own."""

__all__ = ["RULES", "OpenShapes", "bounds_of", "broadcast"]
