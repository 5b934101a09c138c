"""The coverage lists: which operators have a lowering, read from the tables themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.formats import Format
from workbench.hub import OPSET, schema_of
from workbench.hub.compositions import compositions
from workbench.hub.lower import never_replaced
from workbench.hub.replay import RESOLVERS
from workbench.lowering import Table

_INTRODUCTION = f"""\
# Coverage

Written by `make docs` from the lowering tables; do not edit. Every conversion goes through the hub, which is ONNX at
opset {OPSET}: a model of any older opset is upgraded on reading, and converting between NNEF and Core ML uses two of
these lists.

An operator that is listed can still be refused for what one node asks of it (an attribute, a shape that is only known
at run time); the plan says so for each layer, with the cause. "Composed" are operators that are said in others of the
list: by a composition of the workbench, or by the function body that ONNX defines them with; they are refused where
the target does not have what they are made of. "Resolved" are control flow, sequences and optionals: written out,
chosen or followed where what decides is known beforehand (without loops and branches in the target also where it is
not, as far as both branches, or all steps that there can be, may be computed). "Refused", as every operator that is in
no list, is what has none of that, or makes as many elements as only a run tells, where the target has no such tensors;
unless its value is known once the input shapes are fixed: then it becomes a constant, whatever it is.
"""

_FOLDED = frozenset({"Constant", "ConstantOfShape", "Shape", "Size"})
"""Operators that always become constants once the input shapes are fixed, so that no table needs them."""


def markdown(formats: Iterable[Format]) -> str:
    """The lists of the formats' tables as a Markdown page."""
    sections = [_section(title, table) for found in formats for title, table in found.tables().items()]
    return "\n".join([_INTRODUCTION, *sections])


def _section(title: str, table: Table[Any]) -> str:
    operators = sorted({_label(entry.operator, entry.domain) for entry in table})
    text = f"## {title}\n\n{len(operators)} operators: {_listed(operators)}.\n"
    if table.source == "onnx":
        known = set(operators) | _FOLDED
        resolved = sorted(set(RESOLVERS) - known)
        composed = sorted(_composed() - known - set(resolved) - never_replaced(table))
        missing = sorted(set(_onnx_operators()) - known - set(composed) - set(resolved))
        text += f"\nResolved ({len(resolved)}): {_listed(resolved)}.\n"
        text += f"\nComposed ({len(composed)}): {_listed(composed)}.\n"
        text += f"\nRefused ({len(missing)}): {_listed(missing)}.\n"
    return text


def _label(operator: str, domain: str) -> str:
    return f"{domain}.{operator}" if domain else operator


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _composed() -> set[str]:
    """The operators that have a composition, or a function body of onnx."""
    found = {_label(entry.operator, entry.domain) for entry in compositions()}
    for name in _onnx_operators():
        schema: Any = schema_of(name)
        if schema is not None and (schema.has_function or schema.has_context_dependent_function):
            found.add(name)
    return found


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
