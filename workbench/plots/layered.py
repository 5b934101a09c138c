"""Where the nodes of a graph go: rows by the longest path, within a row near what they are joined to.

An edge across several rows holds a narrow place in each of them, so that it passes between the nodes.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Edge = tuple[int, int]
Point = tuple[float, float]

_PASSING = 0.3
"""Width of an edge that passes a row; a node's is 1."""
_SWEEPS = 6


@dataclass(frozen=True)
class Layout:
    """A graph in rows; x in widths of a node, y in rows from the top.

    Attributes:
        nodes: place of each node.
        routes: of each edge, from node to node through the rows between them.
        rows: how many there are.
    """

    nodes: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    rows: int


def layered(count: int, edges: Sequence[Edge]) -> Layout:
    """Lay out ``count`` nodes; edges are (from, to), and those of a circle are passed over when rows are given."""
    rows = _rows(count, edges)
    chains, joints = [], list(edges)
    passing = rows[:]
    joints = []
    for start, end in edges:
        chain = [start]
        step = 1 if rows[end] > rows[start] else -1
        for row in range(rows[start] + step, rows[end], step):
            chain.append(len(passing))
            passing.append(row)
        chain.append(end)
        chains.append(chain)
        joints += list(itertools.pairwise(chain))
    x = _places(passing, [1.0] * count + [_PASSING] * (len(passing) - count), joints)
    points = [(x[node], float(passing[node])) for node in range(len(passing))]
    return Layout(
        tuple(points[:count]),
        tuple(tuple(points[node] for node in chain) for chain in chains),
        max(rows, default=-1) + 1,
    )


def _rows(count: int, edges: Sequence[Edge]) -> list[int]:
    """By the longest path; what nothing feeds stands right above what reads it first."""
    readers: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for start, end in edges:
        readers[start].append(end)
        waiting[end] += 1
    sources = [not number for number in waiting]
    rows, done = [0] * count, [False] * count
    ready = deque(node for node in range(count) if sources[node])
    for _ in range(count):
        if not ready:  # a circle: go on at its first node
            ready.append(done.index(False))
        node = ready.popleft()
        done[node] = True
        for reader in readers[node]:
            if not done[reader]:
                rows[reader] = max(rows[reader], rows[node] + 1)
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
    for node in range(count):
        if sources[node] and readers[node]:
            rows[node] = max(0, min(rows[reader] for reader in readers[node]) - 1)
    return rows


def _places(rows: Sequence[int], widths: Sequence[float], edges: Iterable[Edge]) -> list[float]:
    """x of each node: down and up again, each row near the mean of what it is joined to in the row before."""
    above: list[list[int]] = [[] for _ in rows]
    below: list[list[int]] = [[] for _ in rows]
    for start, end in edges:
        upper, lower = (start, end) if rows[start] <= rows[end] else (end, start)
        above[lower].append(upper)
        below[upper].append(lower)
    members: list[list[int]] = [[] for _ in range(max(rows, default=-1) + 1)]
    for node, row in enumerate(rows):
        members[row].append(node)
    x = [0.0] * len(rows)
    for group in members:
        _spread(group, x, widths, x)
    for sweep in range(_SWEEPS):
        near, order = (above, members) if sweep % 2 == 0 else (below, members[::-1])
        for group in order:
            wish = {node: _mean([x[other] for other in near[node]], x[node]) for node in group}
            _spread(group, wish, widths, x)
    return x


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(
    group: list[int], wish: Sequence[float] | dict[int, float], widths: Sequence[float], x: list[float]
) -> None:
    """Places as near to the wishes as the widths allow, in their order, the mean of them kept."""
    group.sort(key=lambda node: wish[node])
    wished = [wish[node] for node in group]
    edge = -float("inf")
    for node, place in zip(group, wished, strict=True):
        x[node] = max(place, edge + widths[node] / 2)
        edge = x[node] + widths[node] / 2
    shift = _mean([place - x[node] for node, place in zip(group, wished, strict=True)], 0.0)
    for node in group:
        x[node] += shift
