"""The comparison as one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from workbench.compare.engine import Engine
from workbench.compare.feeds import Feeder, Feeds, Given
from workbench.compare.kinship import relate
from workbench.compare.match import flag_outputs, match, match_outputs
from workbench.compare.recompute import Source
from workbench.compare.report import Report, Side
from workbench.compare.rows import known_names, make_rows
from workbench.compare.tolerance import Tolerance
from workbench.document import Progress, silent
from workbench.errors import OptionError
from workbench.executors import executor_name

if TYPE_CHECKING:
    from workbench.model import Model

MODES = ("both", "accumulated", "isolated")


def compare(
    reference: Model,
    target: Model,
    feeds: Given = None,
    *,
    mode: str = "both",
    tolerance: float | Mapping[str, float] | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Progress = silent,
) -> Report:
    """Compare two models tensor by tensor.

    Args:
        reference: the model that is right.
        target: the model that is judged; converted from the reference, or the reference from it, or both from a third,
            or unrelated (then compared are tensors with the same names, with the same numbers, and in the same place).
        feeds: input name → array, an ``.npz`` file of them, an iterable of such mappings (taken as they are needed), or
            ``None`` for one seeded random sample. Names may be those of either model.
        mode: ``"accumulated"``: both models from the same inputs. ``"isolated"``: each layer of the target fed with the
            reference's tensors. ``"both"``: in one pass.
        tolerance: see :class:`workbench.compare.Tolerance`; ``None`` decides by operator and precision.
        seed: of the random sample.
        threads: of one operator; 0 leaves it to onnxruntime.
        progress: told about the work; may raise ``Cancelled``.

    Raises:
        OptionError: an unknown mode or a tolerance that cannot be used.
        ConversionError: a model that the hub cannot express.
        ExecutionError: feeds that do not fit, or a model that cannot be run.
    """
    if mode not in MODES:
        raise OptionError(f"unknown mode {mode!r}; there are {', '.join(MODES)}.")
    limits = Tolerance(tolerance)
    progress("matching", 0.0)
    matching = match(reference, target)
    samples, count = Feeder(reference, target, matching, seed).samples(feeds)
    first, samples = _peek(samples)
    if not matching.recorded:
        matching = flag_outputs(relate(matching, reference, target, first, threads, progress), reference, target)
    matching = match_outputs(
        matching, reference, target, lambda: (reference.run(first.reference), target.run(first.target))
    )
    engine = Engine(reference, target, matching, mode=mode, threads=threads, progress=progress)
    _check_names(limits, engine)
    counted = _Counted(samples)
    found = engine.run(counted, count)
    return Report(
        reference=_side(reference),
        target=_side(target),
        rows=make_rows(reference, target, matching, engine, found, limits),
        mode=mode,
        samples=counted.count,
        feeds=f"random, seed {seed}" if feeds is None else "given",
        relation=matching.relation,
        source=Source(reference, target, matching, first, threads),
    )


def _peek(samples: Iterator[Feeds]) -> tuple[Feeds, Iterator[Feeds]]:
    first = next(samples, None)
    if first is None:
        raise OptionError("feeds: there is no sample in them.")

    def again() -> Iterator[Feeds]:
        yield first
        yield from samples

    return first, again()


class _Counted:
    """Counts the samples that are taken."""

    def __init__(self, samples: Iterator[Feeds]) -> None:
        self._samples = samples
        self.count = 0

    def __iter__(self) -> Iterator[Feeds]:
        return self

    def __next__(self) -> Feeds:
        sample = next(self._samples)
        self.count += 1
        return sample


def _check_names(tolerance: Tolerance, engine: Engine) -> None:
    unused = tolerance.unused(known_names(engine.reference) | known_names(engine.target))
    if unused:
        raise OptionError(
            f"tolerance: nothing is called {unused[0]!r}; give 'isolated', 'accumulated', 'exact', 'rounding', "
            "'accumulating', an operator of the hub, a layer or a tensor."
        )


def _side(model: Model) -> Side:
    return Side(model.name, model.format, executor_name(model.document), model.document.precision_note())
