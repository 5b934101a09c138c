"""Softmax, LogSoftmax and Hardmax before 13: the input was taken as a matrix, split at ``axis``."""

from __future__ import annotations

import math

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("Softmax", to=13)
def softmax_13(site: Site) -> None:
    """Softmax-1/-11: https://onnx.ai/onnx/operators/text_diff_Softmax_11_13.html."""
    coerced_13(site)


@step("LogSoftmax", to=13)
def logsoftmax_13(site: Site) -> None:
    """LogSoftmax-1/-11: coerced like Softmax."""
    coerced_13(site)


@step("Hardmax", to=13)
def hardmax_13(site: Site) -> None:
    """Hardmax-1/-11: coerced like Softmax; the first of equal maxima wins in the same order of elements."""
    coerced_13(site)


def coerced_13(site: Site) -> None:
    """Given: Softmax-11(x [a…, b…], axis at b), over all of b… at once.

    Result, the first that is known to fit: Softmax-13 along the one axis of b… that is not 1; Reshape to [a…, prod(b)],
    Softmax-13, Reshape back, with constant shapes; Flatten, Softmax-13, Reshape to the shape found at run time.
    """
    x = site.value(0)
    axis = site.take_int("axis", 1)
    dims = site.dims(x)
    if dims is not None:
        if not -len(dims) <= axis < len(dims):
            site.refuse(f"axis {axis} is outside the input's rank {len(dims)}")
        axis %= len(dims)
        tail = dims[axis:]
        wide = [index for index, dim in enumerate(tail) if dim != 1]
        if len(wide) <= 1:
            site.set(axis=axis + (wide[0] if wide else 0))
            return
        if all(tail):
            size = math.prod(dim for dim in tail if dim is not None)
            matrix = site.constant([0] * axis + [size], "coerced_shape")
            site.set_input(0, site.emit("Reshape", [x, matrix], "coerced", like=x))
            site.set(axis=-1)
            site.emit_after("Reshape", [site.constant([0] * axis + [dim or 0 for dim in tail], "shape")], "restored")
            return
    if axis == -1:
        site.set(axis=-1)
        return
    shape = site.emit("Shape", [x], "shape")
    site.set_input(0, site.emit("Flatten", [x], "coerced", like=x, axis=axis))
    site.set(axis=-1)
    # allowzero: a dimension of size 0 is meant literally.
    site.emit_after("Reshape", [shape], "restored", allowzero=1)
