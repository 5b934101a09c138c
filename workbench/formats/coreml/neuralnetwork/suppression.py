"""Non-maximum suppression."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, floats, integers, network
from workbench.formats.coreml.to_onnx.suppression import Suppression, check, suppressed
from workbench.hub import Emitter


def _number(layer: NetworkLayer, emit: Emitter, index: int, name: str) -> ir.Value:
    """A number from an input, or from the parameter where there is no such input; float32 [1]."""
    if index >= len(layer.inputs):
        return emit.const([layer.number(name)])
    layer.ignore(name)
    return emit.op("Reshape", layer.x(index), emit.const([1]))


def _known(emit: Emitter, value: ir.Value) -> float | None:
    known = emit.known(value)
    return None if known is None else float(known[0])


@network.lowers("NonMaximumSuppression")
def non_maximum_suppression(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Boxes [n, B, 4] (centre and size) and scores [n, B, K] → the chosen boxes, their scores, indices, counts.

    Three more inputs may be the parameters ``iouThreshold``, ``scoreThreshold`` and ``maxBoxes``.
    """
    names = ("iouThreshold", "scoreThreshold", "maxBoxes")
    overlap, score, most = (_number(layer, emit, index, name) for index, name in enumerate(names, 2))
    check(_known(emit, most), _known(emit, overlap))
    how = Suppression(integers(emit, most), overlap, score, layer.flag("perClassSuppression"))
    boxes, scores, indices, count = suppressed(emit, layer.x(0), layer.x(1), how)
    return [boxes, scores, floats(emit, indices), floats(emit, count)]
