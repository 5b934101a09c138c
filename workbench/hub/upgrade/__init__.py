"""The opset upgrade: a model of any opset that ONNX ever had, said exactly in the hub's, or refused."""

from workbench.hub.upgrade import (
    coercion,
    control,
    elementwise,
    normalization,
    pooling,
    recurrent,
    reduction,
    resampling,
    retired,
    shapes,
    signal,
)
from workbench.hub.upgrade.definitions import define_newer, type_bodies
from workbench.hub.upgrade.engine import upgrade

FAMILIES = (
    coercion,
    control,
    elementwise,
    normalization,
    pooling,
    recurrent,
    reduction,
    resampling,
    retired,
    shapes,
    signal,
)
"""The modules whose import registers the steps."""

__all__ = ["FAMILIES", "define_newer", "type_bodies", "upgrade"]
