"""NNEF ↔ Core ML on a fixed few of the networks that ``python -m tests.conformance.nnef_pairs`` goes through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.nnef_pairs import ROUTES, Network, architectures, check, real_models

pytest.importorskip("coremltools")

REAL = ("mtcnn-pnet",)
BUILT = ("mobilenet", "bert")


def network(name: str) -> Network:
    """The network of that name, and no other built."""
    if name in REAL:
        return next(real_models([name]))
    pytest.importorskip("torch")
    return next(architectures([name]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("route", ROUTES, ids=" → ".join)
@pytest.mark.parametrize("name", [*REAL, *BUILT])
def test_a_network_is_the_same_in_both(name: str, route: tuple[str, str], tmp_path: Path) -> None:
    finding = check(network(name), route, tmp_path)
    assert finding.verdict == "ok", str(finding)
