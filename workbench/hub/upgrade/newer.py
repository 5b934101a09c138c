"""Nodes of opsets above the hub's: taken where their meaning at the hub's opset is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.hub.opset import schema_of
from workbench.hub.upgrade.element_types import element_type
from workbench.lowering import Refused

if TYPE_CHECKING:
    from onnx.defs import OpSchema

SAME_MEANING: dict[str, int] = {
    "Cast": 28,
    "Celu": 28,
    "Compress": 28,
    "DepthToSpace": 28,
    "DequantizeLinear": 28,
    "Einsum": 28,
    "Mod": 28,
    "OneHot": 28,
    "Optional": 28,
    "OptionalGetElement": 28,
    "OptionalHasElement": 28,
    "QuantizeLinear": 28,
    "Range": 27,
    "ReduceLogSum": 28,
    "ReduceLogSumExp": 28,
    "ReverseSequence": 28,
    "SpaceToDepth": 28,
    "Unique": 28,
}
"""Versions above 25 that say the same as the one at 25 about the element types and attributes that both have.

Not BitShift-28: it defines shifts by the width of the type or more, which the older version leaves open.
"""

_DEFAULTS: dict[tuple[str, str], int | str] = {("Range", "stash_type"): 1, ("SpaceToDepth", "mode"): "DCR"}
"""New attributes, with the value at which the newer version says what the older one says."""


def accept_newer(node: ir.Node, schema: OpSchema, to: int) -> None:
    """Leave the node as it is, without new attributes that say nothing new.

    Raises:
        Refused: the operator does not exist at ``to``, or may mean something else there.
    """
    older = schema_of(node.op_type, opset=to)
    if older is None:
        raise Refused(f"the operator exists only from opset {schema.since_version} on", _WAY_OUT.format(to))
    if older.since_version == schema.since_version:
        return
    if SAME_MEANING.get(node.op_type) != schema.since_version:
        raise Refused(f"its version {schema.since_version} may differ from {older.since_version}", _WAY_OUT.format(to))
    for (operator, name), value in _DEFAULTS.items():
        attribute = node.attributes.get(name)
        if operator == node.op_type and attribute is not None and attribute.value == value:
            node.attributes.pop(name)
    unknown = sorted(set(node.attributes) - set(older.attributes))
    if unknown:
        raise Refused(f"the attributes {unknown} are unknown to version {older.since_version}", _WAY_OUT.format(to))
    _check_types(node, older, to)
    fmod = node.attributes.get("fmod")
    if node.op_type == "Mod" and (fmod is None or not fmod.value) and _may_be_float(node.inputs):
        raise Refused(f"version {older.since_version} has no floored remainder of floats", _WAY_OUT.format(to))


_WAY_OUT = "export the model with opset {} or older"


def _may_be_float(values: Sequence[ir.Value | None]) -> bool:
    dtypes = [element_type(value) for value in values if value is not None]
    return any(dtype is None or dtype.is_floating_point() for dtype in dtypes)


def _check_types(node: ir.Node, older: OpSchema, to: int) -> None:
    """Every input and output has an element type that the older version takes."""
    for kind, values, formals in (("input", node.inputs, older.inputs), ("output", node.outputs, older.outputs)):
        for index, value in enumerate(values):
            if value is None or not value.name or not formals:
                continue
            allowed = formals[min(index, len(formals) - 1)].types
            if isinstance(value.type, ir.SequenceType | ir.OptionalType):
                continue
            dtype = element_type(value)
            if dtype is None:
                raise Refused(f"the element type of {kind} {value.name!r} is not known", "declare it in the model")
            if f"tensor({dtype.name.lower()})" not in allowed:
                cause = f"version {older.since_version} does not take {dtype.name.lower()} for {kind} {value.name!r}"
                raise Refused(cause, _WAY_OUT.format(to))
