"""Lengths that only a run tells, for a target that has tensors of such lengths.

Before: a specialised graph in which the sizes of what some nodes make are unknown, since the values decide them. After:
each such length is an open size (see :mod:`sizes`) with a name of its own; what follows from it is known by that.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from workbench.hub.bodies import replayed
from workbench.hub.replay import Replay, every_node
from workbench.hub.specialize import Specialized
from workbench.hub.stamps import refusal_of
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import constant_of

MEASURING = {
    **{"Range": slice(0, 3), "NonZero": slice(0, 1), "NonMaxSuppression": slice(0, 2), "Unique": slice(0, 1)},
    **{"Compress": slice(1, 2), "HannWindow": slice(0, 1), "HammingWindow": slice(0, 1), "BlackmanWindow": slice(0, 1)},
}
"""Operators whose results are as long as some inputs' values say → which inputs."""


def with_lengths(hub: Specialized) -> Specialized:
    """Give unknown lengths names; a graph whose sizes all follow from those of its inputs stays as it is."""
    known = hub.open_shapes or OpenShapes()
    if not any(_measures(node) and not _followed(node, known) for node in every_node(hub.model.graph)):
        return hub
    known.measures = True
    hub = replace(hub, open_shapes=known)
    return replayed(hub, lambda emitter: Replay(emitter, hub.control))


def _followed(node: ir.Node, known: OpenShapes) -> bool:
    """Whether the lengths are made of the sizes of the inputs, where those are open."""
    shapes = [known.shape(value) for value in node.outputs] if known.symbols else [None]
    return all(shape is not None and None not in shape for shape in shapes)


def _measures(node: ir.Node) -> bool:
    if node.op_type == "Loop":  # what is refused may be the length of a scan output, unless it holds a sequence
        given = [value for value in node.inputs if value is not None and value.name]
        collects = len(node.outputs) > len(node.inputs) - 2
        tensors = all(isinstance(value.type, ir.TensorType) for value in given)
        return refusal_of(node) is not None and collects and tensors
    deciding = MEASURING.get(node.op_type) if not node.domain else None
    return deciding is not None and any(constant_of(value) is None for value in node.inputs[deciding])
