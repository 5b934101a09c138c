"""Stamps of hub nodes: the source layers that a node stands for, and what was found out when it was replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable

import onnx_ir as ir

from workbench.lowering import Refused

LAYERS = "workbench.layers"
_REFUSED = "workbench.refused"
_APPROXIMATE = "workbench.approximate"


def stamp(node: ir.Node, layers: Iterable[str]) -> None:
    """Record the source layers on the node, in place of what it carried."""
    node.metadata_props[LAYERS] = json.dumps(list(dict.fromkeys(layers)))


def layers_of(node: ir.Node) -> tuple[str, ...]:
    """The source layers recorded on the node; empty if there are none."""
    text = node.metadata_props.get(LAYERS)
    return tuple(json.loads(text)) if text else ()


def stamp_refusal(node: ir.Node, refusal: Refused) -> None:
    """Record why the node cannot be said in other operators."""
    node.metadata_props[_REFUSED] = json.dumps([refusal.cause, refusal.way_out])


def refusal_of(node: ir.Node) -> Refused | None:
    """Why the node cannot be said in other operators; ``None`` if nobody has tried in vain."""
    text = node.metadata_props.get(_REFUSED)
    return Refused(*json.loads(text)) if text else None


def stamp_approximation(node: ir.Node, bounds: Iterable[str]) -> None:
    """Record the bounds of what the node approximates."""
    node.metadata_props[_APPROXIMATE] = json.dumps(list(bounds))


def approximations_of(node: ir.Node) -> list[str]:
    """The bounds recorded on the node; empty if it is exact."""
    text = node.metadata_props.get(_APPROXIMATE)
    return list(json.loads(text)) if text else []
