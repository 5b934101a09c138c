"""Samples of coremltools' own tests; more of them run in ``make conformance``."""

from __future__ import annotations

import sys

import pytest

from tests.conformance import apple
from workbench.hub import runs_hub_opset

pytest.importorskip("torch")  # most of those tests take it for the truth
pytestmark = [
    pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Apple's own predictor"),
    pytest.mark.skipif(not runs_hub_opset(), reason="the last onnxruntime for Python 3.10 has faults of its own"),
]

SAMPLES = {"operators": 300, "torch": 60}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("suite", "size"), SAMPLES.items())
def test_coremltools_own_tests_pass_on_the_workbench(suite: str, size: int) -> None:
    code, printed = apple.run(suite, ["--sample", str(size)])
    assert code == 0, printed[-4000:]
    assert apple.totals(printed)["passed"] > size / 2, printed[-500:]
