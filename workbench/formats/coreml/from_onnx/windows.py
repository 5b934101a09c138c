"""The geometry of sliding windows that convolutions and pools share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.formats.coreml.from_onnx.slicing import Pick, entire
from workbench.hub import HubNode
from workbench.hub.sizes import is_open, larger
from workbench.lowering import Refused


@dataclass(frozen=True)
class Windows:
    """Explicit window geometry: one entry a spatial axis, padding as (before, after).

    Attributes:
        same: MIL's name of the rule that pads (``same``, ``same_lower``), where the amounts depend on open sizes;
            ``pads`` are then zeros.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    same: str = ""

    @property
    def padding(self) -> dict[str, Any]:
        """MIL's arguments for the padding."""
        return {"pad_type": self.same} if self.same else {"pad_type": "custom", "pad": self.flat_pads}

    def require_explicit(self, what: str) -> None:
        """Refuse where the padding depends on open sizes."""
        if self.same:
            raise Refused(f"{what} with padding that depends on open sizes", "fix the sizes with shapes={…}")

    @property
    def flat_pads(self) -> list[int]:
        """before, after, before, after, …: MIL's order."""
        return [amount for pair in self.pads for amount in pair]

    @property
    def padded(self) -> bool:
        return any(self.flat_pads)

    def taps(self, shape: Sequence[int]) -> list[list[Pick]]:
        """For each position in the window, where the elements that stand there lie in padded data of the shape.

        Args:
            shape: [batch, channels, …] with the padding.
        """
        sizes = [
            (size - (width - 1) * spread - 1) // step + 1
            for size, width, step, spread in zip(shape[2:], self.kernel, self.strides, self.dilations, strict=True)
        ]
        taps = []
        for position in itertools.product(*map(range, self.kernel)):
            picks = [entire(size) for size in shape[:2]]
            for place, size, step, spread in zip(position, sizes, self.strides, self.dilations, strict=True):
                picks.append(Pick(place * spread, size, step))
            taps.append(picks)
        return taps


def windows_of(node: HubNode, kernel: Sequence[int], spatial: Sequence[int]) -> Windows:
    """Read strides, dilations, pads and auto_pad of a Conv or pool.

    ``SAME_UPPER`` and ``SAME_LOWER`` become explicit amounts: the output has ⌈size / stride⌉ elements and the odd one
    is padded at the end or at the beginning.
    """
    count = len(spatial)
    strides = node.attr_ints("strides") or (1,) * count
    dilations = (node.attr_ints("dilations") if _knows(node, "dilations") else None) or (1,) * count
    auto, given = node.attr_string("auto_pad"), node.attr_ints("pads")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        upper = auto == "SAME_UPPER"
        pads = tuple(
            _same(size, width, step, spread, upper=upper)
            for size, width, step, spread in zip(spatial, kernel, strides, dilations, strict=True)
        )
        if any(is_open(pair) for pair in pads):
            none = ((0, 0),) * count
            return Windows(tuple(kernel), strides, dilations, none, "same" if upper else "same_lower")
    elif auto == "VALID" or given is None:
        pads = ((0, 0),) * count
    else:
        pads = tuple((given[axis], given[axis + count]) for axis in range(count))
    return Windows(tuple(kernel), strides, dilations, pads)


def _knows(node: HubNode, attribute: str) -> bool:
    from workbench.hub import schema_of

    schema = schema_of(node.operator, node.domain)
    return schema is not None and attribute in schema.attributes


def _same(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> tuple[Any, Any]:
    reach = (kernel - 1) * dilation + 1
    total = larger(((size + (stride - 1)) // stride - 1) * stride + reach - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)
