"""A sample of coremltools' own operator tests; all of them run in ``make conformance``."""

from __future__ import annotations

import sys

import pytest

from tests.conformance import apple

SAMPLE = 300


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Apple's own predictor")
def test_coremltools_own_operator_tests_pass_on_the_workbench() -> None:
    code, printed = apple.run(["--sample", str(SAMPLE)])
    assert code == 0, printed[-4000:]
    assert apple.totals(printed)["passed"] > SAMPLE / 2, printed[-500:]
