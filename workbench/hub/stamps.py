"""Provenance stamps: each hub node carries the names of the source layers that it stands for."""

from __future__ import annotations

import json
from collections.abc import Iterable

import onnx_ir as ir

LAYERS = "workbench.layers"


def stamp(node: ir.Node, layers: Iterable[str]) -> None:
    """Record the source layers on the node, in place of what it carried."""
    node.metadata_props[LAYERS] = json.dumps(list(dict.fromkeys(layers)))


def layers_of(node: ir.Node) -> tuple[str, ...]:
    """The source layers recorded on the node; empty if there are none."""
    text = node.metadata_props.get(LAYERS)
    return tuple(json.loads(text)) if text else ()
