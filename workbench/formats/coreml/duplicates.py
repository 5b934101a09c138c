"""Constants that a program has several times: coremltools' pass, comparing bits and copying nothing.

As it comes it takes for equal what differs by up to 6e-8 in float16, and copies a weight that does not lie in order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit

Array = np.ndarray[Any, Any]

_SAMPLE = 64
"""Elements from both ends that tell most constants apart."""


@functools.cache
def deduplication() -> Any:
    """The pass; use it inside a :func:`toolkit.session`."""
    module = toolkit.submodule("converters.mil.mil.passes.defs.cleanup.const_deduplication")

    class Deduplication(module.const_deduplication):  # type: ignore[misc, name-defined]  # coremltools is not typed
        @staticmethod
        def find_constants(blocks: Sequence[Any]) -> dict[Any, list[Any]]:
            """A constant → those that are the same, later in the blocks."""
            found: dict[Any, list[Any]] = {}
            alike: dict[tuple[Any, ...], list[Any]] = {}
            for operation in (operation for block in blocks for operation in block.operations):
                var = operation.outputs[0] if operation.op_type == "const" else None
                if (
                    var is None
                    or not isinstance(var.val, np.ndarray)
                    or not module.const_deduplication.should_be_deduplicated(var.val)
                ):
                    continue
                known = alike.setdefault((var.dtype, var.shape, _sample(var.val)), [])
                same = next((other for other in known if _same(other.val, var.val)), None)
                if same is None:
                    known.append(var)
                    found[var] = []
                else:
                    found[same].append(var)
            return found

    return Deduplication()


def _sample(array: Array) -> bytes:
    return bytes(array.flat[:_SAMPLE].tobytes() + array.flat[-_SAMPLE:].tobytes())


def _same(one: Array, other: Array) -> bool:
    """Whether all bits are the same, those of zeros and NaN included; row by row, for rows may lie anywhere."""
    if one.ndim < 2:
        return one.tobytes() == other.tobytes()
    return one is other or all(row.tobytes() == beside.tobytes() for row, beside in zip(one, other, strict=True))
