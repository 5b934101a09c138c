"""ONNX's backend node tests through a format: ``python -m tests.conformance.nodes coreml [--sample N] [--table]``.

Each case is converted as it is and with its constants baked in, written, read again, run, and compared. A whole run
writes ``docs/conformance-<format>.md``. The exit code is 1 if anything is wrong, or fails other than by a refusal.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conformance import node_pool, node_report
from tests.conformance.node_cases import VARIANTS, Case, collect, sample
from tests.conformance.node_check import ROUTES, Outcome, check

LIMIT = 60.0
"""Seconds for one variant of one case."""

DOCS = Path(__file__).parent.parent.parent / "docs"


def run(cases: Sequence[Case], route: str, jobs: int) -> Iterator[Outcome]:
    """Both variants of the cases, as they come."""
    tasks = [
        (variant, name, route)
        for case in cases
        for name, variant in zip(VARIANTS, (case, case.baked()), strict=True)
        if variant is not None
    ]
    for (case, name, _), result, failure in node_pool.run(_work, tasks, jobs=jobs, limit=LIMIT):
        yield result or Outcome(case.name, case.operator, name, case.representable, "error", failure)


def _work(case: Case, variant: str, route: str) -> Outcome:
    return check(case, variant, ROUTES[route])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("format", choices=ROUTES)
    parser.add_argument("--sample", type=int, default=0, help="this many cases, chosen by a fixed seed; 0 is all")
    parser.add_argument("--cases", default="", help="only cases whose names match the regular expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", action="store_true", help="print the table by operator")
    chosen = parser.parse_args()
    cases = [case for case in sample(collect(), chosen.sample) if re.search(chosen.cases, case.name)]
    place = {case.name: index for index, case in enumerate(cases)}
    found = sorted(run(cases, chosen.format, chosen.jobs), key=lambda outcome: (place[outcome.case], outcome.variant))
    if chosen.table:
        print("\n".join(node_report.table(found)))
    for cause, count in node_report.causes(found):
        print(f"{count:5} refused: {cause}")
    failures = [outcome for outcome in found if outcome.verdict in ("wrong", "error")]
    for outcome in failures:
        print(f"{outcome.verdict}: {outcome.case} {outcome.variant}: {outcome.detail}")
    if ROUTES[chosen.format].oracle:
        print("\n".join(node_report.elsewhere(found, ROUTES[chosen.format])))
    print("\n".join(node_report.summary(found)))
    if not chosen.sample and not chosen.cases:
        command = f"python -m tests.conformance.nodes {chosen.format}"
        page = node_report.page(found, ROUTES[chosen.format], command)
        (DOCS / f"conformance-{chosen.format}.md").write_text(page, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
