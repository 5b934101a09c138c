"""Operators that move, cut or repeat elements: mostly attributes that became inputs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("Squeeze", to=13)
def squeeze_13(site: Site) -> None:
    axes = site.take_ints("axes")
    if axes is not None:
        site.set_input(1, site.constant(axes, "axes"))


@step("Unsqueeze", to=13)
def unsqueeze_13(site: Site) -> None:
    site.set_input(1, site.constant(site.required("axes", site.take_ints("axes")), "axes"))


@step("Reshape", to=5)
def reshape_5(site: Site) -> None:
    site.node.attributes.pop("consumed_inputs", None)
    site.set_input(1, site.constant(site.required("shape", site.take_ints("shape")), "shape"))


@step("Concat", to=4)
def concat_4(site: Site) -> None:
    """``axis`` became required; its documented default was 1."""
    if not site.has("axis"):
        site.set(axis=1)


@step("Slice", to=10)
def slice_10(site: Site) -> None:
    """Axes are always stated: left out they meant as many as there are starts, and mean all axes since Slice-10."""
    starts = site.required("starts", site.take_ints("starts"))
    ends = site.required("ends", site.take_ints("ends"))
    axes = site.take_ints("axes")
    if axes is None:
        axes = list(range(len(starts)))
    for index, role, numbers in ((1, "starts", starts), (2, "ends", ends), (3, "axes", axes)):
        site.set_input(index, site.constant(numbers, role))


@step("Split", to=2)
def split_2(site: Site) -> None:
    """The sizes could be an input of the data's type; ``axis`` had no default."""
    if not site.has("axis"):
        site.refuse("Split-1 without 'axis' has no defined axis", "state the axis in the model")
    sizes = site.input(1)
    if sizes is not None:
        known = site.known(sizes)
        if known is None:
            site.refuse(f"the sizes {sizes.name!r} are computed at run time", "make them a constant of the model")
        site.set(split=[int(size) for size in known.reshape(-1)])
    site.node.resize_inputs(1)


@step("Split", to=13)
def split_13(site: Site) -> None:
    sizes = site.take_ints("split")
    if sizes is not None:
        site.set_input(1, site.constant(sizes, "split"))


@step("Split", to=18)
def split_18(site: Site) -> None:
    """Without sizes the parts are equal, as many as there are outputs; their number has to be stated now."""
    if site.input(1) is None:
        site.set(num_outputs=len(site.node.outputs))


@step("Pad", to=2)
def pad_2(site: Site) -> None:
    site.set(pads=site.required("paddings", site.take_ints("paddings")))


@step("Pad", to=11)
def pad_11(site: Site) -> None:
    """``pads`` and ``value`` become inputs; a zero value is the default of the new input."""
    site.set_input(1, site.constant(site.required("pads", site.take_ints("pads")), "pads"))
    value = site.take_float("value")
    if value:
        site.set_input(2, site.scalar_like(value, site.value(0), "value"))


@step("Tile", to=6)
def tile_6(site: Site) -> None:
    """Given: Tile-1(x, tiles, axis), repeating along one axis. Result: Tile(x, repeats) with 1 for the other axes."""
    x, tiles, axis = site.value(0), site.value(1), site.value(2)
    one = site.constant([1], "one")
    rank = site.emit("Shape", [site.emit("Shape", [x], "shape")], "rank")
    ones = site.emit("ConstantOfShape", [rank], "ones", value=ir.tensor(np.ones(1, np.int64)))
    flat = [
        site.emit("Reshape", [site.emit("Cast", [value], f"{role}_int", to=int(ir.DataType.INT64)), one], role)
        for value, role in ((axis, "axis"), (tiles, "tiles"))
    ]
    repeats = site.emit("ScatterElements", [ones, flat[0], flat[1]], "repeats", axis=0)
    site.become("Tile", [x, repeats])


@step("TopK", to=10)
def topk_10(site: Site) -> None:
    count = site.take("k", ir.AttributeType.INT)
    site.set_input(1, site.constant([site.required("k", count)], "k"))


@step("Scatter", to=11)
def scatter_11(site: Site) -> None:
    """Scatter was renamed ScatterElements."""
    site.node.op_type = "ScatterElements"
