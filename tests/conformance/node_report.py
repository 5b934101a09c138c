"""What the node tests found, in figures: totals, a table by operator, the causes of refusals."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.conformance.node_cases import UNCHECKED, VARIANTS
from tests.conformance.node_check import ATOL, DRAWN, RTOL, Outcome, Route
from tests.conformance.node_random import TIMES

ORDER = ("error", "wrong", "right", "unchecked", "refused")
"""The verdict of a case is the first of these that one of its variants has."""


DIFFERENCES = {
    r"test_dynamicquantizelinear(_expanded)?": (
        "the quotient -127.49999 is rounded; tract multiplies by the reciprocal of the divisor instead, which gives "
        "-127.5 and rounds to the other side"
    ),
    r"test_attention_.*fp16": "tract adds up products of float16 in float16, the reference in float32",
}
"""Names of cases that an oracle computes otherwise → the reason."""


@dataclass(frozen=True)
class Totals:
    """Cases by verdict, and those right in one variant or the other."""

    cases: int
    right: dict[str, int]
    either: int
    verdicts: dict[str, int]

    def __str__(self) -> str:
        variants = ", ".join(f"{self.right[variant]} {variant}" for variant in VARIANTS)
        rest = ", ".join(f"{self.verdicts.get(verdict, 0)} {verdict}" for verdict in ORDER if verdict != "right")
        return f"{self.either} of {self.cases} right ({variants}), {rest}"


def by_case(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The variants of each case, in the order in which the cases came."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.case].append(outcome)
    return found


def verdict_of(variants: Sequence[Outcome]) -> str:
    """The case's own verdict: right if a variant is, unless one is wrong or an error."""
    return min((outcome.verdict for outcome in variants), key=ORDER.index)


def totals(outcomes: Sequence[Outcome], representable: bool = False) -> Totals:
    """Figures of all cases, or of the representable ones alone."""
    cases = by_case(outcome for outcome in outcomes if outcome.representable or not representable)
    right = dict.fromkeys(VARIANTS, 0)
    for variants in cases.values():
        verdicts = {outcome.variant: outcome.verdict for outcome in variants}
        for variant in VARIANTS:  # with one input there is nothing to bake
            right[variant] += verdicts.get(variant, verdicts[VARIANTS[0]]) == "right"
    verdicts = Counter(map(verdict_of, cases.values()))
    either = sum(any(outcome.verdict == "right" for outcome in variants) for variants in cases.values())
    return Totals(len(cases), right, either, dict(verdicts))


def causes(outcomes: Iterable[Outcome]) -> list[tuple[str, int]]:
    """Causes with the number of cases that are refused in every variant for them, most first."""
    counts: Counter[str] = Counter()
    for variants in by_case(outcomes).values():
        if verdict_of(variants) == "refused":
            counts.update({cause for outcome in variants for cause in outcome.causes})
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def elsewhere(outcomes: Sequence[Outcome], route: Route) -> list[str]:
    """What the route's oracle makes of the files: figures by case, then each that it does not run right, with why."""
    counts, listed = by_oracle(outcomes)
    figures = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("right", "refuses", "dies", "wrong"))
    lines = [f"{verdict}: {case}: {why}" for case, verdict, why in listed]
    return [*lines, f"by {route.oracle}: {figures} of {len(by_case(outcomes))}"]


def by_oracle(outcomes: Sequence[Outcome]) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Cases by what the oracle makes of the better variant; and each that is wrong, or right in none, with why."""
    counts: Counter[str] = Counter()
    listed = []
    for case, variants in by_case(outcomes).items():
        found = [outcome.elsewhere for outcome in variants if outcome.elsewhere[0]]
        verdicts = [verdict for verdict, _ in found]
        verdict = next((name for name in ("wrong", "right", "refuses", "dies") if name in verdicts), "")
        if verdict:
            counts[verdict] += 1
        if verdict not in ("", "right"):
            listed.append((case, verdict, last_cause(next(why for name, why in found if name == verdict))))
    return counts, listed


def oracle_lines(outcomes: Sequence[Outcome], route: Route) -> list[str]:
    """The part of the page that says what another reader makes of the files."""
    counts, listed = by_oracle(outcomes)
    figures = " | ".join(str(counts.get(verdict, 0)) for verdict in ("right", "refuses", "dies", "wrong"))
    rows = [f"| `{case}` | {verdict} | {_known(case, why)} |" for case, verdict, why in listed]
    return [
        f"## By {route.oracle}",
        "",
        f"The files of the cases that are right here, loaded and run by {route.oracle} itself, and what comes out",
        "compared with the reference in the same way. A case is right if one of its two files is and none is wrong.",
        "",
        "| reader | right | refuses | dies | wrong |",
        "|---|--:|--:|--:|--:|",
        f"| {route.oracle} | {figures} |",
        "",
        *(["| case | verdict | why |", "|---|---|---|", *rows, ""] if rows else []),
    ]


def _known(case: str, why: str) -> str:
    """Why the oracle differs, where it was found out, after what it says."""
    reason = next((text for pattern, text in DIFFERENCES.items() if re.fullmatch(pattern, case)), "")
    return f"{why}: {reason}".replace("|", "\\|") if reason else why.replace("|", "\\|")


def last_cause(text: str) -> str:
    """The innermost cause of an error of tract's, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^\d+: ", "", lines[-1]) if lines else ""


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """The totals as lines."""
    return [f"all: {totals(outcomes)}", f"representable: {totals(outcomes, representable=True)}"]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A row for each operator: cases, right, refused, wrong and errors, causes."""
    operators: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        operators[outcome.operator].append(outcome)
    rows = ["| operator | cases | right | refused | wrong | error | refused because |", "|---|--:|--:|--:|--:|--:|---|"]
    for operator, found in sorted(operators.items()):
        figures = totals(found)
        counts = " | ".join(str(figures.verdicts.get(verdict, 0)) for verdict in ("refused", "wrong", "error"))
        reasons = "; ".join(_reason(cause, operator, count) for cause, count in causes(found))
        unchecked = figures.verdicts.get("unchecked", 0)
        if unchecked:
            reasons = "; ".join(filter(None, [f"{unchecked} not checked: random", reasons]))
        rows.append(f"| `{operator}` | {figures.cases} | {figures.either} | {counts} | {reasons} |")
    return rows


def _reason(cause: str, operator: str, count: int) -> str:
    label, _, text = cause.partition(": ")
    own = label.rpartition("-")[0] == operator or label in ("input", "output")
    return f"{text if own else cause} ({count})".replace("|", "\\|")


def page(outcomes: Sequence[Outcome], route: Route, command: str) -> str:
    """The page of the docs."""
    options = ", ".join(f"{name}={value!r}" for name, value in route.options.items())
    unchecked = sorted({reason for pattern, reason in UNCHECKED.items() if DRAWN.lower() not in pattern})
    lines = [
        f"# ONNX's node tests through {route.title}",
        "",
        f"Written by `{command}`; do not edit. Each of ONNX's backend node tests is converted with",
        f"`convert({route.format!r}, {options})`, written, read again, run here, and compared with the outputs that",
        f"ONNX's reference gives: relative {RTOL:g}, absolute {ATOL:g}, integers and booleans exactly, NaN and",
        "infinities in the same places. *as is* feeds every input; *baked* makes all inputs but the first constants of",
        "the model, as weights, axes and sizes mostly are. A case is right if it is in one of the two and wrong in",
        "neither. *Representable* are the cases whose inputs and outputs are tensors of float16, float32, float64,",
        "int32, int64 or bool, of rank 5 at most.",
        "",
        "| cases | | right | as is | baked | refused | not checked | wrong | error |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        _totals_row("all", totals(outcomes)),
        _totals_row("representable", totals(outcomes, representable=True)),
        "",
        f"Of what {DRAWN} draws, the shares of ones in {TIMES:,} draws are compared with those of the reference.",
        *(f"Not checked: {reason}; shapes and dtypes are." for reason in unchecked),
        "",
        *(oracle_lines(outcomes, route) if route.oracle else []),
        "## By operator",
        "",
        "The cases of an operator include those of its function body. A number behind a cause counts the cases that",
        "are refused in both variants, for this cause in one of them.",
        "",
        *table(outcomes),
        "",
    ]
    return "\n".join(lines)


def _totals_row(name: str, figures: Totals) -> str:
    rest = [figures.verdicts.get(verdict, 0) for verdict in ("refused", "unchecked", "wrong", "error")]
    numbers = [figures.cases, figures.either, *(figures.right[variant] for variant in VARIANTS), *rest]
    return f"| {name} | {' | '.join(map(str, numbers))} |"
