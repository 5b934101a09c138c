"""Operators said in other operators of the hub, for every format whose own table does not have them.

One module a family; each registers its compositions in :data:`TABLE`. What onnx gives a function body for needs none
here unless the body cannot be used (it builds shapes at run time, or is larger than it needs to be).
"""

from __future__ import annotations

from workbench.hub.compositions import (
    contrib,
    distinct,
    features,
    integer,
    loss,
    movement,
    regions,
    rotary,
    sampling,
    spectrum,
    training,
)
from workbench.hub.compositions.table import TABLE

FAMILIES = (
    *(distinct, features, integer, loss, movement, regions, rotary, sampling, spectrum, training),
    *contrib.FAMILIES,
)

__all__ = ["FAMILIES", "TABLE"]
