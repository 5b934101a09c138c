"""Slices of axes whose size is open."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from workbench.hub.sizes import Extent, Size, larger, same, smaller
from workbench.hub.symbolic.known import OpenShapes, Shape, input_of, shape_of, shapes


@shapes("Slice")
def _slice(node: ir.Node, known: OpenShapes) -> Sequence[Shape | None] | None:
    shape = shape_of(node, 0, known)
    parts = [known.elements(input_of(node, index)) for index in range(1, 5)]
    if shape is None or parts[0] is None or parts[1] is None:
        return None
    axes = parts[2] if parts[2] is not None else range(len(parts[0]))
    steps = parts[3] if parts[3] is not None else [1] * len(parts[0])
    if any(input_of(node, place) is not None and parts[place - 1] is None for place in (3, 4)):
        return None
    result = list(shape)
    for axis, start, end, step in zip(axes, parts[0], parts[1], steps, strict=True):
        place, size = int(axis) % len(shape), shape[int(axis) % len(shape)]
        bounds = None if size is None else bounds_of(size, start, end, int(step))
        result[place] = None if bounds is None else bounds[1]
    return [tuple(result)]


_FAR = 2**31 - 1
"""Exporters write the end of an axis as some number from here on."""


def bounds_of(size: Extent, start: Extent, end: Extent, step: int) -> tuple[Extent, Extent] | None:
    """Where a slice of an axis begins, and how many elements it has; ``None`` where the rules differ among the sizes.

    Raises:
        OpenSize: the same.
    """
    if step < 0:
        if isinstance(size, Size) and not (_from_the_end(start, size) and isinstance(end, int) and end <= -_FAR):
            return None
        first = size - 1 if isinstance(size, Size) else None
        if first is not None:
            return first, (size - 1) // -step + 1
        picked = range(int(size))[slice(int(start), None if end < -int(size) else int(end), step)]
        return picked.start, len(picked)
    begin, stop = _position(start, size), smaller(_position(end, size), size)
    count = larger(stop - begin, 0)  # a begin beyond the axis leaves nothing, as it is
    return begin, (count + (step - 1)) // step


def _from_the_end(start: Extent, size: Size) -> bool:
    """Whether a slice that goes down begins at the last element."""
    return (isinstance(start, int) and (start == -1 or start >= _FAR)) or same(start, size - 1)


def _position(bound: Extent, size: Extent) -> Extent:
    """A bound of a slice that goes up, counted from the front."""
    if isinstance(bound, int) and bound >= _FAR:
        return size
    return larger(bound + size, 0) if bound < 0 else bound
