"""Which tensors of two models hold the same values, told by the records that conversions leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.compare.pairs import Matching, Pair, is_computed, values_of
from workbench.document import Provenance, TensorLink
from workbench.lowering import join_bounds

if TYPE_CHECKING:
    from workbench.model import Model


def forward(reference: Model, target: Model) -> Matching | None:
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


def backward(reference: Model, target: Model) -> Matching | None:
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


def siblings(reference: Model, target: Model) -> Matching | None:
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
    outputs = [{spec.name for spec in model.document.outputs} for model in (reference, target)]
    pairs = []
    for other, other_link in _links(second, target).items():
        # Several may hold the same values (a classifier's probabilities, and the softmax that made them).
        candidates = sorted(
            sources.get(other_link.source, []),
            key=lambda found: (found[0] != other, (found[0] in outputs[0]) != (other in outputs[1])),
        )
        pairs += [Pair(own, other, link.perm, other_link.perm) for own, link in candidates[:1]]
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
