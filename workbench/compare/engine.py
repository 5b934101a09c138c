"""Both models in lockstep: a few nodes of the target at a time, and of the reference what they are compared with.

The target runs twice. *Accumulated*: from its own inputs. *Isolated*: whatever is matched is replaced by the
reference's tensor, so a layer is fed what it should have been fed, and what differs behind it is its own doing. A
tensor is reduced to its metrics as soon as it exists and freed after its last use; a session lives for one segment. So
the memory needed is that of the tensors alive at one moment, however deep the models are and however many the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.feeds import Feeds, batches
from workbench.compare.layout import Misfit, in_place_of, side_by_side
from workbench.compare.match import Matching, Pair
from workbench.compare.metrics import Accumulator, peak_of
from workbench.compare.side import Store, Walk, fragment, maker_of, run_fragment
from workbench.document import Dim, Progress
from workbench.executors.fragment import type_of
from workbench.hub import dims_of, dtype_name
from workbench.hub.evaluate import RANDOM
from workbench.hub.half import as_half_bounds

if TYPE_CHECKING:
    from workbench.model import Model

SEGMENT_NODES = 8
SEGMENT_BYTES = 24 << 20  # of the tensors that one segment makes; beyond, segments get shorter
GROUP_BYTES = 48 << 20  # of the tensors alive between segments; the samples that fit go through together
GROUP_SAMPLES = 64


@dataclass
class Found:
    """What the engine found out about one pair: a run with its metrics, or why there are none."""

    pair: Pair
    accumulated: Accumulator = field(default_factory=Accumulator)
    isolated: Accumulator = field(default_factory=Accumulator)
    misfit: str = ""
    """Why the tensors cannot be compared at all; ``isolated_misfit`` likewise for the isolated run."""
    isolated_misfit: str = ""
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    random: str = ""
    """The node whose random numbers the tensor depends on; no two runs share them."""


class Engine:
    """Walks two matched models on some samples.

    Args:
        matching: the pairs to compare; the order of their targets in the hub is the order of the work.
        mode: ``"both"``, ``"accumulated"`` or ``"isolated"``.
        threads: of one operator; 0 leaves it to onnxruntime.
        progress: told about each segment; may raise ``Cancelled``.
    """

    def __init__(
        self, reference: Model, target: Model, matching: Matching, *, mode: str, threads: int, progress: Progress
    ) -> None:
        self.accumulate, self.isolate = mode != "isolated", mode != "accumulated"
        self.threads = threads
        self.progress = progress
        chances = Walk(reference.graph, {pair.reference for pair in matching.pairs}, "").downstream(RANDOM)
        own_chances = Walk(target.graph, {pair.target for pair in matching.pairs}, "").downstream(RANDOM)
        self.found = {
            pair.target: Found(pair, random=chances.get(pair.reference) or own_chances.get(pair.target, ""))
            for pair in matching.pairs
        }
        self.input_peaks: dict[str, float] = {}
        # What depends on random numbers is not even run: onnxruntime has no kernels for them at the hub's opset.
        self.pairs = {name: item.pair for name, item in self.found.items() if not item.random}
        self.reference = Walk(reference.graph, {pair.reference for pair in self.pairs.values()}, _subject(reference))
        self.target = Walk(target.graph, self.pairs, _subject(target))
        self._group_size = 1
        self._segment_size = 1

    def run(self, samples: Iterator[Feeds], count: int | None) -> dict[str, Found]:
        """Take all samples through both models.

        Args:
            samples: they are taken as they are needed, never all held.
            count: how many there are, if it is known (for the progress).

        Returns:
            Target tensor → what was found out about its pair.

        Raises:
            ExecutionError: a feed that does not fit, or onnxruntime fails; the message names model and node.
            Cancelled: from ``progress``.
        """
        done = 0
        while group := batches(samples, self._group_size):
            self._note_inputs(group)
            total = count if count is not None else done + 2 * len(group)
            walk = _Group(self, group, done)
            for fraction in walk.steps():
                self.progress("comparing", min(1.0, (done + fraction * len(group)) / max(total, 1)))
            done += len(group)
            alive = max(walk.alive // len(group), 1)
            self._group_size = max(1, min(GROUP_SAMPLES, GROUP_BYTES // alive))
        self.progress("comparing", 1.0)
        return self.found

    def _note_inputs(self, group: Sequence[Feeds]) -> None:
        """Keep the largest magnitude of each input of the target, for the tolerance of sums that it is an addend of."""
        for sample in group:
            for name, array in sample.target.items():
                if array.dtype.kind == "f" and array.size:
                    self.input_peaks[name] = max(self.input_peaks.get(name, 0.0), peak_of(array))


class _Group:
    """One group of samples on its way through both models."""

    def __init__(self, engine: Engine, feeds: Sequence[Feeds], first: int) -> None:
        self.engine, self.feeds, self.first = engine, feeds, first
        self.alive = 0
        reference, target = engine.reference, engine.target
        target_uses = target.uses()
        reference_uses = Counter(reference.uses())
        for pair in engine.pairs.values():
            reference_uses[pair.reference] += 1 + (target_uses[pair.target] if engine.isolate else 0)
        target_uses.update(engine.pairs.keys())
        count = len(feeds)
        self.reference = Store(reference, reference_uses, count)
        self.accumulated = Store(target, target_uses, count)
        self.isolated = Store(target, target_uses, count)
        self.reference.keep([sample.reference for sample in feeds])
        for store in (self.accumulated, self.isolated):
            store.keep([sample.target for sample in feeds])
        self.done: set[ir.Node] = set()
        self.injected: set[str] = set()

    def steps(self) -> Iterator[float]:
        """Work segment by segment; yields the fraction that is done before each."""
        nodes, at = self.engine.target.nodes, 0
        while at < len(nodes):
            yield at / len(nodes)
            segment = nodes[at : at + self.engine._segment_size]
            made = [value.name for node in segment for value in node.outputs if value.name]
            pairs = [self.engine.pairs[name] for name in made if name in self.engine.pairs]
            size = yield from self._advance([pair.reference for pair in pairs], at / len(nodes))
            size += self._segment(segment, made, pairs)
            self._resize(size, len(segment))
            self.alive = max(self.alive, self.reference.bytes + self.accumulated.bytes + self.isolated.bytes)
            at += len(segment)
        constants = [
            pair for pair in self.engine.pairs.values() if maker_of(self.engine.target.values[pair.target]) is None
        ]
        yield from self._advance([pair.reference for pair in constants], 1.0)
        for sample in range(len(self.feeds)):
            for pair in constants:
                self._compare(pair, sample)

    def _resize(self, size: int, count: int) -> None:
        """Segments grow while they are small."""
        fits = SEGMENT_BYTES * count // max(size, 1)
        self.engine._segment_size = max(1, min(SEGMENT_NODES, fits, 2 * count))

    def _advance(self, names: Sequence[str], fraction: float) -> Generator[float, None, int]:
        """Run the reference until the tensors are there; returns the bytes that it made."""
        walk, store = self.engine.reference, self.reference
        pending = walk.demand(names, self.done)
        size, length = 0, self.engine._segment_size
        while pending:
            yield fraction
            nodes, pending = pending[:length], pending[length:]
            outputs = [v.name for node in nodes for v in node.outputs if v.name and store.outlives(v.name, nodes)]
            made = 0
            if outputs:
                runner = fragment(walk, nodes, outputs, self.engine.threads, inputs=self._types(store, nodes))
                for sample in range(len(self.feeds)):
                    feeds = {name: store.get(name, sample) for name in runner.inputs}
                    made += store.put(sample, run_fragment(walk, nodes, runner, feeds))
            self.done.update(nodes)
            for node in nodes:
                store.spend(walk.reads[node])
            size += made
            length = max(1, min(SEGMENT_NODES, SEGMENT_BYTES * len(nodes) // max(made, 1), 2 * len(nodes)))
        return size

    def _types(self, store: Store, nodes: Sequence[ir.Node]) -> dict[str, Any]:
        """Types that the hub does not know, from the tensors themselves."""
        found = {}
        for name in {name for node in nodes for name in store.walk.reads[node]}:
            value = store.walk.values[name]
            held = store.get(name, 0) if value.type is None else None
            if isinstance(held, np.ndarray):
                found[name] = type_of(held)
        return found

    def _segment(self, nodes: Sequence[ir.Node], made: Sequence[str], pairs: Sequence[Pair]) -> int:
        """Run a segment of the target both ways and compare what it makes; returns the bytes that it made."""
        walk, engine, size = self.engine.target, self.engine, 0
        outputs = [name for name in made if name in engine.pairs or self.accumulated.outlives(name, nodes)]
        if not outputs:
            return 0
        plain = fragment(walk, nodes, outputs, engine.threads, inputs=self._types(self._any, nodes))
        if engine.accumulate:
            for sample in range(len(self.feeds)):
                feeds = {name: self.accumulated.get(name, sample) for name in plain.inputs}
                size += self.accumulated.put(sample, run_fragment(walk, nodes, plain, feeds))
        if engine.isolate:
            size += self._isolated(nodes, outputs, pairs, plain)
        for sample in range(len(self.feeds)):
            for pair in pairs:
                self._compare(pair, sample)
        for pair in pairs:
            self.reference.spend([pair.reference])
            self.accumulated.spend([pair.target])
            self.isolated.spend([pair.target])
        for node in nodes:
            self.accumulated.spend(walk.reads[node])
            self.isolated.spend(walk.reads[node])
            if engine.isolate:
                sources = [engine.pairs[name].reference for name in walk.reads[node] if name in engine.pairs]
                self.reference.spend(sources)
        return size

    @property
    def _any(self) -> Store:
        return self.accumulated if self.engine.accumulate else self.isolated

    def _isolated(self, nodes: Sequence[ir.Node], outputs: Sequence[str], pairs: Sequence[Pair], plain: Any) -> int:
        walk, size = self.engine.target, 0
        self.injected.update(pair.target for pair in pairs if self._can_inject(pair))
        read = {name for node in nodes for name in walk.reads[node]}
        cut = [pair.target for pair in pairs if pair.target in self.injected and pair.target in read]
        runner = plain
        if cut:
            types = self._types(self._any, nodes)
            runner = fragment(walk, nodes, outputs, self.engine.threads, inputs=types, cut=cut)
        for sample in range(len(self.feeds)):
            feeds = {name: self._isolated_feed(name, sample) for name in runner.inputs}
            size += self.isolated.put(sample, run_fragment(walk, nodes, runner, feeds))
        return size

    def _isolated_feed(self, name: str, sample: int) -> Any:
        if name in self.injected:
            return self._inject(self.engine.pairs[name], sample)
        return self.isolated.get(name, sample)

    def _can_inject(self, pair: Pair) -> bool:
        return all(self._inject(pair, sample) is not None for sample in range(len(self.feeds)))

    def _inject(self, pair: Pair, sample: int) -> Any:
        """The reference's tensor as the target's consumers take it."""
        value = self.engine.target.values[pair.target]
        own = self.accumulated.get(pair.target, sample)
        dims: Sequence[Dim] | None = own.shape if isinstance(own, np.ndarray) else dims_of(value)
        dtype = own.dtype if isinstance(own, np.ndarray) else _numpy_dtype(value)
        return in_place_of(pair, self.reference.get(pair.reference, sample), dtype, dims)

    def _compare(self, pair: Pair, sample: int) -> None:
        found = self.engine.found[pair.target]
        reference = self.reference.get(pair.reference, sample)
        runs = [(self.accumulated, found.accumulated, "misfit")] if self.engine.accumulate else []
        runs += [(self.isolated, found.isolated, "isolated_misfit")] if self.engine.isolate else []
        for store, accumulator, misfit in runs:
            try:
                x, y = side_by_side(pair, reference, store.get(pair.target, sample))
            except Misfit as error:
                setattr(found, misfit, str(error))
                continue
            found.shape, found.dtype = x.shape, x.dtype.name if x.dtype.kind != "O" else "string"
            accumulator.classes = pair.output and (x.ndim == 2 or _is_softmax(self.engine.reference, pair))
            accumulator.update(as_half_bounds(x, y), y, self.first + sample)


def _is_softmax(walk: Walk, pair: Pair) -> bool:
    node = walk.values[pair.reference].producer()
    return node is not None and node.op_type in ("Softmax", "LogSoftmax")


def _numpy_dtype(value: ir.Value) -> np.dtype[Any] | None:
    name = dtype_name(value.dtype)
    return np.dtype(name) if name in np.sctypeDict else None


def _subject(model: Model) -> str:
    return f"{model.format} model {model.name!r}"
