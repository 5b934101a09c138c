"""The comparison as one call."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from workbench.compare.diagnose import with_signature
from workbench.compare.engine import Engine
from workbench.compare.feeds import Feeder, Feeds
from workbench.compare.given import Given
from workbench.compare.judging import known_names, make_rows
from workbench.compare.kinship import relate
from workbench.compare.match import Matching, flag_outputs, match, match_outputs
from workbench.compare.observer import Untouched
from workbench.compare.recompute import Source
from workbench.compare.report import Report, Side
from workbench.compare.rows import Row
from workbench.compare.tolerance import Tolerance
from workbench.document import Progress, silent
from workbench.errors import ExecutionError, OptionError
from workbench.executors import executor_name
from workbench.hub import pool
from workbench.model import Model, load

SIGNED = 3
"""Of so many culprits the signature is found at once; of others when it is asked for."""
MODES = ("both", "accumulated", "isolated")


@pool.shared()
def compare(
    reference: Model | str | os.PathLike[str] | object,
    target: Model | str | os.PathLike[str] | object,
    feeds: Given = None,
    *,
    mode: str = "both",
    tolerance: float | Mapping[str, float] | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Progress = silent,
    observe: bool = True,
) -> Report:
    """Compare two models tensor by tensor.

    Args:
        reference: the model that is right; whatever :func:`workbench.load` takes.
        target: the model that is judged; converted from the reference, or the reference from it, or both from a third,
            or unrelated (then compared are tensors with the same names, with the same numbers, and in the same place).
        feeds: input name → array; a path (``.npz``, ``.npy``, a folder of them or of pictures); :class:`Images`; an
            iterable of samples, taken as they are needed, or a function that returns one; or ``None`` for one seeded
            random sample. Names may be those of either model. See :func:`workbench.compare.given.samples_of`.
        mode: ``"accumulated"``: both models from the same inputs. ``"isolated"``: each layer of the target fed with the
            reference's tensors. ``"both"``: in one pass. Of a recording as the target
            there are accumulated errors only.
        tolerance: see :class:`workbench.compare.Tolerance`; ``None`` decides by operator and precision.
        seed: of the random sample.
        threads: of one operator; 0 leaves it to onnxruntime.
        progress: told about the work; may raise ``Cancelled``.
        observe: run both models untouched as well, once, and note in the report if that gives other outputs.

    Raises:
        OptionError: an unknown mode or a tolerance that cannot be used.
        ConversionError: a model that the hub cannot express.
        ExecutionError: feeds that do not fit, or a model that cannot be run.
    """
    reference, target = load(reference), load(target)
    if mode not in MODES:
        raise OptionError(f"unknown mode {mode!r}; there are {', '.join(MODES)}.")
    if not target.document.computes:
        if mode == "isolated":
            raise OptionError(
                f"the target {target.name!r} is a recording: its layers cannot be fed; mode='accumulated' can."
            )
        mode = "accumulated"
    limits = Tolerance(tolerance)
    with _explained(reference, feeds):
        matching, first, samples, count = prepare(reference, target, feeds, seed, threads, progress)
    untouched = _untouched(reference, target, first, threads) if observe and mode != "isolated" else ()
    engine = Engine(reference, target, matching, mode=mode, threads=threads, progress=progress)
    _check_names(limits, engine)
    counted = _Counted(samples)
    with _explained(reference, feeds):
        found = engine.run(counted, count)
    rows = make_rows(reference, target, matching, engine, found, limits)
    report = Report(
        reference=_side(reference),
        target=_side(target),
        rows=rows,
        mode=mode,
        samples=counted.count,
        feeds=_described(reference, target, feeds, seed),
        relation=matching.relation,
        notes=(*_layouts(matching), *_without_numbers(first), *_notes(untouched, engine, rows)),
        source=Source(reference, target, matching, first, threads),
    )
    return _signed(report, progress)


@contextlib.contextmanager
def _explained(reference: Model, feeds: Given) -> Iterator[None]:
    """A model that fails on a made-up sample of guessed sizes: say that it was one, and what to give instead."""
    try:
        yield
    except ExecutionError as error:
        open_ones = [spec for spec in reference.inputs if not spec.is_static]
        if feeds is not None or not open_ones or not reference.document.computes:
            raise
        sizes = ", ".join(map(str, open_ones))
        raise ExecutionError(
            f"{error} The sample was made up, with guessed sizes for {sizes}; pass feeds={{…}} that the model takes."
        ) from error


def _signed(report: Report, progress: Progress) -> Report:
    """The report with the signatures of its first culprits."""
    source, rows = report.source, list(report.rows)
    places = {row.index: place for place, row in enumerate(rows)}
    first = [] if report.first_failing is None else [report.first_failing]
    chosen = list(dict.fromkeys(row.index for row in (*first, *report.ranked()[:SIGNED])))
    for done, index in enumerate(chosen):
        progress("explaining", done / len(chosen))
        if source is not None:
            rows[places[index]] = with_signature(rows[places[index]], source)
    return dataclasses.replace(report, rows=tuple(rows)) if chosen else report


def prepare(
    reference: Model, target: Model, feeds: Given, seed: int, threads: int, progress: Progress = silent
) -> tuple[Matching, Feeds, Iterator[Feeds], int | None]:
    """Match two models.

    Returns:
        The matching, the first sample, all samples (the first among them), and how many there are if that is known.
    """
    progress("matching", 0.0)
    matching = match(reference, target)
    samples, count = Feeder(reference, target, matching, seed).samples(feeds)
    first, samples = _peek(samples)
    if not matching.recorded:
        matching = flag_outputs(relate(matching, reference, target, first, threads, progress), reference, target)
    matching = match_outputs(
        matching, reference, target, lambda: (reference.run(first.reference), target.run(first.target))
    )
    return matching, first, samples, count


def _described(reference: Model, target: Model, feeds: Given, seed: int) -> str:
    if feeds is not None:
        return "given"
    recorded = not (reference.document.computes and target.document.computes)
    return "those of the recording" if recorded else f"random, seed {seed}"


def attached(report: Report, reference: Model, target: Model, feeds: Given) -> Report:
    """The report with its models (see :meth:`Report.attach`)."""
    seed = 0
    if feeds is None and report.feeds != "those of the recording":
        words = report.feeds.split("random, seed ")
        if len(words) != 2:
            raise OptionError(f"the models were compared on feeds that were {report.feeds}; pass the same feeds=….")
        seed = int(words[1])
    matching, first, _, _ = prepare(reference, target, feeds, seed, 0)
    known = {(pair.reference, pair.target) for pair in matching.pairs}
    lost = [row for row in report.rows if row.target_tensor and (row.tensor, row.target_tensor) not in known]
    if lost:
        raise OptionError(
            f"these are not the models of the report: {lost[0].tensor!r} and {lost[0].target_tensor!r} are no pair of "
            f"theirs; it compares {report.reference.name!r} with {report.target.name!r}."
        )
    return dataclasses.replace(report, source=Source(reference, target, matching, first, 0))


def _untouched(reference: Model, target: Model, first: Feeds, threads: int) -> tuple[Untouched, ...]:
    """Both models as they are deployed, one after the other: neither's session is kept beside the other's."""
    return Untouched(reference, first.reference, threads), Untouched(target, first.target, threads)


def _layouts(matching: Matching) -> tuple[str, ...]:
    """What was taken for granted of inputs whose sizes say that their channels are at the other end."""
    if matching.recorded:
        return ()
    sources = {own: name for name, own in matching.inputs}
    return tuple(
        f"the target's input {own!r} is taken for the reference's {sources[own]!r} in another layout, as their sizes "
        f"say: its axes {list(perm)} are the reference's"
        for own, perm in matching.perms.items()
    )


def _without_numbers(first: Feeds) -> tuple[str, ...]:
    """NaN in, NaN out, on both sides: rows agree then whatever the layers do."""
    return tuple(
        f"the feed {name!r} has NaN: where it spreads, rows agree whatever the layers do"
        for name, array in first.reference.items()
        if array.dtype.kind == "f" and np.isnan(array).any()
    )


def _notes(untouched: Sequence[Untouched], engine: Engine, rows: Sequence[Row]) -> tuple[str, ...]:
    notes: list[str] = []
    outputs = [row for row in rows if row.output and row.target_tensor in engine.outputs]
    for place, (side, run) in enumerate(zip(("reference", "target"), untouched, strict=False)):
        tapped = {
            row.target_tensor if place else row.tensor: engine.outputs[row.target_tensor][place] for row in outputs
        }
        notes += run.notes(side, tapped, outputs)
    return tuple(notes)


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
