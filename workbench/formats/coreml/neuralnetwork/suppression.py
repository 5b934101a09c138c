"""Non-maximum suppression."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, floats, network
from workbench.formats.coreml.to_onnx.suppression import Suppression, suppressed
from workbench.hub import Emitter
from workbench.lowering import Refused


def _number(layer: NetworkLayer, emit: Emitter, index: int, name: str) -> float:
    """A threshold from an input, which has to be known, or from the parameter where there is no such input."""
    if index >= len(layer.inputs):
        return layer.number(name)
    layer.ignore(name)
    known = emit.known(layer.x(index))
    if known is None:
        raise Refused(f"{name!r} is computed at run time ({layer.x(index).name!r}), a constant is needed")
    return float(known.reshape(-1)[0])


@network.lowers("NonMaximumSuppression")
def non_maximum_suppression(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Boxes [n, B, 4] (centre and size) and scores [n, B, K] → the chosen boxes, their scores, indices, counts.

    Three more inputs may be the parameters ``iouThreshold``, ``scoreThreshold`` and ``maxBoxes``.
    """
    names = ("iouThreshold", "scoreThreshold", "maxBoxes")
    overlap, score, most = (_number(layer, emit, index, name) for index, name in enumerate(names, 2))
    how = Suppression(int(most), overlap, score, layer.flag("perClassSuppression"))
    boxes, scores, indices, count = suppressed(emit, layer.x(0), layer.x(1), how)
    return [boxes, scores, floats(emit, indices), floats(emit, count)]
