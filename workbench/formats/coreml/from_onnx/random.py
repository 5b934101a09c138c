"""Random numbers. MIL: ``random``. The distributions are ONNX's, the sequence is whatever the runtime draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.formats.coreml.from_onnx.table import lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode

_SEQUENCE = "random numbers of the same distribution, in another sequence"
_UNSEEDED = -1


@lowers("RandomUniform", "RandomUniformLike", since=22)
def randomuniform_22(node: HubNode, t: ProgramTarget) -> Any:
    """Equally distributed over ``[low, high)``."""
    low, high = node.attr_float("low"), node.attr_float("high")
    return _drawn(node, t, "random_uniform", low=np.float32(low), high=np.float32(high))


@lowers("RandomNormal", "RandomNormalLike", since=22)
def randomnormal_22(node: HubNode, t: ProgramTarget) -> Any:
    """Normally distributed."""
    mean, scale = node.attr_float("mean"), node.attr_float("scale")
    return _drawn(node, t, "random_normal", mean=np.float32(mean), stddev=np.float32(scale))


def _drawn(node: HubNode, t: ProgramTarget, operator: str, **arguments: Any) -> Var:
    node.ignore("dtype", "shape")  # they are the output's
    node.approximate(_SEQUENCE)
    output = node.outputs[0]
    shape = node.shape(output)
    drawn = t.op(operator, shape=t.dimensions.vector(shape or (1,)), seed=_seed(node), **arguments)
    return t.cast(t.reshape(drawn, shape), "fp16" if node.dtype(output) == "float16" else "fp32")


def _seed(node: HubNode) -> int:
    """ONNX's seed is a float; MIL's is an integer, and negative for a sequence that is new every time."""
    return int(node.attr_float("seed")) if node.has("seed") else _UNSEEDED


@lowers("Multinomial", since=22)
def multinomial_22(node: HubNode, t: ProgramTarget) -> Any:
    """Classes drawn from rows of logarithms of probabilities [N, classes] → [N, samples]."""
    node.ignore("dtype")
    node.approximate(_SEQUENCE)
    count = node.attr_int("sample_size")
    drawn = t.op("random_categorical", x=t.var(node.value(0)), mode="logits", size=count, seed=_seed(node))
    return t.cast(drawn, "int32")


@lowers("Bernoulli", since=22)
def bernoulli_22(node: HubNode, t: ProgramTarget) -> Any:
    """1 where an equally distributed number lies below the probability."""
    node.ignore("dtype")
    node.approximate(_SEQUENCE)
    probability, shape = t.var(node.value(0)), node.shape(node.outputs[0])
    drawn = t.op(
        "random_uniform", shape=t.dimensions.vector(shape or (1,)), low=np.float32(0), high=np.float32(1),
        seed=_seed(node),
    )  # fmt: skip
    below = t.op("less", x=t.cast(t.reshape(drawn, shape), t.kind(probability)), y=probability)
    kind = {"float32": "fp32", "float64": "fp32", "float16": "fp16", "bool": "bool"}
    return t.cast(below, kind.get(node.dtype(node.outputs[0]), "int32"))
