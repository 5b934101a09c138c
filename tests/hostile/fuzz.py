"""Mutations of sound models through everything: ``python -m tests.hostile.fuzz [--reader R] [--count N] [--seed S] …``.

Each is opened, listed, shown, run, planned, converted to every format, saved and run again in a worker process with
bounds of time and memory. What dies, hangs, grows or raises anything but the workbench's own errors is saved with its
number, made smaller, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import functools
import pickle
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import node_pool
from tests.hostile.bundle import Bundle
from tests.hostile.exercise import Outcome, exercise
from tests.hostile.mutate import mutated
from tests.hostile.seeds import READERS, seeds
from tests.hostile.shrink import shrunk

LIMIT = 60.0
"""Seconds of the clock for one model, on a machine that does other things too; see ``exercise.SECONDS``."""


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
    function: object, tasks: list[tuple[object, ...]], jobs: int
) -> Iterator[tuple[tuple[object, ...], Outcome]]:
    """The outcomes of tasks, those of dead and hanging workers among them."""
    for task, result, failure in node_pool.run(function, tasks, jobs=jobs, limit=LIMIT):  # type: ignore[arg-type]
        if result is None:
            result = Outcome("hung" if failure.startswith("no result") else "died", "", failure)
        yield task, result


def run(
    reader: str, seed: int, numbers: range, jobs: int, folder: Path, until: float = float("inf")
) -> Iterator[Finding]:
    """Try mutations until the time is over; ``folder`` is for the sound models."""
    path = folder / f"{reader}.pickle"
    if not path.exists():
        path.write_bytes(pickle.dumps(seeds(reader)))
    step = 500
    for start in range(numbers.start, numbers.stop, step):
        if time.monotonic() > until:
            return
        tasks = [(str(path), seed, number) for number in range(start, min(start + step, numbers.stop))]
        for task, outcome in outcomes(work, tasks, jobs):
            yield Finding(reader, seed, int(task[2]), outcome)  # type: ignore[call-overload]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=READERS, action="append", help="several times for several; default all")
    parser.add_argument("--count", type=int, default=10_000, help="mutations of each reader")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each reader; then stop")
    parser.add_argument("--keep", type=Path, default=Path("tests/hostile/artifacts"), help="where failures are saved")
    parser.add_argument("--shrink", type=int, default=3, help="make this many failures of each reader smaller")
    chosen = parser.parse_args()
    chosen.keep.mkdir(parents=True, exist_ok=True)
    numbers = range(chosen.start, chosen.start + chosen.count)
    failed = 0
    for reader in chosen.reader or READERS:
        until = time.monotonic() + chosen.seconds
        failed += _report(reader, list(run(reader, chosen.seed, numbers, chosen.jobs, chosen.keep, until)), chosen)
    return 1 if failed else 0


def _report(reader: str, findings: list[Finding], chosen: argparse.Namespace) -> int:
    """Print the counts, save what failed, and shrink the first of each kind of failure."""
    counts = Counter(finding.outcome.verdict for finding in findings)
    slowest = max((finding.outcome.seconds for finding in findings), default=0)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"{reader}, seed {chosen.seed}: {len(findings)} mutations: {summary}; slowest {slowest:.1f} s", flush=True)
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.outcome.bad:
            kinds.setdefault(finding.outcome.signature, []).append(finding)
    for index, (signature, found) in enumerate(sorted(kinds.items(), key=lambda item: -len(item[1]))):
        first = found[0]
        place = chosen.keep / f"{reader}-{first.seed}-{first.number}"
        bundle = mutation(str(chosen.keep / f"{reader}.pickle"), first.seed, first.number)
        if index < chosen.shrink:
            bundle = shrunk(bundle, tried, first.outcome)
        bundle.write(place)
        (place / "outcome.txt").write_text(f"{signature}\n\n{first.outcome.detail}\n")
        print(f"  {len(found):4} × {signature}\n         {place} (numbers {[f.number for f in found[:5]]})", flush=True)
    return sum(map(len, kinds.values()))


if __name__ == "__main__":
    sys.exit(main())
