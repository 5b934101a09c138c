"""Which tensors of two models that did not come from one another hold the same values.

Two exports of one network have no record of each other, other names and other layouts; what they have in common is the
numbers. Both run on one sample, and of each tensor a print is kept that a permutation of its axes permutes and nothing
else changes. Prints that agree make pairs; what a fault has changed is then found by its place
(:mod:`workbench.compare.place`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.feeds import Feeds
from workbench.compare.pairs import Matching, Pair
from workbench.compare.place import by_place
from workbench.compare.prints import Print, print_of, relation
from workbench.compare.side import Store, Walk, fragment, run_fragment
from workbench.document import Progress
from workbench.hub import Emitter
from workbench.hub.evaluate import RANDOM

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]

SEGMENT_NODES = 8
_TOLERANCES = (1e-4, 2e-2)
"""Relative distances at which prints agree: of models that calculate alike, then of those that round otherwise."""


def relate(
    found: Matching, reference: Model, target: Model, feeds: Feeds, threads: int, progress: Progress
) -> Matching:
    """Add the pairs that the numbers of one sample tell, and those that follow from their places.

    Args:
        found: the pairs that are known already (by name).
        feeds: the sample.

    Raises:
        ExecutionError: a model cannot be run.
        Cancelled: from ``progress``.
    """
    sides = [_Side(model) for model in (reference, target)]
    prints: list[dict[str, Print]] = []
    for at, (side, given) in enumerate(zip(sides, (feeds.reference, feeds.target), strict=True)):
        prints.append(side.prints(given, threads, lambda done, at=at: progress("matching", (at + done) / 2)))  # type: ignore[misc]
    outputs = {spec.name for spec in reference.outputs}, {spec.name for spec in target.outputs}
    pairs = [pair for pair in found.pairs if not _namesake(pair, prints)]
    taken = [{pair.reference for pair in pairs}, {pair.target for pair in pairs}]
    for tolerance in _TOLERANCES:
        left = [
            {name: kept for name, kept in side.items() if name not in used}
            for side, used in zip(prints, taken, strict=True)
        ]
        new = list(_agreeing(left[0], left[1], outputs, sides, tolerance))
        pairs += new
        taken[0].update(pair.reference for pair in new)
        taken[1].update(pair.target for pair in new)
    graphs = reference.graph.graph, target.graph.graph
    pairs += by_place(pairs, found, graphs, (sides[0].nodes, sides[1].nodes))
    if pairs == list(found.pairs):
        return found
    return replace(found, pairs=tuple(pairs), relation="tensors that hold the same numbers, or stand in the same place")


class _Side:
    """One model: the tensors that depend on its inputs, in topological order."""

    def __init__(self, model: Model) -> None:
        graph = model.graph.graph
        subject = f"{model.format} model {model.name!r}"
        variable: set[ir.Value | None] = set(graph.inputs)
        self.nodes: list[ir.Node] = []
        for node in graph:
            if not variable.isdisjoint(Emitter.reads(node)) and node.op_type not in RANDOM:
                variable.update(node.outputs)
                self.nodes.append(node)
        self.order = {value.name or "": at for at, node in enumerate(self.nodes) for value in node.outputs}
        self.values = {value.name: value for node in self.nodes for value in node.outputs if value.name}
        whole = Walk(model.graph, self.values, subject)
        chances = whole.downstream(RANDOM)
        self.walk = Walk(model.graph, [name for name in self.values if name not in chances], subject)

    def prints(self, feeds: Mapping[str, Any], threads: int, progress: Callable[[float], None]) -> dict[str, Print]:
        """The print of every tensor that has one."""
        found: dict[str, Print] = {}
        for name, array in self._tensors(feeds, threads, progress):
            kept = print_of(array) if name in self.values else None
            if kept is not None:
                found[name] = kept
        return found

    def _tensors(
        self, feeds: Mapping[str, Any], threads: int, progress: Callable[[float], None]
    ) -> Iterator[tuple[str, Any]]:
        walk, nodes = self.walk, self.walk.nodes
        store = Store(walk, walk.uses(), 1)
        store.keep([feeds])
        for at in range(0, len(nodes), SEGMENT_NODES):
            progress(at / len(nodes))
            segment = nodes[at : at + SEGMENT_NODES]
            outputs = [value.name for node in segment for value in node.outputs if value.name]
            runner = fragment(walk, segment, outputs, threads, inputs=store.types(segment))
            made = run_fragment(walk, segment, runner, {name: store.get(name, 0) for name in runner.inputs})
            yield from made.items()
            store.put(0, {name: made[name] for name in made if store.outlives(name, segment)})
            for node in segment:
                store.spend(walk.reads[node])


def _namesake(pair: Pair, prints: Sequence[Mapping[str, Print]]) -> bool:
    """Whether the two have no more than their name in common: their numbers differ, and agree with those of others."""
    reference, target = prints[0].get(pair.reference), prints[1].get(pair.target)
    if reference is None or target is None or relation(reference, target, _TOLERANCES[-1]) is not None:
        return False
    elsewhere = any(relation(reference, other, _TOLERANCES[0]) is not None for other in prints[1].values())
    return elsewhere or any(relation(other, target, _TOLERANCES[0]) is not None for other in prints[0].values())


def _agreeing(
    reference: Mapping[str, Print],
    target: Mapping[str, Print],
    outputs: tuple[set[str], set[str]],
    sides: Sequence[_Side],
    tolerance: float,
) -> Iterator[Pair]:
    """Pairs of tensors whose prints agree; each stands in one pair only.

    Where several hold the same values (a reshape, an activation that changed nothing), outputs go to outputs, then the
    same operator and the same order of axes count, then the place; the others are kept as rivals.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for name, kept in reference.items():
        by_size[kept.size].append(name)
    used: set[str] = set()
    names = sorted(target, key=lambda name: (name not in outputs[1], sides[1].order[name]))
    for name in names:
        kept = target[name]
        candidates = [
            (other, perm)
            for other in by_size[kept.size]
            if other not in used and (perm := relation(reference[other], kept, tolerance)) is not None
        ]
        if not candidates:
            continue

        def rank(candidate: tuple[str, tuple[int, ...]], name: str = name, kept: Print = kept) -> tuple[Any, ...]:
            other, perm = candidate
            makers = sides[0].values[other].producer(), sides[1].values[name].producer()
            same = makers[0] is not None and makers[1] is not None and makers[0].op_type == makers[1].op_type
            return (
                (other in outputs[0]) != (name in outputs[1]),
                bool(perm),
                reference[other].dims != kept.dims,
                not same,
                sides[0].order[other],
            )

        chosen, perm = min(candidates, key=rank)
        used.add(chosen)
        rivals = tuple(other for other, _ in candidates if other != chosen)
        yield Pair(chosen, name, None, perm or None, "numbers", rivals=rivals)
