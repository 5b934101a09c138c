"""Experimental operators of early ONNX, which no schema describes any more, in today's operators.

Their definitions: https://github.com/onnx/onnx/blob/v1.4.1/docs/Operators.md (the experimental ones at its end).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.registry import retired
from workbench.hub.upgrade.site import Site


def _float(site: Site, name: str, default: float | None = None) -> float:
    value = site.take_float(name)
    return float(site.required(name, default if value is None else value))


@retired("Affine")
def affine(site: Site) -> None:
    """alpha * x + beta."""
    x = site.value(0)
    alpha, beta = _float(site, "alpha", 1.0), _float(site, "beta", 0.0)
    scaled = site.emit("Mul", [x, site.scalar_like(alpha, x, "alpha")], "scaled", like=x)
    site.become("Add", [scaled, site.scalar_like(beta, x, "beta")])


@retired("Scale")
def scale(site: Site) -> None:
    """scale * x."""
    x = site.value(0)
    site.become("Mul", [x, site.scalar_like(_float(site, "scale", 1.0), x, "scale")])


@retired("ParametricSoftplus")
def parametric_softplus(site: Site) -> None:
    """alpha * ln(exp(beta * x) + 1)."""
    x = site.value(0)
    alpha, beta = _float(site, "alpha"), _float(site, "beta")
    inner = site.emit("Mul", [x, site.scalar_like(beta, x, "beta")], "inner", like=x)
    site.become("Mul", [site.emit("Softplus", [inner], "softplus", like=x), site.scalar_like(alpha, x, "alpha")])


@retired("ScaledTanh")
def scaled_tanh(site: Site) -> None:
    """alpha * tanh(beta * x)."""
    x = site.value(0)
    alpha, beta = _float(site, "alpha"), _float(site, "beta")
    inner = site.emit("Mul", [x, site.scalar_like(beta, x, "beta")], "inner", like=x)
    site.become("Mul", [site.emit("Tanh", [inner], "tanh", like=x), site.scalar_like(alpha, x, "alpha")])


@retired("ThresholdedRelu")
def thresholded_relu(site: Site) -> None:
    """x where x > alpha, else 0: as the operator that version 10 took up."""
    site.become("ThresholdedRelu", [site.value(0)], alpha=_float(site, "alpha", 1.0))


@retired("ImageScaler")
def image_scaler(site: Site) -> None:
    """x [N, C, H, W] * scale + bias [C]."""
    x = site.value(0)
    factor = _float(site, "scale", 1.0)
    bias = site.required("bias", site.take("bias", ir.AttributeType.FLOATS))
    dtype = site.dtype(x)
    if dtype is None:
        site.refuse("the element type of the image is not known", "declare the type of the input")
    scaled = site.emit("Mul", [x, site.scalar_like(factor, x, "scale")], "scaled", like=x)
    site.become("Add", [scaled, site.constant(np.reshape(bias, (-1, 1, 1)), "bias", dtype.numpy())])


@retired("Crop")
def crop(site: Site) -> None:
    """x [N, C, H, W] without ``border`` = (left, top, right, bottom); ``scale`` = (height, width) overrides two."""
    border = site.required("border", site.take_ints("border"))
    size = site.take_ints("scale")
    if len(border) != 4 or min(border) < 0 or (size is not None and len(size) != 2):
        site.refuse(f"border {border} is not four non-negative numbers, or scale {size} not two")
    left, top, right, bottom = border
    # Where nothing is cut, the end is the largest number, since "-0" would cut everything.
    ends = [-bottom or np.iinfo(np.int64).max, -right or np.iinfo(np.int64).max]
    if size is not None:
        ends = [top + size[0], left + size[1]]
    numbers = (([top, left], "starts"), (ends, "ends"), ([2, 3], "axes"))
    site.become("Slice", [site.value(0), *(site.constant(values, role) for values, role in numbers)])
