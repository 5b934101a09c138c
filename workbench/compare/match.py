"""Which tensors of two models hold the same values: told by provenance, else by name; never by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.metrics import measure
from workbench.document import Provenance, TensorLink
from workbench.hub import dims_of, dtype_name
from workbench.lowering import join_bounds

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pair:
    """A tensor of the reference and the tensor of the target that should hold the same values.

    ``reference.transpose(reference_perm)`` and ``target.transpose(target_perm)`` are equal up to the shape.

    Attributes:
        reference: name of the hub value; ``target`` likewise.
        evidence: ``"provenance"``, ``"name"``, ``"numbers"`` (they agree numerically) or ``"place"`` (the same operator
            on tensors that are paired).
        output: whether it is an output of the reference.
        same_shape: whether another shape is a mistake (a conversion may reshape inner tensors; nobody else may).
    """

    reference: str
    target: str
    reference_perm: tuple[int, ...] | None = None
    target_perm: tuple[int, ...] | None = None
    evidence: str = "provenance"
    output: bool = False
    same_shape: bool = False
    rivals: tuple[str, ...] = ()
    """Other tensors of the reference that hold the same numbers."""


@dataclass(frozen=True)
class Matching:
    """What is known of two models' relation.

    Attributes:
        pairs: matched tensors.
        inputs: (reference's input, target's input) that take the same values.
        perms: target's input → the permutation of it that gives the reference's.
        layers: target layer → the reference layers that it stands for, as far as it is recorded.
        folded: reference layers that became constants in the target.
        relation: how it is known, for people.
        approximate: reference layer → the bound that a conversion between the two has declared for it.
        recorded: whether a record of a conversion tells how the two are related.
    """

    pairs: tuple[Pair, ...]
    inputs: tuple[tuple[str, str], ...]
    perms: Mapping[str, tuple[int, ...]]
    layers: Mapping[str, tuple[str, ...]]
    folded: frozenset[str]
    relation: str
    approximate: Mapping[str, str] = field(default_factory=dict)
    recorded: bool = True


def match(reference: Model, target: Model) -> Matching:
    """Match two models: the one converted from the other, both from a third, or by the names of their tensors."""
    for relate in (_forward, _backward, _siblings):
        found = relate(reference, target)
        if found is not None:
            return flag_outputs(found, reference, target)
    return flag_outputs(_by_name(reference, target), reference, target)


def values_of(model: ir.Model) -> dict[str, ir.Value]:
    """Every named value of a hub graph: inputs, constants, what the nodes make."""
    graph = model.graph
    found = {value.name: value for value in (*graph.inputs, *graph.initializers.values()) if value.name}
    found.update({value.name: value for node in graph for value in node.outputs if value.name})
    return found


def _forward(reference: Model, target: Model) -> Matching | None:
    """The target was converted from the reference."""
    made = target.provenance
    if made is None or not _speaks_of(made, reference):
        return None
    links = _links(made, target)
    return _converted(
        [Pair(link.source, own, None, link.perm) for own, link in links.items()],
        [(spec.name, own) for own, spec in made.inputs.items()],
        {own: link.perm for own, link in links.items() if link.perm is not None},
        reference,
        target,
        layers=made.layers,
        folded=made.folded,
        relation="the target was converted from the reference",
        approximate=made.approximate,
    )


def _backward(reference: Model, target: Model) -> Matching | None:
    """The reference was converted from the target."""
    made = reference.provenance
    if made is None or not _speaks_of(made, target):
        return None
    layers: dict[str, tuple[str, ...]] = {}
    for own, sources in made.layers.items():
        for source in sources:
            layers[source] = (*layers.get(source, ()), own)
    return _converted(
        [Pair(own, link.source, link.perm, None) for own, link in _links(made, reference).items()],
        [(own, spec.name) for own, spec in made.inputs.items()],
        {
            spec.name: tuple(int(axis) for axis in np.argsort(link.perm))
            for own, spec in made.inputs.items()
            if (link := made.tensors.get(own)) is not None and link.perm is not None
        },
        reference,
        target,
        layers=layers,
        folded=(),
        relation="the reference was converted from the target",
        approximate=_own_bounds(made),
    )


def _siblings(reference: Model, target: Model) -> Matching | None:
    """Both were converted from a third model."""
    first, second = reference.provenance, target.provenance
    if first is None or second is None or first.source_format != second.source_format:
        return None
    by_source = {spec.name: own for own, spec in first.inputs.items()}
    if not by_source or set(by_source) != {spec.name for spec in second.inputs.values()}:
        return None
    sources: dict[str, list[tuple[str, TensorLink]]] = {}
    for own, link in _links(first, reference).items():
        sources.setdefault(link.source, []).append((own, link))
    pairs = [
        Pair(own, other, link.perm, other_link.perm)
        for other, other_link in _links(second, target).items()
        for own, link in sources.get(other_link.source, [])[:1]
    ]
    source_layers: dict[str, list[str]] = {}
    for own, names in first.layers.items():
        for name in names:
            source_layers.setdefault(name, []).append(own)
    layers = {
        own: tuple(dict.fromkeys(layer for name in names for layer in source_layers.get(name, ())))
        for own, names in second.layers.items()
    }
    # An input that was permuted on the way to the reference is left to the caller, who can feed both by their names.
    permuted = {own for own, link in first.tensors.items() if link.perm is not None}
    inputs = [
        (by_source[spec.name], own) for own, spec in second.inputs.items() if by_source[spec.name] not in permuted
    ]
    perms = {own: link.perm for own, link in second.tensors.items() if link.perm is not None}
    relation = f"both were converted from the {first.source_format} model {first.source_name!r}"
    bounds = _own_bounds(first, second)
    found = _converted(
        pairs, inputs, perms, reference, target, layers=layers, folded=(), relation=relation, approximate=bounds
    )
    return found if found.pairs else None


def _own_bounds(made: Provenance, *others: Provenance) -> dict[str, str]:
    """Own layer → the bounds declared, here and in other records of that source, for the layers that it stands for."""
    records = (made, *others)
    found = {
        own: join_bounds(record.approximate.get(source, "") for source in sources for record in records)
        for own, sources in made.layers.items()
    }
    return {own: bounds for own, bounds in found.items() if bounds}


def _links(made: Provenance, model: Model) -> dict[str, TensorLink]:
    """The recorded links, and those that follow from the outputs' record."""
    links = dict(made.tensors)
    for own, spec in made.outputs.items():
        links.setdefault(own, TensorLink(spec.name))
    return links


def _speaks_of(made: Provenance, source: Model) -> bool:
    """Whether the record is about this model: its file may have been renamed since, its tensors have not.

    A few names in common say nothing (two exports of one network call their inputs and outputs alike).
    """
    if made.source_format != source.format:
        return False
    own = {spec.name for spec in source.inputs}
    if {spec.name for spec in made.inputs.values()} | set(made.constants) != own:
        return False
    values = values_of(source.graph)
    names = [link.source for link in made.tensors.values()] or [spec.name for spec in made.outputs.values()]
    return 2 * sum(name in values for name in names) > len(names)


def _converted(
    pairs: list[Pair],
    inputs: list[tuple[str, str]],
    perms: Mapping[str, tuple[int, ...]],
    reference: Model,
    target: Model,
    *,
    layers: Mapping[str, tuple[str, ...]],
    folded: tuple[str, ...],
    relation: str,
    approximate: Mapping[str, str],
) -> Matching:
    first, second = values_of(reference.graph), values_of(target.graph)
    kept = {pair.target: pair for pair in pairs if _computed(pair, first, second)}
    input_perms = {own: perms[own] for _, own in inputs if own in perms}
    return Matching(
        _without_forerunners(kept, second), tuple(inputs), input_perms, layers, frozenset(folded), relation, approximate
    )


def _without_forerunners(pairs: Mapping[str, Pair], values: Mapping[str, ir.Value]) -> tuple[Pair, ...]:
    """One pair where a target holds a tensor twice in a row: the later one, which is nearer to the interface.

    A float16 program computes an output in float16 and casts it; both have the values of the source's output.
    """
    holders: dict[str, set[str]] = {}
    for pair in pairs.values():
        holders.setdefault(pair.reference, set()).add(pair.target)
    return tuple(
        pair
        for pair in pairs.values()
        if not _leads_only_to(holders[pair.reference] - {pair.target}, values[pair.target], pairs)
    )


def _leads_only_to(names: set[str], value: ir.Value, paired: Mapping[str, Pair]) -> bool:
    """Whether all that is computed from the value goes through the named tensors, and through no other paired one."""
    found, pending, seen = False, [value] if names else [], {value}
    while pending:
        current = pending.pop()
        if current.is_graph_output():
            return False
        for node in current.consumers():
            for output in node.outputs:
                if output.name in names:
                    found = True
                elif output.name in paired:
                    return False
                elif output not in seen:
                    seen.add(output)
                    pending.append(output)
    return found


def _computed(pair: Pair, first: Mapping[str, ir.Value], second: Mapping[str, ir.Value]) -> bool:
    """Whether both tensors exist and at least one of them is the work of a node."""
    reference, target = first.get(pair.reference), second.get(pair.target)
    return reference is not None and target is not None and (is_computed(reference) or is_computed(target))


def is_computed(value: ir.Value) -> bool:
    """Whether a node other than Constant makes the value."""
    node = value.producer()
    return node is not None and not (node.op_type == "Constant" and not node.domain)


def _by_name(reference: Model, target: Model) -> Matching:
    """Nothing is recorded: the same name, kind of dtype and a shape that can be the same."""
    first, second = values_of(reference.graph), values_of(target.graph)
    pairs = [
        Pair(name, _quantised(second[name]), evidence="name", same_shape=True)
        for name, value in first.items()
        if is_computed(value) and name in second and is_computed(second[name]) and _alike(value, second[name])
    ]
    inputs = tuple(_inputs_by_name(reference, target))
    return Matching(tuple(pairs), inputs, {}, {}, frozenset(), "tensors with the same names", recorded=False)


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
    return kind_of_dtype(dtype_name(value.dtype)) == kind_of_dtype(dtype_name(other.dtype)) and _could_hold(
        value, other
    )


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


def kind_of_dtype(name: str) -> str:
    """``float``, ``integer``, ``bool``, or the dtype itself."""
    for kind, prefixes in {"float": ("float", "bfloat"), "integer": ("int", "uint")}.items():
        if name.startswith(prefixes):
            return kind
    return name


def flag_outputs(found: Matching, reference: Model, target: Model) -> Matching:
    """Mark the pairs of the reference's outputs: those with an output of the target, if there are any."""
    own = {spec.name for spec in target.document.outputs}
    best = {pair.reference for pair in found.pairs if pair.target in own}
    outputs = {spec.name for spec in reference.document.outputs}
    pairs = tuple(
        replace(pair, output=pair.reference in outputs and (pair.target in own or pair.reference not in best))
        for pair in found.pairs
    )
    return replace(found, pairs=pairs)


def match_outputs(
    found: Matching,
    reference: Model,
    target: Model,
    run: Callable[[], tuple[Mapping[str, Array], Mapping[str, Array]]],
) -> Matching:
    """Match the outputs that are left, if their numbers agree: as many elements, and far nearer than any other pair.

    Args:
        run: gives the outputs of both models for one sample; called only if outputs are left on both sides.
    """
    taken = {pair.reference for pair in found.pairs}, {pair.target for pair in found.pairs}
    left = [spec.name for spec in reference.document.outputs if spec.name not in taken[0]]
    others = [spec.name for spec in target.document.outputs if spec.name not in taken[1]]
    if not left or not others:
        return found
    first, second = map(by_tensor, (reference, target), run())
    errors = {(a, b): _distance(first[a], second[b]) for a in left for b in others}
    pairs = []
    for (a, b), error in sorted(errors.items(), key=lambda item: item[1]):
        rivals = [errors[key] for key in errors if (key[0] == a) != (key[1] == b)]
        if error <= 1e-2 and all(rival > max(10 * error, 1e-9) for rival in rivals):
            pairs.append(Pair(a, b, evidence="numbers", output=True))
    relation = f"{found.relation}, outputs whose numbers agree" if pairs else found.relation
    return replace(found, pairs=(*found.pairs, *pairs), relation=relation)


def by_tensor(model: Model, results: Mapping[str, Array]) -> dict[str, Array]:
    """Results under the names that the hub has for the outputs."""
    tensors = {own: tensor for tensor, own in model.document.own_names.items()}
    return {tensors.get(name, name): array for name, array in results.items()}


def _distance(reference: Any, target: Any) -> float:
    if not (isinstance(reference, np.ndarray) and isinstance(target, np.ndarray)) or reference.size != target.size:
        return math.inf
    if reference.dtype.kind not in "biuf" or target.dtype.kind not in "biuf" or not reference.size:
        return math.inf
    found = measure(reference.reshape(-1), target.reshape(-1))
    return math.inf if found.pattern else found.relative_l2
