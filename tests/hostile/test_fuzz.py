"""A fixed sample of mutations of every reader's sound models: none kills, hangs, bloats, or raises what is not ours.

``python -m tests.hostile.fuzz`` runs as many as there is time for.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from tests.hostile import wire
from tests.hostile.bundle import Bundle
from tests.hostile.exercise import Outcome, walk
from tests.hostile.fuzz import run
from tests.hostile.mutate import mutated
from tests.hostile.seeds import READERS, seeds
from tests.hostile.shrink import shrunk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the address space is bounded and measured")

SAMPLE = 80


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """The outcomes by reader."""
    found: dict[str, list[Outcome]] = {reader: [] for reader in READERS}
    for finding in run(READERS, 20, range(SAMPLE), 1, tmp_path_factory.mktemp("sound")):
        found[finding.reader].append(finding.outcome)
    return found


@pytest.mark.parametrize("reader", READERS)
def test_mutations_are_read_or_refused(reader: str, outcomes: dict[str, list[Outcome]]) -> None:
    found = outcomes[reader]
    assert len(found) == SAMPLE
    assert [f"{outcome.signature}\n{outcome.detail}" for outcome in found if outcome.bad] == []
    assert {outcome.verdict for outcome in found} >= {"refused"}


@pytest.mark.parametrize("reader", ["onnx", "mlmodel", "nnef", "archive"])
def test_a_mutation_is_the_same_wherever_it_is_made(reader: str) -> None:
    sound = seeds(reader)
    for number in range(40):
        made = mutated(sound[number % len(sound)], number, 3, sound)
        assert made == mutated(pickle.loads(pickle.dumps(sound))[number % len(sound)], number, 3, sound)
    changed = [mutated(sound[0], number, 3, sound) != sound[0] for number in range(100)]
    assert sum(changed) > 90


def test_messages_are_taken_apart_and_put_together_again() -> None:
    for bundle in seeds("onnx"):
        data = bundle.files["model.onnx"]
        fields = wire.parse(data)
        assert fields is not None
        assert wire.serialize(fields) == data
        assert sum(1 for _ in wire.places(fields)) > 20


def test_a_failure_is_made_smaller() -> None:
    """What fails stands for a reader that cannot bear two lines; the rest is to go."""
    text = "\n".join(f"line {number}" for number in range(40))

    def attempt(bundle: Bundle) -> Outcome:
        lines = bundle.files["graph.nnef"].split(b"\n")
        return Outcome("error" if {b"line 7", b"line 31"} <= set(lines) else "fine", "load", "it cannot")

    small = shrunk(Bundle("nnef", "m", {"graph.nnef": text.encode()}), attempt, Outcome("error", "load", "it cannot"))
    assert small.files["graph.nnef"] == b"line 7\nline 31"


def test_sound_models_pass_through_everything(tmp_path: Path) -> None:
    """Else mutations of them would test nothing but the first check."""
    for reader in READERS:
        for index, bundle in enumerate(seeds(reader)[:3]):
            folder = tmp_path / f"{reader}{index}"
            folder.mkdir()
            outcome = walk(bundle.write(folder), reader)
            assert outcome.verdict in ("fine", "refused"), f"{reader} {index}: {outcome}"
            assert outcome.step in ("convert coreml", "save coreml", "run coreml"), f"{reader} {index}: {outcome}"
