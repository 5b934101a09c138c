"""Resize: https://onnx.ai/onnx/operators/onnx__Resize.html. One axis at a time, by gathering or by a product.

Each axis is resized independently of the others in every mode that is taken here, so resizing an identity matrix along
its rows gives the matrix of the axis; onnxruntime computes it, and with it every coordinate transformation there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench.formats.nnef.from_onnx.builder import TABLE, Builder
from workbench.formats.nnef.from_onnx.tensor import Tensor
from workbench.hub import HubNode
from workbench.hub.evaluate import evaluate
from workbench.lowering import Refused

_LARGEST = 1 << 24  # elements of a matrix

Region = tuple[float, float]
"""Where a crop of an axis begins and ends, the axis being 1."""


@TABLE.lowers("Resize")
def resize_19(node: HubNode, b: Builder) -> Tensor:
    """Nearest by gather, linear and cubic by a matrix for each axis."""
    x = b.tensor(node.value(0))
    mode = node.attr_string("mode")
    coordinates = node.attr_string("coordinate_transformation_mode")
    corners, crops = coordinates == "align_corners", coordinates == "tf_crop_and_resize"
    axes = [axis % x.rank for axis in node.attr_ints("axes") or range(x.rank)]
    scales = None if node.input(2) is None else node.require_constant(2)
    sizes = None if node.input(3) is None else node.require_constant(3)
    shape = node.shape(node.outputs[0])
    policy = node.attr_string("keep_aspect_ratio_policy") or "stretch"
    if policy != "stretch" and sizes is not None and sizes.size:
        scales = _kept_aspect(policy, [x.shape[axis] for axis in axes], [shape[axis] for axis in axes], sizes)
    regions = node.require_constant(1).reshape(2, -1) if crops else None
    outside = np.zeros(shape, bool)
    for position, axis in enumerate(axes):
        scale = None if scales is None or scales.size == 0 else float(scales.reshape(-1)[position])
        region = (0.0, 1.0) if regions is None else (float(regions[0, position]), float(regions[1, position]))
        if shape[axis] == x.shape[axis] and scale in (None, 1.0) and region == (0.0, 1.0):
            continue
        if scale is not None and corners and scale * x.shape[axis] != shape[axis]:
            raise Refused("corners are aligned and the scale does not give a whole extent; runtimes differ there")
        if regions is not None:
            matrix = _matrix(node, x.shape[axis], shape[axis], scale, region)
            beyond = np.isnan(
                _resized(node, np.zeros((1, x.shape[axis]), np.float32), shape[axis], scale, region, np.nan)
            )
            outside |= beyond.reshape([-1 if axis == other else 1 for other in range(x.rank)])
            x = _product(b, x, axis, matrix)
        elif mode == "nearest":
            positions = _resized(node, np.arange(x.shape[axis], dtype=np.float32)[None], shape[axis], scale)
            x = b.op("gather", x, b.const(positions.reshape(-1), "integer"), axis=axis)
        else:
            x = _product(b, x, axis, _matrix(node, x.shape[axis], shape[axis], scale))
    for name in ("antialias", "cubic_coeff_a", "exclude_outside", "nearest_mode"):
        node.ignore(name)  # read where the matrix is computed
    value = node.attr_float("extrapolation_value")
    return b.op("add", x, b.const(outside * value)) if outside.any() and value else x


def _kept_aspect(policy: str, extents: list[int], wanted: list[int], sizes: NDArray[Any]) -> NDArray[Any]:
    """One scale for all axes: the least or the greatest of those that the sizes would give.

    Raises:
        Refused: an extent is not the scaled one as it is, but rounded, which no scale says.
    """
    ratios = sizes.reshape(-1).astype(np.float32) / np.asarray(extents, np.float32)
    scale = ratios.min() if policy == "not_larger" else ratios.max()
    if [float(scale * np.float32(extent)) for extent in extents] != wanted:
        raise Refused(
            f"keep_aspect_ratio_policy={policy!r}: times {scale:g} gives no whole extents, runtimes differ there",
            "give it the scale and the extents that are meant",
        )
    return np.full(len(extents), scale, np.float32)


def _matrix(node: HubNode, extent: int, wanted: int, scale: float | None, region: Region = (0.0, 1.0)) -> NDArray[Any]:
    """``[extent, wanted]``: column j says how the inputs make output j, with zeros for what lies outside."""
    if extent * max(extent, wanted) > _LARGEST:
        raise Refused(f"the matrix that interpolates {extent} to {wanted} values is too large to write")
    return _resized(node, np.eye(extent, dtype=np.float32), wanted, scale, region)


def _resized(
    node: HubNode,
    rows: NDArray[Any],
    wanted: int,
    scale: float | None,
    region: Region = (0.0, 1.0),
    extrapolation: float = 0.0,
) -> NDArray[Any]:
    """The rows of ``[count, extent]`` resized as the node resizes one axis, by onnxruntime."""
    left_out = ("axes", "keep_aspect_ratio_policy", "extrapolation_value")
    kept = [a for name, a in node.node.attributes.items() if name not in left_out]
    kept.append(ir.AttrFloat32("extrapolation_value", extrapolation))
    data = rows.reshape(1, 1, *rows.shape)
    bounds = np.asarray([0, 0, 0, region[0], 1, 1, 1, region[1]], np.float32)
    if scale is None:
        arrays = [data, bounds, None, np.asarray([1, 1, rows.shape[0], wanted], np.int64)]
    else:
        arrays = [data, bounds, np.asarray([1, 1, 1, scale], np.float32)]
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
