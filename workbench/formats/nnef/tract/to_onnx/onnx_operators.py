"""The registry tract_onnx: operators that tract took over from ONNX."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast
from workbench.hub import Emitter
from workbench.lowering import Refused


@TABLE.lowers("tract_onnx_lrn")
def lrn(node: TractNode, e: Emitter) -> ir.Value:
    """Local response normalisation across channels."""
    if node.attr("size") % 2 == 0:
        raise Refused(f"the window reaches over {node.attr('size')} channels, onnxruntime has odd numbers only")
    numbers: dict[str, Any] = {name: float(node.attr(name)) for name in ("alpha", "beta", "bias")}
    return e.op("LRN", node.tensor("input"), size=node.attr("size"), **numbers)


@TABLE.lowers("tract_onnx_non_zero")
def non_zero(node: TractNode, e: Emitter) -> ir.Value:
    """The coordinates of the elements that are not zero."""
    return e.op("NonZero", node.tensor("input"))


@TABLE.lowers("tract_onnx_non_max_suppression")
def non_max_suppression(node: TractNode, e: Emitter) -> ir.Value:
    """The boxes that are kept, as [batch, class, box]."""
    most = e.op("Reshape", node.as_integers(node.tensor("max_output_boxes_per_class")), e.const([1]))
    names = [name for name in ("iou_threshold", "score_threshold") if node.given(name)]
    thresholds = {name: e.op("Reshape", cast(e, node.tensor(name), "float32"), e.const([1])) for name in names}
    return e.op(
        "NonMaxSuppression",
        node.tensor("boxes"),
        node.tensor("scores"),
        most,
        thresholds.get("iou_threshold"),
        thresholds.get("score_threshold"),
        center_point_box=node.attr("center_point_box"),
    )


@TABLE.lowers("tract_onnx_multinomial", "tract_onnx_random")
def random(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: what tract draws, no other generator draws."""
    raise Refused("its numbers are random, and come from tract's own generator")


@TABLE.lowers("tract_onnx_ml_direct_lookup", "tract_onnx_ml_reverse_lookup", "tract_onnx_ml_tree_ensemble_classifier")
def machine_learning(node: TractNode, e: Emitter) -> ir.Value:
    """Refused: tables of text and trees in tract's own layout."""
    raise Refused("its tables are in a layout of tract's own", "convert the ONNX model that the file came from")
