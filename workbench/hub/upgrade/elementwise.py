"""Element-by-element operators: broadcasting before opset 7, clipping bounds, casts, dropout."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Site

FLOAT_MAX = float(np.finfo(np.float32).max)


@step(
    *("Abs", "Add", "BatchNormalization", "Ceil", "Div", "Dropout", "Elu", "Exp", "Floor", "HardSigmoid"),
    *("InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal"),
    *("Relu", "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh"),
    to=6,
)
def consumed_inputs_6(site: Site) -> None:
    """``consumed_inputs`` told which buffers may be overwritten; it never had a meaning for the result."""
    site.node.attributes.pop("consumed_inputs", None)


@step("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less", to=7)
def binary_7(site: Site) -> None:
    """``broadcast=1, axis=k`` laid B's dimensions onto A's from k on; numpy's rule lays them onto the last ones."""
    broadcast, axis = site.take_int("broadcast", 0), site.take("axis", ir.AttributeType.INT)
    if broadcast and axis is not None:
        site.set_input(1, align(site, site.value(0), site.value(1), int(axis)))


@step("PRelu", to=7)
def prelu_7(site: Site) -> None:
    """A slope of rank 1 belonged to axis 1 (the channels); numpy's rule lays it onto the last axis."""
    x, slope = site.value(0), site.value(1)
    rank = site.rank(slope)
    if rank is None:
        site.refuse("the rank of the slope is not known", "declare the slope's shape in the model")
    if rank == 1 and site.dims(slope) != (1,) and site.rank(x) != 1:
        site.set_input(1, align(site, x, slope, 1))


def align(site: Site, a: ir.Value, b: ir.Value, axis: int) -> ir.Value:
    """``b`` with ones appended to its shape, so that its first dimension meets the dimension ``axis`` of ``a``."""
    rank_a, rank_b = site.rank(a), site.rank(b)
    if rank_a is None or rank_b is None:
        return _align_at_run_time(site, a, b, axis)
    start = axis + rank_a if axis < 0 else axis
    count = rank_a - start - rank_b
    if count < 0:
        if all(dim == 1 for dim in site.dims(b) or (None,)):
            return b
        site.refuse(f"B of rank {rank_b} at axis {axis} reaches beyond A of rank {rank_a}")
    if count == 0:
        return b
    axes = site.constant(range(rank_b, rank_b + count), "broadcast_axes")
    return site.emit("Unsqueeze", [b, axes], "broadcast", like=b)


def _align_at_run_time(site: Site, a: ir.Value, b: ir.Value, axis: int) -> ir.Value:
    shape_b = site.emit("Shape", [b], "shape_b")
    rank_b = site.emit("Shape", [shape_b], "rank_b")
    if axis < 0:
        room = site.constant([-axis], "room")
    else:
        rank_a = site.emit("Shape", [site.emit("Shape", [a], "shape_a")], "rank_a")
        room = site.emit("Sub", [rank_a, site.constant([axis], "axis")], "room")
    count = site.emit("Sub", [room, rank_b], "count")
    ones = site.emit("ConstantOfShape", [count], "ones", value=ir.tensor(np.ones(1, np.int64)))
    shape = site.emit("Concat", [shape_b, ones], "shape", axis=0)
    return site.emit("Reshape", [b, shape], "broadcast", like=b, allowzero=1)


@step("Clip", to=6)
def clip_6(site: Site) -> None:
    """Without a bound Clip-1 did not clip; Clip-6 would then clip at the largest float, so infinity is said instead."""
    site.node.attributes.pop("consumed_inputs", None)
    for name, limit in (("min", -np.inf), ("max", np.inf)):
        if not site.has(name):
            site.set(**{name: float(limit)})


@step("Clip", to=11)
def clip_11(site: Site) -> None:
    """The attributes ``min`` and ``max`` become inputs; the old defaults are the new ones where T is float32."""
    low, high = site.take_float("min"), site.take_float("max")
    x = site.value(0)
    is_float32 = site.dtype(x) is ir.DataType.FLOAT
    for index, role, bound, default in ((1, "min", low, -FLOAT_MAX), (2, "max", high, FLOAT_MAX)):
        if bound is None or (bound == default and is_float32):
            continue
        site.set_input(index, site.scalar_like(bound, x, role))


@step("Selu", to=6)
def selu_6(site: Site) -> None:
    """The defaults got more digits; the old ones are stated."""
    site.node.attributes.pop("consumed_inputs", None)
    if not site.has("alpha"):
        site.set(alpha=1.6732)
    if not site.has("gamma"):
        site.set(gamma=1.0507)


@step("Cast", to=6)
def cast_6(site: Site) -> None:
    """``to`` was the name of the type, and became its number."""
    name = site.take("to", ir.AttributeType.STRING)
    if name is None or name.upper() not in ir.DataType.__members__:
        site.refuse(f"the attribute 'to' is {name!r}, which is not the name of an element type")
    site.set(to=int(ir.DataType[name.upper()]))


@step("Dropout", to=7)
def dropout_7(site: Site) -> None:
    """``is_test`` went; from 7 on Dropout is the identity."""
    if not site.take_int("is_test", 0):
        site.refuse("is_test is 0, so values are dropped at random", "export the model for inference (is_test=1)")
    _drop_mask(site)


@step("Dropout", to=10)
def dropout_10(site: Site) -> None:
    """The mask became boolean."""
    _drop_mask(site)


@step("Dropout", to=12)
def dropout_12(site: Site) -> None:
    """``ratio`` becomes an input; without ``training_mode`` Dropout stays the identity."""
    _drop_mask(site)
    ratio = site.take_float("ratio")
    if ratio is not None:
        site.set_input(1, site.constant(ratio, "ratio", np.float32))


def _drop_mask(site: Site) -> None:
    if site.reads(1):
        site.refuse(
            f"the mask {site.node.outputs[1].name!r} is read, and only version 12 defines what it holds at inference",
            "remove the reader or export with opset 12 or newer",
        )
    if len(site.node.outputs) > 1:
        site.node.resize_outputs(1)


@step("Gemm", to=7)
def gemm_7(site: Site) -> None:
    """``broadcast`` went: C is always laid onto the last axes, as it was with the attribute."""
    site.node.attributes.pop("broadcast", None)


@step("Erf", to=13)
def erf_13(site: Site) -> None:
    """Integers went; they had no useful result."""
    dtype = site.dtype(site.value(0))
    if dtype is not None and not dtype.is_floating_point():
        site.refuse(f"the input is {dtype.name.lower()}, newer versions take floats only", "cast the input to float")
