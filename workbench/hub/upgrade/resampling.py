"""Upsample, Resize, GridSample, RoiAlign: which input element an output element is taken from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site


@step("Upsample", to=7)
def upsample_7(site: Site) -> None:
    """Two scales for [N, C, H, W] became a list of one a dimension; "bilinear" became "linear"."""
    height = site.required("height_scale", site.take_float("height_scale"))
    width = site.required("width_scale", site.take_float("width_scale"))
    mode = site.take_string("mode", "nearest")
    site.set(scales=[1.0, 1.0, height, width], mode="linear" if mode == "bilinear" else mode)


@step("Upsample", to=9)
def upsample_9(site: Site) -> None:
    scales = site.required("scales", site.take("scales", ir.AttributeType.FLOATS))
    site.set_input(1, site.constant(list(scales), "scales", np.float32))


@step("Upsample", to=10)
def upsample_10(site: Site) -> None:
    """Upsample became Resize; its scales are at least 1, so the nearest element is always the lower one."""
    mode = _old_mode(site)
    _become_resize(site, site.value(0), site.value(1), mode, "floor")
    site.version = 11


@step("Resize", to=11)
def resize_11(site: Site) -> None:
    """Resize-10 divides the coordinate by the scale and takes, for "nearest", the lower element when it enlarges an
    axis and the upper one when it shrinks it. Axes are independent, so a mixture is an enlarging Resize before a
    shrinking one.
    """
    mode = _old_mode(site)
    x, scales = site.value(0), site.value(1)
    known = site.known(scales)
    site.version = 11
    if mode == "linear" or (known is not None and bool(np.all(known >= 1))):
        _become_resize(site, x, scales, mode, "floor")
    elif known is not None and bool(np.all(known <= 1)):
        _become_resize(site, x, scales, mode, "ceil")
    else:
        one = site.constant(1.0, "one", np.float32)
        larger = site.emit("Max", [scales, one], "enlarging_scales", like=scales)
        smaller = site.emit("Min", [scales, one], "shrinking_scales", like=scales)
        enlarged = site.emit("Resize", [x, None, larger], "enlarged", like=x, **_attributes(mode, "floor"))
        _become_resize(site, enlarged, smaller, mode, "ceil")


@step("Resize", to=13)
def resize_13(site: Site) -> None:
    """What was given as an empty tensor, to be unused, can be left out now."""
    for index in (1, 2):
        known = site.known(site.input(index))
        crops = site.node.attributes.get("coordinate_transformation_mode")
        is_roi_read = index == 1 and crops is not None and crops.value == "tf_crop_and_resize"
        if known is not None and known.size == 0 and not is_roi_read:
            site.node.replace_input_with(index, None)


def _old_mode(site: Site) -> str:
    mode = site.take_string("mode", "nearest")
    if mode not in ("nearest", "linear"):
        site.refuse(f"the mode {mode!r} is not one of 'nearest' and 'linear'")
    return mode


def _attributes(mode: str, nearest: str) -> dict[str, str]:
    shared = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    return {**shared, "nearest_mode": nearest} if mode == "nearest" else shared


def _become_resize(site: Site, x: ir.Value, scales: ir.Value, mode: str, nearest: str) -> None:
    site.become("Resize", [x, None, scales], **_attributes(mode, nearest))


@step("GridSample", to=20)
def grid_sample_20(site: Site) -> None:
    """The modes lost the names that only fit two spatial dimensions."""
    mode = site.take_string("mode", "bilinear")
    names = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}
    if mode not in names:
        site.refuse(f"the mode {mode!r} is not one of {sorted(names)}")
    site.set(mode=names[mode])


@step("RoiAlign", to=16)
def roi_align_16(site: Site) -> None:
    """The new default shifts the boxes by half a pixel; the old behaviour has its name."""
    site.set(coordinate_transformation_mode="output_half_pixel")
