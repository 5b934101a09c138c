"""Limits that keep a hostile or broken file from exhausting the machine. Each refusal names its limit.

Change one for the whole process with ``workbench.limits.current = dataclasses.replace(workbench.limits.current, …)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """Upper bounds, checked before anything is parsed, expanded or allocated."""

    file_bytes: int = 16 << 30
    text_bytes: int = 64 << 20
    nesting: int = 200
    nodes: int = 200_000
    tensor_elements: int = 1 << 31
    folded_elements: int = 1 << 26
    archive_bytes: int = 16 << 30
    archive_members: int = 100_000


current = Limits()


def check(limit: str, value: int, where: str) -> None:
    """Raise :class:`LimitError` if ``value`` is beyond the limit of that name.

    ``where`` says what was measured, for the message.
    """
    bound = getattr(current, limit)
    if value > bound:
        raise LimitError(
            f"{where}: {value:,} is beyond the limit {limit} = {bound:,}; "
            "raise it in workbench.limits.current if the file is trusted."
        )
