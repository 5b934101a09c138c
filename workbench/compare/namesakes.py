"""Which tensors and inputs of two models go by the same name; of inputs, also which can be no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.compare.pairs import Matching, Pair, is_computed, kind_of_dtype, values_of
from workbench.hub import dims_of, dtype_name

if TYPE_CHECKING:
    from workbench.model import Model


def by_name(reference: Model, target: Model) -> Matching:
    """Nothing is recorded: the same name, kind of dtype and a shape that can be the same."""
    first, second = values_of(reference.graph), values_of(target.graph)
    pairs = [
        Pair(name, _quantised(second[name]), evidence="name", same_shape=True)
        for name, value in first.items()
        if is_computed(value) and name in second and is_computed(second[name]) and _alike(value, second[name])
    ]
    inputs = tuple(_inputs_by_name(reference, target))
    perms = _layouts(inputs, reference, target)
    return Matching(tuple(pairs), inputs, perms, {}, frozenset(), "tensors with the same names", recorded=False)


def _layouts(inputs: Sequence[tuple[str, str]], reference: Model, target: Model) -> dict[str, tuple[int, ...]]:
    """Target's inputs that have their channels at the other end → the permutation that gives the reference's."""
    specs = [{spec.name: spec for spec in model.inputs} for model in (reference, target)]
    found = {}
    for name, own in inputs:
        if name in specs[0] and own in specs[1]:
            perm = layout(specs[0][name].shape, specs[1][own].shape)
            if perm is not None:
                found[own] = perm
    return found


def layout(reference: Sequence[Any] | None, target: Sequence[Any] | None) -> tuple[int, ...] | None:
    """The permutation of the target's axes that gives the reference's, if its channels are at the other end.

    Told from the sizes, and only where they do not allow the axes to be the same, or where more of them are known to
    agree than if they were: ``[1, 3, H, W]`` and ``[1, H, W, 3]``.

    Args:
        reference: sizes of the reference's input, numbers or names; ``target``: likewise.
    """
    if reference is None or target is None or len(reference) != len(target) or not 3 <= len(target) <= 5:
        return None
    rank = len(target)
    first, last = (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)
    chosen, agreed = None, _agreeing(reference, target)
    for perm in (first, last):
        found = _agreeing(reference, [target[axis] for axis in perm])
        if found > agreed:
            chosen, agreed = perm, found
    return chosen


def _agreeing(shape: Sequence[Any], other: Sequence[Any]) -> int:
    """How many sizes are known and the same; -1 if two that are known differ."""
    known = [(a, b) for a, b in zip(shape, other, strict=True) if isinstance(a, int) and isinstance(b, int)]
    return sum(a == b for a, b in known) if all(a == b for a, b in known) else -1


def _quantised(value: ir.Value) -> str:
    """The tensor that stands for one that is quantised and nothing else: what comes back from the integers.

    Quantisers keep a tensor's name before the pair of nodes that they put behind it, and what they leave to that pair,
    a Relu that the integers' range does anyway, is missing there.
    """
    held = value
    for operator in ("QuantizeLinear", "DequantizeLinear"):
        readers = {node for node, _ in held.uses()}
        node = next(iter(readers), None)
        if len(readers) != 1 or node is None or node.op_type != operator or held.is_graph_output():
            return value.name or ""
        held = node.outputs[0]
    return held.name or ""


def _inputs_by_name(reference: Model, target: Model) -> list[tuple[str, str]]:
    """Inputs with the same name; of the others, those that only one input of the other model can be."""
    names = {spec.name for spec in target.inputs}
    found = [(spec.name, spec.name) for spec in reference.inputs if spec.name in names]
    taken = {name for name, _ in found}
    left = [value for value in reference.graph.graph.inputs if value.name not in taken]
    others = [value for value in target.graph.graph.inputs if value.name not in taken]
    for value in left:
        candidates = [other for other in others if _could_take(value, other)]
        rivals = [rival for rival in left if candidates and _could_take(rival, candidates[0])]
        if len(candidates) == len(rivals) == 1:
            found.append((value.name or "", candidates[0].name or ""))
    return found


def _could_take(value: ir.Value, other: ir.Value) -> bool:
    if kind_of_dtype(dtype_name(value.dtype)) != kind_of_dtype(dtype_name(other.dtype)):
        return False
    return _could_hold(value, other) or layout(dims_of(value), dims_of(other)) is not None


def _could_hold(value: ir.Value, other: ir.Value) -> bool:
    """Whether the shapes are the same but for dimensions of size one, as far as they are known."""
    shapes = [None if dims is None else [dim for dim in dims if dim != 1] for dims in (dims_of(value), dims_of(other))]
    if shapes[0] is None or shapes[1] is None:
        return True
    fixed = [[dim for dim in shape if isinstance(dim, int)] for shape in shapes if shape is not None]
    dynamic = any(not isinstance(dim, int) for shape in shapes if shape is not None for dim in shape)
    return dynamic or fixed[0] == fixed[1]


def _alike(value: ir.Value, other: ir.Value) -> bool:
    if kind_of_dtype(dtype_name(value.dtype)) != kind_of_dtype(dtype_name(other.dtype)):
        return False
    shape, other_shape = dims_of(value), dims_of(other)
    if shape is None or other_shape is None:
        return True
    return len(shape) == len(other_shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(shape, other_shape, strict=True)
    )
