"""Questions that both forms of Core ML model ask of hub values while they are lowered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.hub import Emitter, dims_of, dtype_name
from workbench.lowering import Refused


def rank_of(value: ir.Value) -> int:
    """The rank; refused if it is not known."""
    if value.shape is None:
        raise Refused(f"the rank of {value.name!r} is not known")
    return len(value.shape)


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The fixed shape; refused if a dimension is only known at run time."""
    dims = dims_of(value)
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        raise Refused(f"the shape of {value.name!r} is only known at run time", "fix the input shapes")
    return tuple(dim for dim in dims if isinstance(dim, int))


def bounded(count: int, what: str) -> int:
    """A number of elements that a lowering is about to make a constant of.

    Raises:
        LimitError: it is beyond ``folded_elements``.
    """
    limits.check("folded_elements", count, what)
    return count


def like(emit: Emitter, number: Any, value: ir.Value) -> ir.Value:
    """A constant of the value's dtype."""
    return emit.const(np.asarray(number), dtype_name(value.dtype))


def own_outputs(emit: Emitter, values: Iterable[ir.Value]) -> list[ir.Value]:
    """The values as outputs of the emitter's graph: each made in it, and none twice."""
    outputs: list[ir.Value] = []
    for value in values:
        own = value.producer() in emit.nodes and value not in outputs
        outputs.append(value if own else emit.op("Identity", value))
    return outputs


def filled_with(emit: Emitter, value: ir.Value) -> ir.Value | None:
    """The one number that a filled tensor of unknown size holds everywhere; else ``None``."""
    dims = dims_of(value)
    if dims is not None and all(isinstance(dim, int) for dim in dims):
        return None
    casts, node = [], value.producer()
    while node is not None and node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"):
        if node.op_type == "Cast":
            casts.append(node.attributes["to"].as_int())
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or node.op_type != "Expand" or node.inputs[0] is None or dims_of(node.inputs[0]) != ():
        return None
    number = node.inputs[0]
    for dtype in reversed(casts):
        number = emit.op("Cast", number, to=dtype)
    return number
