"""Positions along axes, and the elements that stand there. MIL: ``slice_by_index``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub.sizes import Size, is_open, least, same


@dataclass(frozen=True)
class Pick:
    """So many positions from ``start`` on; start and count may be open sizes, and behave as numbers do."""

    start: int
    count: int
    step: int = 1

    @property
    def is_open(self) -> bool:
        """Whether it depends on open sizes."""
        return is_open((self.start, self.count))

    def is_all(self, size: int) -> bool:
        """Whether it is every position of an axis of the size, in their order."""
        return self.step == 1 and same(self.start, 0) and same(self.count, size)


Picks: TypeAlias = "Sequence[Pick | range]"


def entire(size: int) -> Pick:
    """Every position of an axis."""
    return Pick(0, size)


def is_whole(picks: Picks, shape: Sequence[int]) -> bool:
    """Whether the picks are all there is."""
    return all(_picked(pick).is_all(size) for pick, size in zip(picks, shape, strict=True))


def sliced(t: ProgramTarget, x: Var, picks: Picks) -> Var:
    """The elements at the given positions along each axis.

    Args:
        picks: for each axis positions within it, not none, possibly going down.
    """
    shape = t.shape(x)
    if is_whole(picks, shape):
        return x
    chosen = [_Bounds.of(_picked(pick), size) for pick, size in zip(picks, shape, strict=True)]
    found = t.op(
        "slice_by_index",
        x=x,
        begin=t.dimensions.vector([bounds.begin for bounds in chosen]),
        end=t.dimensions.vector([bounds.end for bounds in chosen]),
        stride=np.asarray([bounds.step for bounds in chosen], np.int32),
        **({"begin_mask": [bounds.from_edge for bounds in chosen]} if any(b.from_edge for b in chosen) else {}),
        end_mask=[bounds.to_edge for bounds in chosen],
    )
    return t.dimensions.typed(found, [_picked(pick).count for pick in picks])


def _picked(pick: Pick | range) -> Pick:
    return pick if isinstance(pick, Pick) else Pick(pick.start, len(pick), pick.step)


@dataclass(frozen=True)
class _Bounds:
    """One axis as MIL has it: from ``begin`` up or down to before ``end``, or from and to the edges."""

    begin: int
    end: int
    step: int
    from_edge: bool
    to_edge: bool

    @classmethod
    def of(cls, pick: Pick, size: int) -> _Bounds:
        if not pick.is_open:
            # the step over a single element says nothing, and may be larger than 32 bits
            step = pick.step if pick.count > 1 else 1
            end = pick.start + (pick.count - 1) * step + (1 if step > 0 else -1)
            return cls(pick.start, max(end, 0), step, from_edge=False, to_edge=end < 0)
        end = pick.start + (pick.count - 1) * pick.step + 1
        if pick.step > 0:
            to_edge = least(size - end) >= 0 and same(end, size)
            return cls(pick.start, 0 if to_edge else end, pick.step, from_edge=False, to_edge=to_edge)
        assert same(pick.start, size - 1), "an open slice that goes down begins at the last element"
        return cls(0, 0, pick.step, from_edge=isinstance(pick.start, Size), to_edge=True)
