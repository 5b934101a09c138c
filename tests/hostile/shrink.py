"""Making a failing model smaller for as long as it fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tests.hostile import wire
from tests.hostile.bundle import Bundle
from tests.hostile.exercise import Outcome

SECONDS = 60.0
"""For one failure; each try may cost a new process."""


def shrunk(bundle: Bundle, attempt: Callable[[Bundle], Outcome], outcome: Outcome, seconds: float = SECONDS) -> Bundle:
    """Drop protobuf fields, lines and runs of bytes while the signature of the failure stays.

    Args:
        bundle: what fails.
        attempt: tries a bundle.
        outcome: how it fails.
        seconds: when to stop at the latest.
    """
    until = time.monotonic() + seconds
    again = True
    while again and time.monotonic() < until:
        again = False
        for name in sorted(bundle.files):
            for smaller in _smaller(name, bundle.files[name]):
                if time.monotonic() > until:
                    return bundle
                candidate = bundle.with_file(name, smaller)
                if attempt(candidate).signature == outcome.signature:
                    bundle, again = candidate, True
                    break
            if again:
                break
    return bundle


def _smaller(name: str, data: bytes) -> Iterator[bytes]:
    """Smaller versions, the much smaller ones first."""
    fields = wire.parse(data) if name.endswith((".onnx", ".mlmodel")) else None
    if fields:
        found = sorted(wire.places(fields), key=lambda place: -len(wire.serialize([place[0][place[1]]])))
        for holder, index in found[:200]:
            taken = holder.pop(index)
            yield wire.serialize(fields)
            holder.insert(index, taken)
        return
    separator = b"\n" if name.endswith((".nnef", ".mil", ".json", ".quant")) else None
    pieces = data.split(separator) if separator else [data[start : start + 64] for start in range(0, len(data), 64)]
    size = len(pieces) // 2
    while size:
        for start in range(0, len(pieces), size):
            yield (separator or b"").join(pieces[:start] + pieces[start + size :])
        size //= 2
