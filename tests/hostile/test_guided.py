"""That fuzzing guided by coverage runs, where ``atheris`` is installed; hunting is the work of ``make fuzz``."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.hostile.guided import TARGETS, run


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed (it has no wheel for every Python)")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_two_thousand_inputs(target: str) -> None:
    assert run(target, "-runs=2000", "-seed=1") == 0
