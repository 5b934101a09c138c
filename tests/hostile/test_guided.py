"""One minute of fuzzing guided by coverage, where ``atheris`` is installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.hostile.guided import TARGETS, run


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed (it has no wheel for every Python)")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_within_twenty_seconds(target: str) -> None:
    assert run(target, 20) == 0
