"""A report in words, with figures that do not vary between machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.compare.rows import Row
from workbench.compare.tolerance import power_of_ten
from workbench.words import one_line

if TYPE_CHECKING:
    from workbench.compare.report import Report


def text(report: Report) -> str:
    """The verdict, the outputs and what is worst."""
    target = report.target
    lines = [
        repr(report),
        f"  reference: {report.reference.format}, run by {report.reference.executor}",
        f"  target: {target.format}, run by {target.executor}" + (f" ({target.precision})" if target.precision else ""),
    ]
    lines += [f"  declared approximate: {declared}" for declared in report.approximations]
    lines += [f"  output {row.tensor!r}: {describe(row)}" for row in report.outputs]
    lines += [f"  note: {note}" for note in report.notes]
    first = report.first_failing
    if first is not None:
        lines.append(f"  look first at {first.operator} {first.layer!r}: {first.remark}")
        if first.signature is not None:
            lines.append(f"  it looks like {first.signature}")
    return "\n".join(map(one_line, lines))


def summary(rows: Sequence[Row]) -> str:
    """``95 tensors: 90 ok, 3 failing, 2 unmatched``."""
    counts = Counter(str(row.status) for row in rows)
    order = ("ok", "failing", "unmatched", "skipped")
    found = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    return f"{len(rows)} tensors: {found or 'none'}"


def approximations(rows: Sequence[Row]) -> tuple[str, ...]:
    """``3 tensors: erf within 5e-7 absolute``."""
    counts = Counter(row.approximate for row in rows if row.approximate)
    return tuple(f"{count} tensor{'s' if count != 1 else ''}: {bound}" for bound, count in counts.most_common())


def describe(row: Row) -> str:
    """``ok, relative L2 < 1e-05, largest difference < 1e-06``."""
    metrics = row.accumulated or row.isolated
    if metrics is None:
        return f"{row.status}, {row.reason}" if row.reason else row.status
    if metrics.pattern:
        text = f"{row.status}, NaN or infinity in other places"
    elif metrics.mismatches is not None:
        text = f"{row.status}, {metrics.mismatches} of {metrics.size} elements differ"
    else:
        text = f"{row.status}, relative L2 {power_of_ten(metrics.relative_l2)}"
    if metrics.top1 is not None:
        text += f", top-1 agreement {metrics.top1:.0%}"
    return text
