"""Shapes of what tract's own operations make, as far as they are written; the others are only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.formats.nnef.binding import Mismatch
from workbench.formats.nnef.graph import NnefOperation
from workbench.formats.nnef.shapes import Arguments, Several, Shape, broadcast, result_shapes, shapes_by
from workbench.formats.nnef.tract.declarations import registry_of, tract_operations

Rule = Callable[[Arguments], Any]


def tract_shapes(operation: NnefOperation, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """As :func:`workbench.formats.nnef.shapes.result_shapes`, of any operation that is written for tract."""
    rule = _topk(operation.arguments["k"]) if operation.name == "tract_core_topk" else _RULES.get(operation.name)
    if rule is None and registry_of(operation.name) is None:
        return result_shapes(operation, shapes)
    if rule is None:
        raise Mismatch(f"the shape that {operation.name} makes is not known")
    return shapes_by(rule, tract_operations()[operation.name], operation, shapes)


def _same(name: str) -> Rule:
    return lambda given: tuple(given[name])


def _reduced(given: Arguments) -> Shape:
    return tuple(1 if axis in given["axes"] else extent for axis, extent in enumerate(given["input"]))


def _topk(count: int) -> Rule:
    def rule(given: Arguments) -> Several:
        shape = list(given["input"])
        shape[given["axis"]] = count
        return Several([tuple(shape)] * 2)

    return rule


def _gather(given: Arguments) -> Shape:
    axis = given["axis"]
    return (*given["input"][:axis], *given["indices"], *given["input"][axis + 1 :])


def _gather_nd(given: Arguments) -> Shape:
    count, indices = given["indices"][-1], given["indices"][:-1]
    return (*indices, *given["input"][given["batch_dims"] + count :])


def _one_hot(given: Arguments) -> Shape:
    shape = list(given["input"])
    shape.insert(given["axis"], given["dim"])
    return tuple(shape)


def _deconv(given: Arguments) -> Shape:
    """The filter is [output channels, input channels / groups, …], ``output_shape`` that of space."""
    x, filter = given["input"], given["filter"]
    if given["output_shape"]:
        return (x[0], filter[0], *given["output_shape"])
    window = zip(x[2:], filter[2:], given["stride"], given["dilation"], given["padding"], strict=True)
    return (
        x[0],
        filter[0],
        *((i - 1) * s + (k - 1) * d + 1 - before - after for i, k, s, d, (before, after) in window),
    )


def _einsum(given: Arguments) -> Shape:
    inputs, output = given["expr"].split("->")
    extents: dict[str, int] = {}
    for names, shape in zip(inputs.split(","), given["inputs"], strict=True):
        for name, extent in zip(names, shape, strict=True):
            extents[name] = max(extents.get(name, 1), extent)
    return tuple(extents[name] for name in output)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("tract_core_cast", "tract_core_is_inf", "tract_core_trilu"), _same("input")),
    **dict.fromkeys(("tract_core_scatter_elements", "tract_core_scatter_nd"), _same("input")),
    **dict.fromkeys(
        (f"tract_core_{name}" for name in ("round_even", "erf", "silu", "is_nan", "bitnot", "log_softmax")), _same("x")
    ),
    **dict.fromkeys(
        ("tract_core_xor", "tract_core_bitand", "tract_core_bitor", "tract_core_bitxor", "tract_shl", "tract_shr"),
        lambda given: broadcast(given["x"], given["y"]),
    ),
    "tract_core_product_reduce": _reduced,
    "tract_core_argmax_reduce_last": _reduced,
    "tract_core_argmin_reduce_last": _reduced,
    "tract_core_broadcast": lambda given: tuple(given["shape"]),
    "tract_core_gather": _gather,
    "tract_core_gather_elements": _same("indices"),
    "tract_core_gather_nd": _gather_nd,
    "tract_core_one_hot": _one_hot,
    "tract_core_einsum": _einsum,
    "deconv": _deconv,
}
