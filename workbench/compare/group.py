"""One group of samples on its way through both models, a few nodes at a time."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.blocks import Pass, take
from workbench.compare.feeds import Feeds
from workbench.compare.layout import Misfit, in_place_of, side_by_side
from workbench.compare.match import Pair
from workbench.compare.side import Store, Walk, fragment, maker_of, run_fragment
from workbench.compare.sums import Base, same_bits
from workbench.document import Dim
from workbench.executors import Fragment
from workbench.hub import dims_of, dtype_name
from workbench.hub.half import as_half_bounds

if TYPE_CHECKING:
    from workbench.compare.engine import Engine

SEGMENT_NODES = 8
SEGMENT_BYTES = 16 << 20  # of the tensors that one segment makes for one sample; beyond, segments get shorter
KEPT = 200  # sessions that are kept from one group of samples to the next
KEPT_BYTES = 32 << 20  # of the constants that they hold meanwhile; what goes beyond is read again for each group


class Lengths:
    """How many nodes go into a segment: few at first, more while they are small, and the same for all groups."""

    def __init__(self, *walks: Walk) -> None:
        self._most = {walk: _longest(walk) for walk in walks}
        self._next = 1
        self._known: dict[tuple[str, int], int] = {}
        self.demands: dict[int, list[ir.Node]] = {}
        """The segment of the target that begins there → the nodes of the reference that have to be run for it."""

    def take(self, place: tuple[str, int], length: int = 0) -> int:
        """The length of the segment that begins there; ``length`` if it has none yet (0: what fits after the last)."""
        return self._known.setdefault(place, length or self._next)

    def resize(self, walk: Walk, size: int, count: int) -> None:
        """Note that the last segment of ``count`` nodes has made ``size`` bytes for one sample."""
        self._next = self.fitting(walk, size, count)

    def fitting(self, walk: Walk, size: int, count: int) -> int:
        """How many nodes the next segment may have, after one of ``count`` that has made ``size`` bytes."""
        return max(1, min(self._most[walk], SEGMENT_BYTES * count // max(size, 1), 2 * count))


def _longest(walk: Walk) -> int:
    """So many nodes that :data:`SEGMENT_NODES` of them calculate: casts stand before and behind those of float16."""
    casts = sum(node.op_type == "Cast" for node in walk.nodes)
    return SEGMENT_NODES * len(walk.nodes) // max(len(walk.nodes) - casts, 1) if casts else SEGMENT_NODES


class Runners:
    """The sessions of segments. They are kept if another group of samples follows, the first of them.

    A session holds no weights, which are handed over at each run, so many of them are small.

    Args:
        threads: of one operator.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._bytes = 0
        self.keeping = False
        self._kept: dict[tuple[Any, ...], Fragment] = {}
        self._lasting: set[Fragment] = set()

    def get(
        self,
        key: tuple[Any, ...],
        walk: Walk,
        nodes: Sequence[ir.Node],
        outputs: Sequence[str],
        cut: Sequence[str],
        types: Callable[[], Mapping[str, Any]],
    ) -> Fragment:
        """The session of these nodes, made anew unless it was kept.

        Raises:
            ExecutionError: onnxruntime refuses the nodes.
        """
        found = self._kept.get(key)
        if found is not None and found.outputs == tuple(outputs):
            return found
        made = fragment(walk, nodes, outputs, self.threads, inputs=types(), cut=cut)
        if self.keeping and len(self._kept) < KEPT:
            self._kept[key] = made
            if self._bytes + made.constant_bytes <= KEPT_BYTES:
                self._bytes += made.constant_bytes
                self._lasting.add(made)
        return made

    def rest(self, runner: Fragment) -> None:
        """All samples of the group are through: free the constants, unless there is room for them until the next."""
        if runner not in self._lasting:
            runner.release()


class Group:
    """One group of samples on its way through both models."""

    def __init__(self, engine: Engine, feeds: Sequence[Feeds], first: int) -> None:
        self.engine, self.feeds, self.first = engine, feeds, first
        self.alive = 0
        """Bytes of the tensors that were there at one moment, at most."""
        reference, target = engine.reference, engine.target
        target_uses = target.uses()
        reference_uses = Counter(reference.uses())
        reference_uses.update(pair.reference for pair in engine.pairs.values())
        count = len(feeds)
        self.given = Store(target, target_uses, count)
        """The reference's tensors as the target holds them, for the nodes that read them in the isolated run."""
        target_uses = target_uses + Counter(engine.pairs.keys())
        self.reference = Store(reference, reference_uses, count)
        self.accumulated = Store(target, target_uses, count)
        self.isolated = Store(target, target_uses, count)
        self.reference.keep([sample.reference for sample in feeds])
        for store in (self.accumulated, self.isolated):
            store.keep([sample.target for sample in feeds])
        self.lengths = engine.lengths
        self.done: set[ir.Node] = set()
        self.injected: set[str] = set()
        self.same: dict[str, list[bool]] = {}
        """Injected tensor → for each sample, whether it is what the target has computed itself, bit by bit."""

    def steps(self) -> Iterator[float]:
        """Work segment by segment; yields the fraction that is done before each."""
        nodes, at = self.engine.target.nodes, 0
        while at < len(nodes):
            yield at / len(nodes)
            segment = nodes[at : at + self.lengths.take(("target", at))]
            made = [value.name for node in segment for value in node.outputs if value.name]
            pairs = [self.engine.pairs[name] for name in made if name in self.engine.pairs]
            size = yield from self._advance([pair.reference for pair in pairs], at)
            size += self._segment(segment, made, pairs)
            self.lengths.resize(self.engine.target, size // len(self.feeds), len(segment))
            at += len(segment)
        constants = [
            pair for pair in self.engine.pairs.values() if maker_of(self.engine.target.values[pair.target]) is None
        ]
        yield from self._advance([pair.reference for pair in constants], at)
        for sample in range(len(self.feeds)):
            for pair in constants:
                self._compare(pair, sample)

    def _advance(self, names: Sequence[str], at: int) -> Generator[float, None, int]:
        """Run the reference until the tensors are there that the segment needs; returns the bytes that it made."""
        walk, store = self.engine.reference, self.reference
        fraction = at / max(len(self.engine.target.nodes), 1)
        if at not in self.lengths.demands:
            self.lengths.demands[at] = walk.demand(names, self.done)
        pending = self.lengths.demands[at]
        size, length = 0, 0
        while pending:
            yield fraction
            length = self.lengths.take(("reference", walk.index[pending[0]]), length)
            nodes, pending = pending[:length], pending[length:]
            outputs = [v.name for node in nodes for v in node.outputs if v.name and store.outlives(v.name, nodes)]
            made = 0
            if outputs:
                runner = self._runner(store, nodes, outputs)
                for sample in range(len(self.feeds)):
                    self.engine.beat()
                    feeds = {name: store.get(name, sample) for name in runner.inputs}
                    made += store.put(sample, run_fragment(walk, nodes, runner, feeds))
                self.engine.runners.rest(runner)
                self._note_alive()
            self.done.update(nodes)
            for node in nodes:
                store.spend(walk.reads[node])
            size += made
            length = self.lengths.fitting(walk, made // len(self.feeds), len(nodes))
        return size

    def _note_alive(self) -> None:
        self.alive = max(self.alive, self.reference.bytes + self.accumulated.bytes + self.isolated.bytes)

    def _runner(
        self, store: Store, nodes: Sequence[ir.Node], outputs: Sequence[str], cut: Sequence[str] = ()
    ) -> Fragment:
        """The nodes as a session, kept for the next group."""
        walk = store.walk
        key = (id(walk), walk.index[nodes[0]], len(nodes), bool(cut))
        return self.engine.runners.get(key, walk, nodes, outputs, cut, lambda: store.types(nodes))

    def _segment(self, nodes: Sequence[ir.Node], made: Sequence[str], pairs: Sequence[Pair]) -> int:
        """Run a segment of the target both ways and compare what it makes; returns the bytes that it made."""
        walk, engine, size = self.engine.target, self.engine, 0
        outputs = [name for name in made if name in engine.pairs or self.accumulated.outlives(name, nodes)]
        if not outputs:
            return 0
        plain = self._runner(self._any, nodes, outputs)
        if engine.accumulate:
            for sample in range(len(self.feeds)):
                engine.beat()
                feeds = {name: self.accumulated.get(name, sample) for name in plain.inputs}
                size += self.accumulated.put(sample, run_fragment(walk, nodes, plain, feeds))
        if engine.isolate:
            size += self._isolated(nodes, outputs, pairs, plain)
        engine.runners.rest(plain)
        self._note_alive()
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
            self.given.spend(walk.reads[node])
        return size

    @property
    def _any(self) -> Store:
        return self.accumulated if self.engine.accumulate else self.isolated

    def _isolated(self, nodes: Sequence[ir.Node], outputs: Sequence[str], pairs: Sequence[Pair], plain: Any) -> int:
        """Run the nodes on the reference's tensors; where those are the target's own, the other run has done it."""
        walk, size = self.engine.target, 0
        for pair in pairs:
            self._note_injection(pair)
        read = {name for node in nodes for name in walk.reads[node]}
        cut = [pair.target for pair in pairs if pair.target in self.injected and pair.target in read]
        runner = None
        for sample in range(len(self.feeds)):
            self.engine.beat()
            if all(self._unaltered(name, sample) for name in (*plain.inputs, *cut)):
                made = {name: self.accumulated.get(name, sample) for name in outputs}
            else:
                if runner is None:
                    runner = self._runner(self._any, nodes, outputs, cut) if cut else plain
                feeds = {name: self._isolated_feed(name, sample) for name in runner.inputs}
                made = run_fragment(walk, nodes, runner, feeds)
            size += self.isolated.put(sample, made)
        if runner is not None:
            self.engine.runners.rest(runner)
        return size

    def _note_injection(self, pair: Pair) -> None:
        """See whether the reference's tensor can take the place of the target's, and whether that changes anything."""
        given = [self._inject(pair, sample) for sample in range(len(self.feeds))]
        if all(array is not None for array in given):
            self.injected.add(pair.target)
            own = [self.accumulated.get(pair.target, sample) for sample in range(len(self.feeds))]
            self.same[pair.target] = [same_bits(*both) for both in zip(given, own, strict=True)]
            if self.given.outlives(pair.target, ()):
                for sample, array in enumerate(given):
                    self.given.put(sample, {pair.target: array})

    def _unaltered(self, name: str, sample: int) -> bool:
        """Whether the isolated run reads the very tensor that the accumulated run reads."""
        if not self.engine.accumulate:
            return False
        if name in self.injected:
            return self.same[name][sample]
        return self.isolated.get(name, sample) is self.accumulated.get(name, sample)

    def _isolated_feed(self, name: str, sample: int) -> Any:
        return (self.given if name in self.injected else self.isolated).get(name, sample)

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
        taken: list[Pass] = []
        measured = 0
        own, never = self.accumulated.get(pair.target, sample), [False] * len(self.feeds)
        if pair.output and self.engine.accumulate and self.first + sample == 0:
            self.engine.outputs[pair.target] = reference, self.accumulated.get(pair.target, sample)
        base: Base | None = None
        for store, accumulator, misfit in runs:
            held = store.get(pair.target, sample)
            try:
                x, y = side_by_side(pair, reference, held)
            except Misfit as error:
                setattr(found, misfit, str(error))
                continue
            found.shape, found.dtype = x.shape, _name(x.dtype)
            accumulator.classes = pair.output and (x.ndim == 2 or _is_softmax(self.engine.reference, pair))
            base = base or (Base(x) if x.dtype.kind in "biuf" else None)
            bounded = as_half_bounds(x, y, base.peak if base else None)
            same = x.dtype == y.dtype and held is own and self.same.get(pair.target, never)[sample]
            measured += 1
            rest = accumulator.begin(bounded, y, self.first + sample, base if bounded is x else None, same)
            taken += [] if rest is None else [rest]
        between = take(taken)
        found.carried += between if measured == 2 else 0.0


@functools.cache  # numpy makes the name anew each time
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.kind != "O" else "string"


def _is_softmax(walk: Walk, pair: Pair) -> bool:
    node = walk.values[pair.reference].producer()
    return node is not None and node.op_type in ("Softmax", "LogSoftmax")


def _numpy_dtype(value: ir.Value) -> np.dtype[Any] | None:
    name = dtype_name(value.dtype)
    return np.dtype(name) if name in np.sctypeDict else None
