"""The one opset of the hub, and what onnx's schemas say about its operators."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx.defs import OpSchema

OPSET = 25
"""Default-domain opset of every hub graph: the newest that onnxruntime 1.32 runs, measured on onnx's own node tests.

A few operators have no kernel at their newest version up to 25 (RoiAlign, GlobalLpPool, Swish, and those that make
random numbers): such a model converts but does not run here. Above 25, QuantizeLinear and DequantizeLinear (28) have
none either.
"""

IR_VERSION = 10
"""IR version of every hub graph (the newest field we need, ``metadata_props`` of nodes, came with 10)."""


@functools.lru_cache(maxsize=4096)
def schema_of(operator: str, domain: str = "", opset: int = OPSET) -> OpSchema | None:
    """Return onnx's schema of the operator at the hub's opset; ``None`` if it has none there.

    Other domains are not upgraded: an operator that has been deprecated there is what it was before.
    """
    import onnx

    try:
        found = onnx.defs.get_schema(operator, opset, domain)
        if domain and found.deprecated:
            found = onnx.defs.get_schema(operator, found.since_version - 1, domain)
        return found
    except onnx.defs.SchemaError:
        return None


def since_version(operator: str, domain: str = "") -> int:
    """The version of the operator's definition that holds at the hub's opset; 1 for operators without a schema."""
    schema = schema_of(operator, domain)
    return schema.since_version if schema is not None and not domain else 1
