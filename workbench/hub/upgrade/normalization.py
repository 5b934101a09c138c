"""Normalisations: batch normalisation's modes, group normalisation's scales."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site

_TRAINING = "export the model for inference"


@step("BatchNormalization", to=7)
def batch_normalization_7(site: Site) -> None:
    """``is_test`` went: from 7 on the number of outputs tells training from inference."""
    if not site.take_int("is_test", 0):
        site.refuse("is_test is 0, so the statistics of the batch are used", _TRAINING)
    _drop_statistics(site)


@step("BatchNormalization", to=9)
def batch_normalization_9(site: Site) -> None:
    """Given: spatial=0, scale, B, mean, var [C, D1…]. Result: (X - mean) / sqrt(var + epsilon) * scale + B, in full."""
    if site.take_int("spatial", 1):
        return
    if site.original < 7:
        site.refuse("the shapes of scale and mean are not defined for spatial=0 before version 7")
    _refuse_training(site)
    epsilon = site.take_float("epsilon")
    x, scale, bias, mean, variance = (site.value(index) for index in range(5))
    centred = site.emit("Sub", [x, mean], "centred", like=x)
    small = site.scalar_like(1e-5 if epsilon is None else epsilon, variance, "epsilon")
    deviation = site.emit("Sqrt", [site.emit("Add", [variance, small], "variance", like=x)], "deviation", like=x)
    scaled = site.emit("Mul", [site.emit("Div", [centred, deviation], "normal", like=x), scale], "scaled", like=x)
    site.become("Add", [scaled, bias])
    site.version = 14


@step("BatchNormalization", to=14)
def batch_normalization_14(site: Site) -> None:
    """``training_mode`` came; before, outputs besides Y meant training, with statistics not fully defined."""
    _refuse_training(site)
    site.node.resize_outputs(1)


def _refuse_training(site: Site) -> None:
    extra = [value.name for value in site.node.outputs[1:] if value.name]
    if extra:
        site.refuse(f"the outputs {extra} put it into training mode", _TRAINING)


def _drop_statistics(site: Site) -> None:
    read = [site.node.outputs[index].name for index in range(1, len(site.node.outputs)) if site.reads(index)]
    if read:
        site.refuse(f"the outputs {read} are read, and are not filled when is_test is set", _TRAINING)
    site.node.resize_outputs(1)


@step("GroupNormalization", to=21)
def group_normalization_21(site: Site) -> None:
    """Scale and bias were given per group, and are per channel now; the old version computed in X's own precision."""
    groups = site.node.attributes.get("num_groups")
    if groups is None or groups.type is not ir.AttributeType.INT or groups.as_int() < 1:
        site.refuse("the required attribute 'num_groups' is missing or not positive")
    x = site.value(0)
    dtype = site.dtype(x)
    if dtype is None:
        site.refuse("the element type of X is not known, so neither is the precision", "declare the type of X")
    if dtype is not ir.DataType.FLOAT:
        site.set(stash_type=int(dtype))
    for index, role in ((1, "scale"), (2, "bias")):
        site.set_input(index, _per_channel(site, site.value(index), groups.as_int(), role))


def _per_channel(site: Site, value: ir.Value, groups: int, role: str) -> ir.Value:
    """[num_groups] → [C], each number repeated for the channels of its group."""
    x = site.value(0)
    dims, known = site.dims(x), site.known(value)
    channels = dims[1] if dims is not None and len(dims) > 1 else None
    if channels is not None and known is not None:
        return site.constant(np.repeat(known, channels // groups), role, known.dtype)
    all_channels = site.emit("Shape", [x], f"{role}_channels", start=1, end=2)
    count = site.emit("Div", [all_channels, site.constant([groups], f"{role}_groups")], f"{role}_repeats")
    shape = site.emit("Concat", [site.constant([groups], f"{role}_rows"), count], f"{role}_shape", axis=0)
    column = site.emit("Unsqueeze", [value, site.constant([1], f"{role}_axes")], f"{role}_column", like=value)
    rows = site.emit("Expand", [column, shape], f"{role}_expanded", like=value)
    return site.emit("Reshape", [rows, site.constant([-1], f"{role}_flat")], f"{role}_channelwise", like=value)
