"""Every crafted file is refused, by an error of the workbench's, in time, and nothing outside its folder is touched."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conformance import node_pool
from tests.hostile.corpus import CORPUS
from tests.hostile.meet import STEPS, Meeting, meet

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the corpus has pipes, links and bounds of address space")

SECONDS = 2.0
"""What a refusal may take."""

PATIENCE = 10.0
"""Seconds of the clock for it on a machine that is busy with other things too; then the process is ended."""


@pytest.fixture(scope="module")
def meetings(request: pytest.FixtureRequest) -> dict[str, Meeting | str]:
    """Every selected case, met in a worker process; a text where the process died or hung."""
    names = [item.callspec.params["name"] for item in request.session.items if item.fspath == request.fspath
             and "name" in getattr(getattr(item, "callspec", None), "params", {})]  # fmt: skip
    tasks = [(name,) for name in names]
    return {task[0]: result or failure for task, result, failure in node_pool.run(meet, tasks, jobs=1, limit=PATIENCE)}


@pytest.mark.parametrize("name", CORPUS)
def test_refused(name: str, meetings: dict[str, Meeting | str]) -> None:
    case, met = CORPUS[name], meetings[name]
    assert isinstance(met, Meeting), f"the process did not survive: {met}"
    assert not met.trespasses
    assert met.ours, f"{met.error or 'nothing'} was raised, in {met.step}: {met.message[-500:]}"
    assert STEPS.index(met.step) <= STEPS.index(case.refused), (
        f"refused no earlier than in {met.step}: {met.message[:300]}"
    )
    assert met.seconds < SECONDS * (PATIENCE / SECONDS if _busy() else 1), f"it took {met.seconds:.1f} s"
    assert len(met.message) < 4000, "the message is not to be read"


def _busy() -> bool:
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def test_the_corpus_covers_every_format() -> None:
    count: Callable[[str], int] = lambda start: sum(name.startswith(start) for name in CORPUS)  # noqa: E731
    assert min(count("onnx: "), count("nnef: "), count("coreml: ")) >= 50
    assert min(count("tar: "), count("zip: "), count("package: ")) >= 10
