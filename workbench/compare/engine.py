"""Both models in lockstep: a few nodes of the target at a time, and of the reference what they are compared with.

The target runs twice. *Accumulated*: from its own inputs. *Isolated*: whatever is matched is replaced by the
reference's tensor, so a layer is fed what it should have been fed, and what differs behind it is its own doing. A
tensor is reduced to its metrics as soon as it exists and freed after its last use; a session lives for one segment. So
the memory needed is that of the tensors alive at one moment, however deep the models are and however many the samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.compare import noise
from workbench.compare.feeds import Feeds, batches
from workbench.compare.group import Group, Lengths, Runners
from workbench.compare.match import Matching, Pair
from workbench.compare.metrics import Accumulator, Metrics
from workbench.compare.side import Walk
from workbench.compare.sums import peak_of
from workbench.compare.tolerance import NOISE_MARGIN
from workbench.document import Progress
from workbench.hub.evaluate import RANDOM

if TYPE_CHECKING:
    from workbench.model import Model

GROUP_BYTES = 64 << 20  # of the tensors alive at one moment; the samples that fit go through together
GROUP_SAMPLES = 64
BEAT = 0.2  # seconds between two calls of the progress, at least: so soon a cancellation is noticed


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
    carried: float = 0.0
    """Σ of squared differences between the accumulated and the isolated run: what came in through the inputs."""


class Engine:
    """Walks two matched models on some samples.

    Args:
        matching: the pairs to compare; the order of their targets in the hub is the order of the work.
        mode: ``"both"``, ``"accumulated"`` or ``"isolated"``.
        threads: of one operator; 0 leaves it to onnxruntime.
        progress: told about each segment; may raise ``Cancelled``.
    """

    def __init__(
        self,
        reference: Model,
        target: Model | noise.Emulated,
        matching: Matching,
        *,
        mode: str,
        threads: int,
        progress: Progress,
    ) -> None:
        self.accumulate, self.isolate = mode != "isolated", mode != "accumulated"
        self.threads = threads
        self.progress = progress
        whole = Walk(reference.graph, {pair.reference for pair in matching.pairs}, _subject(reference))
        own_whole = Walk(target.graph, {pair.target for pair in matching.pairs}, _subject(target))
        chances, own_chances = whole.downstream(RANDOM), own_whole.downstream(RANDOM)
        self.found = {
            pair.target: Found(pair, random=chances.get(pair.reference) or own_chances.get(pair.target, ""))
            for pair in matching.pairs
        }
        self.input_peaks: dict[str, float] = {}
        self.outputs: dict[str, tuple[Any, Any]] = {}
        """Of the first sample: the reference's outputs and the target's, under the target's names."""
        # What depends on random numbers is not even run: onnxruntime has no kernels for them at the hub's opset.
        self.pairs = {name: item.pair for name, item in self.found.items() if not item.random}
        self.reference, self.target = whole, own_whole
        if len(self.pairs) < len(self.found):
            wanted = {pair.reference for pair in self.pairs.values()}
            self.reference = Walk(reference.graph, wanted, _subject(reference))
            self.target = Walk(target.graph, self.pairs, _subject(target))
        self.lengths = Lengths(self.reference, self.target)
        self.runners = Runners(threads)
        self._group_size = 1
        self._fraction, self._beat = 0.0, 0.0
        self.noise = None if isinstance(target, noise.Emulated) else self._noise(reference, mode)

    def _noise(self, reference: Model, mode: str) -> Engine | None:
        """The engine that measures what the target's float16 explains; ``None`` where it has none."""
        if not reference.document.computes:
            return None  # a recording's layers cannot be rounded
        found = noise.emulate(reference, self.reference, self.target, list(self.pairs.values()))
        if found is None:
            return None
        return Engine(reference, *found, mode=mode, threads=self.threads, progress=self.progress)

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
        self.runners.keeping = count != 1
        while group := batches(samples, self._group_size):
            self._note_inputs(group)
            total = count if count is not None else done + 2 * len(group)
            for fraction in self._take(group, done):
                self._fraction = min(1.0, (done + fraction * len(group)) / max(total, 1))
                self.progress("comparing", self._fraction)
            done += len(group)
        self.progress("comparing", 1.0)
        return self.found

    def _take(self, group: Sequence[Feeds], first: int) -> Iterator[float]:
        """Take a group of samples through the models, and through the stand-in; yields the fraction that is done."""
        walk = Group(self, group, first)
        share = 1.0 if self.noise is None else 0.5
        for fraction in walk.steps():
            yield fraction * share
        alive = max(walk.alive // len(group), 1)
        self._group_size = max(1, min(GROUP_SAMPLES, GROUP_BYTES // alive))
        if self.noise is not None and (first == 0 or self._is_beyond_noise()):
            del walk
            self.noise.runners.keeping = self.runners.keeping and first > 0  # mostly the first samples explain all
            again = [Feeds(sample.reference, sample.reference) for sample in group]
            for fraction in self.noise._take(again, first):
                yield share + fraction * (1 - share)

    def _is_beyond_noise(self) -> bool:
        """Whether the samples so far differ by more than was explained on those that were emulated.

        Where the first ones explain the difference of the others as well, those need not be emulated.
        """
        assert self.noise is not None
        expected = {item.pair.reference: item for item in self.noise.found.values()}
        for item in self.found.values():
            known = expected.get(item.pair.reference)
            if known is not None and any(
                _is_above(run.finish(), floor.finish())
                for run, floor in ((item.accumulated, known.accumulated), (item.isolated, known.isolated))
            ):
                return True
        return False

    def beat(self) -> None:
        """Call the progress within a segment, so that one with many samples can be cancelled too."""
        if time.monotonic() - self._beat > BEAT:
            self._beat = time.monotonic()
            self.progress("comparing", self._fraction)

    def _note_inputs(self, group: Sequence[Feeds]) -> None:
        """Keep the largest magnitude of each input of the target, for the tolerance of sums that it is an addend of."""
        for sample in group:
            for name, array in sample.target.items():
                if array.dtype.kind == "f" and array.size:
                    self.input_peaks[name] = max(self.input_peaks.get(name, 0.0), peak_of(array))


def _is_above(found: Metrics | None, expected: Metrics | None) -> bool:
    return found is not None and expected is not None and found.error > NOISE_MARGIN * expected.error


def _subject(model: Model | noise.Emulated) -> str:
    return f"{model.format} model {model.name!r}"
