"""The smallest set of layers whose correction makes all outputs ok.

Errors of single layers add up at the outputs, mostly as if they were independent: what the correction of a group takes
away there tells how much of it comes from the group. The groups that take away most are halved, down to single layers,
and these are collected until the outputs are ok. At last nothing is kept that can be left out. Where two layers help
only together (what overflows, and what brings it back), halving finds neither; then the set is found by leaving out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.compare.counterfactual import Counterfactual, Outcome
    from workbench.compare.rows import Row

    Attempt = Callable[[Sequence[Row]], Counterfactual]

TRIES = 400
"""Of so many corrections the best that was found is taken."""
_TOGETHER = 0.25
"""Where the halves of a group take away less than this share of what the group does, they work together only."""


class _Spent(Exception):
    """Enough was tried."""


def smallest(rows: Sequence[Row], ranking: Sequence[Row], attempt: Attempt) -> Counterfactual:
    """The outcome for a set of rows that cannot do without any of its members.

    Args:
        rows: in topological order.
        ranking: the same, those first that are the likeliest to be needed.
        attempt: corrects rows.

    Returns:
        A result that is ok; if not even all rows are enough, that of all.
    """
    search = _Search(attempt)
    if search.best([]).ok or not search.best(rows).ok:
        return search.found
    try:
        kept = search.collected(rows)
        order = {row.index: place for place, row in enumerate(ranking)}
        by_rank = sorted(kept, key=lambda row: order.get(row.index, len(order)))
        search.minimal([], by_rank, checked=True)
    except _Spent:
        pass
    return search.found


class _Search:
    """Counts what is tried, and remembers the smallest set that was ok.

    Attributes:
        found: that, or what was tried last while nothing was.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._known: dict[frozenset[int], Counterfactual] = {}
        self._size = -1
        self.found: Counterfactual

    def best(self, rows: Sequence[Row]) -> Counterfactual:
        """The outcome for these rows."""
        key = frozenset(row.index for row in rows)
        if key in self._known:
            return self._known[key]
        if len(self._known) >= TRIES:
            raise _Spent
        outcome = self._known[key] = self._attempt(sorted(rows, key=lambda row: row.index))
        if self._size < 0 or (outcome.ok and len(rows) < self._size):
            self.found = outcome
            self._size = len(rows) if outcome.ok else -1
        return outcome

    def collected(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that are enough: single ones by what they take away, or the smallest group that was met."""
        kept: list[Row] = []
        enough = list(rows)
        left = _loss(self.best([]))
        groups: list[tuple[float, int, Sequence[Row]]] = [(-left, 0, rows)]
        while groups:
            gain, _, group = heapq.heappop(groups)
            if len(group) == 1:
                kept = [*kept, *group]
                outcome = self.best(kept)
                if outcome.ok:
                    return kept
                left = _loss(outcome)
                continue
            middle = len(group) // 2
            halves = group[:middle], group[middle:]
            outcomes = [self.best([*kept, *half]) for half in halves]
            alone = [half for half, outcome in zip(halves, outcomes, strict=True) if outcome.ok]
            if alone:  # all others can be left out
                enough, groups = [*kept, *alone[-1]], [(-left, 0, alone[-1])]
                continue
            gains = [max(left - _loss(outcome), 0.0) for outcome in outcomes]
            if sum(gains) < _TOGETHER * -gain:
                return enough
            for half, taken in zip(halves, gains, strict=True):
                heapq.heappush(groups, (-taken, half[0].index, half))
        return enough

    def minimal(self, base: list[Row], rows: list[Row], *, checked: bool) -> list[Row]:
        """Of the rows, those that cannot be left out beside ``base``; the first ones are kept rather than the last.

        Args:
            checked: whether ``base`` alone is known not to be enough.
        """
        if not checked and self.best(base).ok:
            return []
        if len(rows) == 1:
            return rows
        first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        needed = self.minimal([*base, *first], second, checked=False)
        return [*self.minimal([*base, *needed], first, checked=not needed), *needed]


def _loss(outcome: Counterfactual) -> float:
    """How much is left of the outputs' errors, squared: 1 for each that is as it was, 0 for each that is ok."""
    return sum(_share(item) for item in outcome.outputs if item.reason)


def _share(outcome: Outcome) -> float:
    before, after = outcome.before, outcome.after
    if after.pattern or before.pattern or before.error <= 0:
        return 1.0
    return min(after.error / before.error, 10.0) ** 2
