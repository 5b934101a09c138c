"""Resize of axes whose size is open: by whole factors. MIL: ``image_resizing``.

What is sampled where then repeats from one element to the next, so that it can be said without the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import Array
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.hub.sizes import same
from workbench.lowering import Refused

_WAY_OUT = "fix the sizes with shapes={…}"


def enlarged(node: HubNode, t: ProgramTarget, x: Var, mode: str, rounding: Callable[[Array], Array]) -> Var:
    """The data with each axis enlarged by a whole factor.

    Raises:
        Refused: the factor of an axis is no whole number for every size, or the mode needs the size.
    """
    factors = _factors(node)
    transformation = node.attr_string("coordinate_transformation_mode") or "half_pixel"
    node.ignore("cubic_coeff_a", "exclude_outside", "antialias")  # of cubic interpolation, and of making smaller
    if all(factor == 1 for factor in factors):
        return t.op("identity", x=x)
    if mode == "nearest":
        return _nearest(t, x, factors, transformation, rounding)
    if mode != "linear":
        raise Refused(f"the mode {mode!r} with sizes that are open", _WAY_OUT)
    return _linear(t, x, factors, transformation)


def _factors(node: HubNode) -> list[int]:
    old, new = node.shape(node.value(0)), node.shape(node.outputs[0])
    node.constant_or(2, np.empty(0, np.float32))
    factors = []
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        factor = 1 if same(before, after) else after // before
        if not isinstance(factor, int) or factor < 1 or not same(before * factor, after):
            raise Refused(f"axis {axis} goes from the size {before} to {after}, by no whole factor", _WAY_OUT)
        factors.append(factor)
    return factors


def _shift(transformation: str, factor: int) -> Array:
    """Where the results that stand in the place of element 0 are sampled, in the source's coordinates."""
    places = np.arange(factor, dtype=np.float64)
    if transformation == "asymmetric":
        return places / factor
    if transformation in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        return (places + 0.5) / factor - 0.5
    raise Refused(f"the coordinates {transformation!r} with sizes that are open", _WAY_OUT)


def _nearest(
    t: ProgramTarget, x: Var, factors: Sequence[int], transformation: str, rounding: Callable[[Array], Array]
) -> Var:
    """Each element so many times, where that is what the coordinates and the rounding come to."""
    for axis, factor in enumerate(factors):
        if factor > 1 and rounding(_shift(transformation, factor)).any():
            raise Refused(
                f"nearest elements by {transformation!r} along axis {axis}, {factor} times as long, that are not each "
                "element so many times, with a size that is open",
                _WAY_OUT,
            )
    if t.is_float(x) and len(factors) == 4 and factors[:2] == [1, 1]:
        return t.op("upsample_nearest_neighbor", x=x, scale_factor_height=factors[2], scale_factor_width=factors[3])
    return _repeated(t, x, factors)


def _repeated(t: ProgramTarget, x: Var, factors: Sequence[int]) -> Var:
    """Axis by axis: an axis behind it, repeated, and both made one."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = t.shape(x)
            before, after = _volume(shape[: axis + 1]), _volume(shape[axis + 1 :])
            rows = t.op("tile", x=t.reshape(x, (before, 1, after)), reps=[1, factor, 1])
            t.dimensions.typed(rows, (before, factor, after))
            x = t.reshape(rows, (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :]))
    return x


def _volume(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product = product * size
    return product


def _linear(t: ProgramTarget, x: Var, factors: Sequence[int], transformation: str) -> Var:
    """MIL's ``upsample_bilinear`` has the last two of four axes, and centres or corners that are aligned."""
    if len(factors) != 4 or list(factors[:2]) != [1, 1] or not t.is_float(x):
        raise Refused("linear interpolation, with sizes that are open, of anything but floats [N, C, H, W]", _WAY_OUT)
    height, width = factors[2:]
    if transformation == "align_corners":
        aligned = True
    elif transformation in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        aligned = False
    else:
        raise Refused(f"the coordinates {transformation!r} with sizes that are open", _WAY_OUT)
    arguments: dict[str, Any] = {"scale_factor_height": height, "scale_factor_width": width}
    return t.op("upsample_bilinear", x=x, align_corners=aligned, **arguments)
