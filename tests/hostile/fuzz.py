"""Mutations of sound models through everything: ``python -m tests.hostile.fuzz [--reader R] [--count N] [--seed S] …``.

Each is opened, listed, shown, run, planned, converted to every format, saved and run again in a worker process with
bounds of time and memory. What dies, hangs, grows or raises anything but the workbench's own errors is saved with its
number, made smaller, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import pickle
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import node_pool
from tests.hostile.bundle import Bundle
from tests.hostile.exercise import Outcome, exercise
from tests.hostile.mutate import mutated
from tests.hostile.seeds import READERS, seeds
from tests.hostile.shrink import shrunk

LIMIT = 60.0
"""Seconds of the clock for one model, on a machine that does other things too; see ``exercise.SECONDS``.
``--patience`` gives more on one that is very busy."""

RENEW = 4000
"""Models that one process works on: each leaves some tenths of a megabyte behind, and the process has a bound."""

PROGRESS = 1000
"""Mutations after which the counts so far are printed."""


@dataclass(frozen=True)
class Finding:
    """One mutation and what became of it."""

    reader: str
    seed: int
    number: int
    outcome: Outcome


@functools.lru_cache(maxsize=16)
def _stored(path: str) -> list[Bundle]:
    with open(path, "rb") as handle:
        found: list[Bundle] = pickle.load(handle)  # written by this program
    return found


def mutation(path: str, seed: int, number: int) -> Bundle:
    """The mutation of that number, of the sound models in a file."""
    sound = _stored(path)
    return mutated(sound[number % len(sound)], number, seed, sound)


def work(path: str, seed: int, number: int) -> Outcome:
    """Try one mutation, in this process."""
    return exercise(mutation(path, seed, number))


def tried(bundle: Bundle) -> Outcome:
    """Try one bundle in a process of its own."""
    return next(outcome for _, outcome in outcomes(exercise, [(bundle,)], jobs=1))


def outcomes(
    function: object, tasks: Iterable[tuple[object, ...]], jobs: int, patience: float = LIMIT
) -> Iterator[tuple[tuple[object, ...], Outcome]]:
    """The outcomes of tasks, those of dead and hanging workers among them."""
    times = {"limit": patience, "first": 4 * patience}
    for task, result, failure in node_pool.run(function, tasks, jobs=jobs, renew=RENEW, **times):  # type: ignore[arg-type]
        if result is None:
            result = Outcome("hung" if failure.startswith("no result") else "died", "", failure)
        yield task, result


def run(
    readers: Iterable[str],
    seed: int,
    numbers: range,
    jobs: int,
    folder: Path,
    seconds: float = float("inf"),
    patience: float = LIMIT,
) -> Iterator[Finding]:
    """Try mutations of all readers in turn until the time is over; ``folder`` is for the sound models."""
    paths = {reader: folder / f"{reader}.pickle" for reader in readers}
    for reader, path in paths.items():
        if not path.exists():
            path.write_bytes(pickle.dumps(seeds(reader)))
    until = time.monotonic() + seconds

    def tasks() -> Iterator[tuple[object, ...]]:
        for number in numbers:
            for path in paths.values():
                if time.monotonic() > until:
                    return
                yield str(path), seed, number

    for (path, _, number), outcome in outcomes(work, tasks(), jobs, patience):
        yield Finding(Path(str(path)).stem, seed, int(str(number)), outcome)


class Tally:
    """What became of the mutations of one reader, so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.kinds: dict[str, list[Finding]] = {}

    def add(self, finding: Finding) -> None:
        self.counts[finding.outcome.verdict] += 1
        self.slowest = max(self.slowest, finding.outcome.seconds)
        if finding.outcome.bad:
            self.kinds.setdefault(finding.outcome.signature, []).append(finding)

    def __str__(self) -> str:
        summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.counts.items()))
        return f"{self.counts.total()} mutations: {summary}; slowest {self.slowest:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=READERS, action="append", help="several times for several; default all")
    parser.add_argument("--count", type=int, default=10_000, help="mutations of each reader")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all; then stop")
    parser.add_argument("--patience", type=float, default=LIMIT, help="seconds of the clock for one model")
    parser.add_argument("--keep", type=Path, default=Path("tests/hostile/artifacts"), help="where failures are saved")
    parser.add_argument("--shrink", type=int, default=3, help="make this many failures of each reader smaller")
    chosen = parser.parse_args()
    chosen.keep.mkdir(parents=True, exist_ok=True)
    numbers = range(chosen.start, chosen.start + chosen.count)
    tallies = {reader: Tally() for reader in chosen.reader or READERS}
    with contextlib.suppress(KeyboardInterrupt):  # then the counts are of what was done
        _tally(tallies, numbers, chosen)
    _print(tallies, chosen.seed)
    for reader, tally in tallies.items():
        _keep(reader, tally, chosen)
    return 1 if any(tally.kinds for tally in tallies.values()) else 0


def _tally(tallies: dict[str, Tally], numbers: range, chosen: argparse.Namespace) -> None:
    options = (chosen.seed, numbers, chosen.jobs, chosen.keep, chosen.seconds, chosen.patience)
    for count, finding in enumerate(run(tallies, *options), 1):
        tallies[finding.reader].add(finding)
        if finding.outcome.bad:
            print(f"{finding.reader} {finding.number}: {finding.outcome.signature}", flush=True)
        if count % PROGRESS == 0:
            _print(tallies, chosen.seed)


def _print(tallies: dict[str, Tally], seed: int) -> None:
    for reader, tally in tallies.items():
        print(f"{reader}, seed {seed}: {tally}", flush=True)


def _keep(reader: str, tally: Tally, chosen: argparse.Namespace) -> None:
    """Save the first of each kind of failure, the most frequent ones in their smallest form."""
    for index, (signature, found) in enumerate(sorted(tally.kinds.items(), key=lambda item: -len(item[1]))):
        first = found[0]
        place = chosen.keep / f"{reader}-{first.seed}-{first.number}"
        bundle = mutation(str(chosen.keep / f"{reader}.pickle"), first.seed, first.number)
        if index < chosen.shrink:
            bundle = shrunk(bundle, tried, first.outcome)
        bundle.write(place)
        (place / "outcome.txt").write_text(f"{signature}\n\n{first.outcome.detail}\n")
        print(f"  {len(found):4} × {signature}\n         {place} (numbers {[f.number for f in found[:5]]})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
