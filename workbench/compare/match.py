"""Which tensors of two models hold the same values: told by provenance, else by name; never by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.ancestry import backward, forward, siblings
from workbench.compare.metrics import measure
from workbench.compare.namesakes import by_name
from workbench.compare.pairs import Matching, Pair, is_computed, kind_of_dtype, values_of

if TYPE_CHECKING:
    from workbench.model import Model

__all__ = [
    "Matching",
    "Pair",
    "by_tensor",
    "flag_outputs",
    "is_computed",
    "kind_of_dtype",
    "match",
    "match_outputs",
    "values_of",
]

Array = np.ndarray[Any, Any]


def match(reference: Model, target: Model) -> Matching:
    """Match two models: the one converted from the other, both from a third, or by the names of their tensors."""
    first, second = (model.provenance.pictures if model.provenance is not None else {} for model in (reference, target))
    for relate, pictures in ((forward, ({}, second)), (backward, (first, {})), (siblings, (first, second))):
        found = relate(reference, target)
        if found is not None:
            return flag_outputs(replace(found, pictures=pictures), reference, target)
    found = replace(by_name(reference, target), pictures=(first, second))
    return flag_outputs(found, reference, target)


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
