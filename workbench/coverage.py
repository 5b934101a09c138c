"""The coverage lists: which operators have a lowering, read from the tables themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.formats import Format
from workbench.hub import OPSET
from workbench.lowering import Table

_INTRODUCTION = f"""\
# Coverage

Written by `make docs` from the lowering tables; do not edit. Every conversion goes through the hub, which is ONNX at
opset {OPSET}: a model of any older opset is upgraded on reading, and converting between NNEF and Core ML uses two of
these lists.

An operator that is listed can still be refused for what one node asks of it (an attribute, a shape that is only known
at run time); the plan says so for each layer, with the cause. An operator that is not listed is always refused, unless
its value is known once the input shapes are fixed: then it becomes a constant, whatever it is.
"""

_FOLDED = frozenset({"Constant", "ConstantOfShape", "Shape", "Size"})
"""Operators that always become constants once the input shapes are fixed, so that no table needs them."""


def markdown(formats: Iterable[Format]) -> str:
    """The lists of the formats' tables as a Markdown page."""
    sections = [_section(title, table) for found in formats for title, table in found.tables().items()]
    return "\n".join([_INTRODUCTION, *sections])


def _section(title: str, table: Table[Any]) -> str:
    operators = sorted({f"{entry.domain}.{entry.operator}" if entry.domain else entry.operator for entry in table})
    text = f"## {title}\n\n{len(operators)} operators: {', '.join(f'`{name}`' for name in operators)}.\n"
    if table.source == "onnx":
        missing = sorted(set(_onnx_operators()) - set(operators) - _FOLDED)
        text += f"\nNot yet ({len(missing)}): {', '.join(missing)}.\n"
    return text


def _onnx_operators() -> list[str]:
    """The default-domain operators that exist at the hub's opset."""
    import onnx

    schemas = onnx.defs.get_all_schemas_with_history()
    newest: dict[str, Any] = {}
    for schema in schemas:
        if not schema.domain and schema.since_version <= OPSET:
            kept = newest.get(schema.name)
            if kept is None or kept.since_version < schema.since_version:
                newest[schema.name] = schema
    return [name for name, schema in newest.items() if not schema.deprecated]
