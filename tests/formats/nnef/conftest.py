"""What several files of these tests need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.formats.nnef.tract import Tract


@pytest.fixture(scope="module")
def tract() -> Iterator[Tract]:
    """tract, in a process of its own."""
    with Tract() as runner:
        yield runner
