"""Normalisations. MIL: ``normalization``, and compositions where it lacks the rank or the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused


@lowers("BatchNormalization", since=15)
def batchnormalization_15(node: HubNode, t: ProgramTarget) -> Any:
    """MIL's ``batch_norm`` has ranks 3 to 5 and constant parameters; else the same as arithmetic."""
    if node.attr_int("training_mode"):
        return _trained(node, t)
    node.ignore("momentum")  # of training
    x, epsilon = t.var(node.value(0)), node.attr_float("epsilon")
    constants = [node.constant(index) for index in range(1, 5)]
    if 3 <= len(x.shape) <= 5 and all(array is not None for array in constants):
        kind = np.float16 if t.kind(x) == "fp16" else np.float32
        names = ("gamma", "beta", "mean", "variance")
        parameters = {
            name: array.astype(kind) for name, array in zip(names, constants, strict=True) if array is not None
        }
        return t.op("batch_norm", x=x, epsilon=t.scalar(epsilon, x), **parameters)
    along = (-1,) + (1,) * max(len(x.shape) - 2, 0)
    gamma, beta, mean, variance = (_along(t, t.cast(t.var(node.value(i)), t.kind(x)), along) for i in range(1, 5))
    deviation = t.op("sqrt", x=t.op("add", x=variance, y=t.scalar(epsilon, x)))
    scaled = t.op("mul", x=t.op("real_div", x=t.op("sub", x=x, y=mean), y=deviation), y=gamma)
    return t.op("add", x=scaled, y=beta)


def _trained(node: HubNode, t: ProgramTarget) -> list[Var]:
    """Normalised by the batch's own statistics; with the running ones, moved towards these by 1 − momentum."""
    x, momentum = t.var(node.value(0)), node.attr_float("momentum")
    axes, along = [axis for axis in range(len(x.shape)) if axis != 1], (-1,) + (1,) * max(len(x.shape) - 2, 0)
    mean = t.op("reduce_mean", x=x, axes=axes, keep_dims=True)
    centred = t.op("sub", x=x, y=mean)
    variance = t.op("reduce_mean", x=t.op("mul", x=centred, y=centred), axes=axes, keep_dims=True)
    deviation = t.op("sqrt", x=t.op("add", x=variance, y=t.scalar(node.attr_float("epsilon"), x)))
    gamma, beta = (_along(t, t.cast(t.var(node.value(index)), t.kind(x)), along) for index in (1, 2))
    results = [t.op("add", x=t.op("mul", x=t.op("real_div", x=centred, y=deviation), y=gamma), y=beta)]
    for index, own in ((3, mean), (4, variance)):
        running = t.var(node.value(index))
        new = t.cast(t.reshape(own, t.shape(running)), t.kind(running))
        kept = t.op("mul", x=running, y=t.scalar(momentum, running))
        results.append(t.op("add", x=kept, y=t.op("mul", x=new, y=t.scalar(1 - momentum, running))))
    return results[: len(node.outputs)]


def _along(t: ProgramTarget, var: Var, shape: Sequence[int]) -> Var:
    return t.reshape(var, [t.shape(var)[0] if size == -1 else size for size in shape])


@lowers("InstanceNormalization", since=22)
def instancenormalization_22(node: HubNode, t: ProgramTarget) -> Any:
    x, epsilon = t.var(node.value(0)), node.attr_float("epsilon")
    gamma, beta = node.constant(1), node.constant(2)
    if 3 <= len(x.shape) <= 4 and gamma is not None and beta is not None:
        return t.op("instance_norm", x=x, gamma=gamma, beta=beta, epsilon=t.scalar(epsilon, x))
    along = (-1,) + (1,) * (len(x.shape) - 2)
    found = standardized(t, x, list(range(2, len(x.shape))), epsilon)[0]
    scaled = t.op("mul", x=found, y=_along(t, t.var(node.value(1)), along))
    return t.op("add", x=scaled, y=_along(t, t.var(node.value(2)), along))


def standardized(t: ProgramTarget, x: Var, axes: list[int], epsilon: float) -> tuple[Var, Var, Var]:
    """(x − mean) / √(variance + epsilon), the mean, and 1 / √(variance + epsilon); both with the axes kept."""
    mean = t.op("reduce_mean", x=x, axes=axes, keep_dims=True)
    centred = t.op("sub", x=x, y=mean)
    variance = t.op("reduce_mean", x=t.op("mul", x=centred, y=centred), axes=axes, keep_dims=True)
    deviation = t.op("sqrt", x=t.op("add", x=variance, y=t.scalar(epsilon, x)))
    inverse = t.op("real_div", x=t.scalar(1, x), y=deviation)
    return t.op("real_div", x=centred, y=deviation), mean, inverse


@lowers("LayerNormalization", since=17)
def layernormalization_17(node: HubNode, t: ProgramTarget) -> Any:
    x, epsilon = t.var(node.value(0)), node.attr_float("epsilon")
    _stash(node, t, x)
    axes = list(range(node.axis(), len(x.shape)))
    extra_outputs = any(value.name for value in node.outputs[1:])
    gamma, beta = node.constant(1), node.constant(2)
    if not extra_outputs and gamma is not None and (node.input(2) is None or beta is not None):
        shape = t.shape(x)[axes[0] :]
        arguments = {"gamma": _filled(gamma, shape)}
        if beta is not None:
            arguments["beta"] = _filled(beta, shape)
        if all(array is not None for array in arguments.values()):
            return t.op("layer_norm", x=x, axes=axes, epsilon=t.scalar(epsilon, x), **arguments)
    found, mean, inverse = standardized(t, x, axes, epsilon)
    result = t.op("mul", x=found, y=t.var(node.value(1)))
    if node.input(2) is not None:
        result = t.op("add", x=result, y=t.var(node.value(2)))
    return [result, mean, inverse][: len(node.outputs)]


def _stash(node: HubNode, t: ProgramTarget, x: Var) -> None:
    """The node computes in float32 whatever its data are; in float16 data Core ML would compute in float16."""
    node.ignore("stash_type")
    if t.kind(x) == "fp16":
        node.approximate("the statistics of float16 data are computed in float16 instead of float32: relative 2⁻¹¹")


def _filled(array: Any, shape: Sequence[int]) -> Any:
    """The parameter in the full shape of the normalised axes; ``None`` if it varies beyond them."""
    squeezed = array.reshape(array.shape[-len(shape) :]) if array.ndim > len(shape) and array.size == np.prod(
        array.shape[-len(shape) :]
    ) else array  # fmt: skip
    return np.ascontiguousarray(np.broadcast_to(squeezed, shape)) if squeezed.ndim <= len(shape) else None


@lowers("GroupNormalization", since=21)
def groupnormalization_21(node: HubNode, t: ProgramTarget) -> Any:
    """Each group's channels and places are laid in one row and normalised; scale and bias are the channels'."""
    x, epsilon, groups = t.var(node.value(0)), node.attr_float("epsilon"), node.attr_int("num_groups")
    _stash(node, t, x)
    shape = t.shape(x)
    rows = t.reshape(x, (shape[0], groups, math.prod(shape[1:]) // groups))
    found = t.reshape(standardized(t, rows, [2], epsilon)[0], shape)
    along = (-1,) + (1,) * (len(x.shape) - 2)
    scaled = t.op("mul", x=found, y=_along(t, t.var(node.value(1)), along))
    return t.op("add", x=scaled, y=_along(t, t.var(node.value(2)), along))


@lowers("MeanVarianceNormalization", since=13)
def meanvariancenormalization_13(node: HubNode, t: ProgramTarget) -> Any:
    x = t.var(node.value(0))
    axes = [axis % len(x.shape) for axis in node.attr_ints("axes") or (0, 2, 3)]
    return standardized(t, x, sorted(axes), 1e-9)[0]


@lowers("RMSNormalization", since=23)
def rmsnormalization_23(node: HubNode, t: ProgramTarget) -> Any:
    """x / √(mean(x²) + epsilon) · scale"""
    x, epsilon = t.var(node.value(0)), node.attr_float("epsilon")
    _stash(node, t, x)
    axes = list(range(node.axis(), len(x.shape)))
    mean = t.op("reduce_mean", x=t.op("mul", x=x, y=x), axes=axes, keep_dims=True)
    root = t.op("sqrt", x=t.op("add", x=mean, y=t.scalar(epsilon, x)))
    return t.op("mul", x=t.op("real_div", x=x, y=root), y=t.var(node.value(1)))


@lowers("LRN", since=13)
def lrn_13(node: HubNode, t: ProgramTarget) -> Any:
    """x / (bias + alpha / size · Σ x²)^beta over ``size`` neighbouring channels."""
    x, size = t.var(node.value(0)), node.attr_int("size")
    if size % 2 == 0:
        raise Refused(f"a window of {size} channels: Core ML does not say on which side an even one is longer")
    if len(x.shape) < 3:
        raise Refused(f"data of rank {len(x.shape)}, Core ML normalises rank 3 and more")
    alpha, beta, bias = (t.scalar(node.attr_float(name), x) for name in ("alpha", "beta", "bias"))
    return t.op("local_response_norm", x=x, size=size, alpha=alpha, beta=beta, k=bias)


@lowers("LpNormalization", since=22)
def lpnormalization_22(node: HubNode, t: ProgramTarget) -> Any:
    """x / ‖x‖; where the norm is 0 so is the result, as onnxruntime has it."""
    x, power, axis = t.var(node.value(0)), node.attr_int("p"), node.axis()
    operator = "reduce_l1_norm" if power == 1 else "reduce_l2_norm"
    norm = t.op(operator, x=x, axes=[axis], keep_dims=True)
    safe = t.op("select", cond=t.op("equal", x=norm, y=t.scalar(0, x)), a=t.scalar(1, x), b=norm)
    return t.op("real_div", x=x, y=safe)
