"""Resize: https://onnx.ai/onnx/operators/onnx__Resize.html. One axis at a time, by gathering or by a product.

Each axis is resized independently of the others in every mode that is taken here, so resizing an identity matrix along
its rows gives the matrix of the axis; onnxruntime computes it, and with it every coordinate transformation there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder, Tensor
from workbench.hub import HubNode
from workbench.hub.evaluate import evaluate
from workbench.lowering import Refused

_LARGEST = 1 << 24  # elements of a matrix


@TABLE.lowers("Resize")
def resize_19(node: HubNode, b: Builder) -> Tensor:
    """Nearest by gather, linear and cubic by a matrix for each axis."""
    x = b.tensor(node.value(0))
    mode = node.attr_string("mode")
    coordinates = node.attr_string("coordinate_transformation_mode")
    corners = coordinates == "align_corners"
    if coordinates == "tf_crop_and_resize":
        raise Refused("coordinate_transformation_mode 'tf_crop_and_resize' reads outside of the image")
    if node.attr_string("keep_aspect_ratio_policy") != "stretch":
        raise Refused("keep_aspect_ratio_policy is not 'stretch'")
    node.ignore("extrapolation_value")  # of tf_crop_and_resize
    axes = [axis % x.rank for axis in node.attr_ints("axes") or range(x.rank)]
    scales = None if node.input(2) is None else node.require_constant(2)
    if node.input(3) is not None:
        node.require_constant(3)  # repeated in the output's shape
    shape = node.shape(node.outputs[0])
    for position, axis in enumerate(axes):
        scale = None if scales is None or scales.size == 0 else float(scales.reshape(-1)[position])
        if shape[axis] == x.shape[axis] and scale in (None, 1.0):
            continue
        if scale is not None and corners and scale * x.shape[axis] != shape[axis]:
            raise Refused("corners are aligned and the scale does not give a whole extent; runtimes differ there")
        if mode == "nearest":
            positions = _resized(node, np.arange(x.shape[axis], dtype=np.float32)[None], shape[axis], scale)
            x = b.op("gather", x, b.const(positions.reshape(-1), "integer"), axis=axis)
        else:
            x = _product(b, x, axis, _matrix(node, x.shape[axis], shape[axis], scale))
    for name in ("antialias", "cubic_coeff_a", "exclude_outside", "nearest_mode"):
        node.ignore(name)  # read where the matrix is computed
    return x


def _matrix(node: HubNode, extent: int, wanted: int, scale: float | None) -> NDArray[Any]:
    """``[extent, wanted]``: column j says how the inputs make output j."""
    if extent * max(extent, wanted) > _LARGEST:
        raise Refused(f"the matrix that interpolates {extent} to {wanted} values is too large to write")
    return _resized(node, np.eye(extent, dtype=np.float32), wanted, scale)


def _resized(node: HubNode, rows: NDArray[Any], wanted: int, scale: float | None) -> NDArray[Any]:
    """The rows of ``[count, extent]`` resized as the node resizes one axis, by onnxruntime."""
    kept = [a for name, a in node.node.attributes.items() if name not in ("axes", "keep_aspect_ratio_policy")]
    data = rows.reshape(1, 1, *rows.shape)
    if scale is None:
        arrays = [data, None, None, np.asarray([1, 1, rows.shape[0], wanted], np.int64)]
    else:
        arrays = [data, None, np.asarray([1, 1, 1, scale], np.float32)]
    inputs = [None if array is None else ir.Value(name=f"i{index}") for index, array in enumerate(arrays)]
    copy = ir.Node("", "Resize", inputs, kept, outputs=[ir.Value(name="y")])
    copy.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return evaluate(copy, arrays)[0].reshape(rows.shape[0], wanted)


def _product(b: Builder, x: Tensor, axis: int, matrix: NDArray[Any]) -> Tensor:
    """The axis multiplied by the matrix."""
    if axis == x.rank - 1 and x.rank > 1:
        return b.op("matmul", x, b.with_rank(b.const(matrix), x.rank))
    if axis == x.rank - 2:
        return b.op("matmul", b.with_rank(b.const(matrix.T), x.rank), x)
    order = [*(a for a in range(x.rank) if a != axis), axis]
    moved = b.transpose(x, order)
    rows = b.reshape(moved, (int(np.prod(moved.shape[:-1])), moved.shape[-1]))
    product = b.reshape(b.op("matmul", rows, b.const(matrix)), (*moved.shape[:-1], matrix.shape[1]))
    return b.transpose(product, [order.index(a) for a in range(x.rank)])
