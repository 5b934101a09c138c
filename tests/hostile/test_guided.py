"""Fuzzing guided by coverage, some twenty seconds a target with a fixed seed; hunting is the work of ``make fuzz``."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.hostile.guided import run

RUNS = {"nnef": 20_000, "coreml": 36_000, "onnx": 28_000}
"""What each target does in a minute's third, its start included."""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed (it has no wheel for every Python)")
@pytest.mark.parametrize("target", RUNS)
def test_nothing_is_found(target: str) -> None:
    assert run(target, f"-runs={RUNS[target]}", "-seed=1") == 0
