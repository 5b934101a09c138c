"""Windows and changes of resolution, where tract reads them otherwise than the standard says."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.to_onnx.node import TABLE as STANDARD
from workbench.formats.nnef.to_onnx.node import rank_of, reshape, shape_of
from workbench.formats.nnef.to_onnx.window import bias_of, transposed_convolution
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode, cast, dtype_of
from workbench.hub import Emitter
from workbench.lowering import Refused


@TABLE.lowers("deconv")
def deconv(node: TractNode, e: Emitter) -> ir.Value:
    """The filter is [output channels, input channels / groups, …], ``output_shape`` that of space alone."""
    x, filter = node.tensor("input"), node.tensor("filter")
    shape = shape_of(filter)
    groups = node.attr("groups") or shape[0]
    outer, space = shape[0] // groups, list(range(3, len(shape) + 1))
    apart = reshape(e, filter, [groups, outer, *shape[1:]])
    turned = e.op("Transpose", apart, perm=[0, 2, 1, *space])
    ready = e.op("Reshape", turned, e.const([groups * shape[1], outer, *shape[2:]]))
    wanted = node.attr("output_shape")
    whole = node.with_arguments(output_shape=[*shape_of(x)[:1], shape[0], *wanted] if wanted else [])
    return transposed_convolution(whole, e, x, ready, bias_of(node, e, shape[0]), groups)


@TABLE.lowers("max_pool", "max_pool_with_index")
def max_pool(node: TractNode, e: Emitter) -> ir.Value:
    """What lies outside of the input takes no part, whatever the border."""
    lowering = STANDARD.find(node.name)
    assert lowering is not None
    made: ir.Value = lowering(node.with_arguments(border="ignore"), e)
    return made


@TABLE.lowers("tract_core_resize", "tract_onnx_resize")
def resize(node: TractNode, e: Emitter) -> ir.Value:
    """To sizes or by scales, with ONNX's coordinates and interpolation."""
    x = node.tensor("input")
    scales = cast(e, node.tensor("scales"), "float32") if node.given("scales") else None
    sizes = None if scales is not None else node.as_integers(node.tensor("sizes"))
    known = None if scales is None else e.known(scales)
    if node.attr("coord_transformer") == "align_corners" and known is not None:
        extents = known.reshape(-1) * np.asarray(shape_of(x))
        if not np.array_equal(extents, np.floor(extents)):
            raise Refused("corners are aligned and the scale does not give a whole extent; runtimes differ there")
    own = node.name == "tract_onnx_resize"
    roi = cast(e, node.tensor("roi"), dtype_of(x)) if own and node.given("roi") else None
    extra: dict[str, Any] = {}
    if own:
        extra = {
            "cubic_coeff_a": float(node.attr("cubic_coeff_a")),
            "exclude_outside": int(node.attr("exclude_outside")),
            "antialias": int(node.attr("antialias")),
            "extrapolation_value": float(node.attr("extrapolation_value")),
        }
    return e.op(
        "Resize",
        x,
        roi,
        scales,
        sizes,
        mode=node.attr("interpolator"),
        coordinate_transformation_mode=node.attr("coord_transformer"),
        nearest_mode=node.attr("nearest_mode"),
        **extra,
    )


@TABLE.lowers("nearest_upsample", "multilinear_upsample")
def upsample(node: TractNode, e: Emitter) -> ir.Value:
    """By whole factors of the axes of space."""
    x, factor = node.tensor("input"), node.attr("factor")
    scales = np.asarray([1.0] * (rank_of(x) - len(factor)) + [float(f) for f in factor], np.float32)
    if node.name == "nearest_upsample":
        mode, coordinates = "nearest", "asymmetric"
    else:
        if node.attr("border") != "replicate":
            raise Refused(f"tract interpolates with the border 'replicate' only, not {node.attr('border')!r}")
        names = {"symmetric": "half_pixel", "asymmetric": "asymmetric", "aligned": "align_corners"}
        mode, coordinates = "linear", names[node.attr("method")]
    return e.op(
        "Resize",
        x,
        None,
        e.const(scales),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode="floor",
    )


@TABLE.lowers("tract_core_grid_sample", "tract_onnx_grid_sample")
def grid_sample(node: TractNode, e: Emitter) -> ir.Value:
    """The input at the places of a grid."""
    modes = {"bilinear": "linear", "bicubic": "cubic"}
    mode = node.attr("mode")
    return e.op(
        "GridSample",
        node.tensor("input"),
        node.tensor("grid"),
        mode=modes.get(mode, mode),
        padding_mode=node.attr("padding_mode"),
        align_corners=int(node.attr("align_corners")),
    )
