"""What the engine leaves undone because it is done already, and that it stops when it is told to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.compare.support import chain, converted, same_names, source
from workbench.compare import compare, engine, group
from workbench.errors import Cancelled
from workbench.executors import Fragment, fragment

SAMPLES = [{"x": np.random.default_rng(seed).standard_normal((2, 16)).astype(np.float32)} for seed in range(7)]


def pair(fault: int | None = None, depth: int = 12) -> tuple[Any, Any]:
    reference = source(chain(depth))
    hub = chain(depth, fault)
    return reference, converted(hub, reference, same_names(hub))


class Counted:
    """Counts the sessions that are made and the runs of them, by the model that they are of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        make, run = group.fragment, group.run_fragment

        def counted_make(walk: Any, *arguments: Any, **options: Any) -> Any:
            self.made[walk.subject] += 1
            return make(walk, *arguments, **options)

        def counted_run(walk: Any, *arguments: Any) -> Any:
            self.runs[walk.subject] += 1
            return run(walk, *arguments)

        monkeypatch.setattr(group, "fragment", counted_make)
        monkeypatch.setattr(group, "run_fragment", counted_run)


REFERENCE, TARGET = "onnx model 'net'", "onnx model 'converted'"


def test_where_the_target_computes_the_reference_s_own_tensors_it_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    report = compare(*pair(), feeds=SAMPLES)
    assert report.ok
    assert counted.runs[TARGET] == counted.runs[REFERENCE]
    assert all(row.isolated == row.accumulated for row in report.rows)


def test_behind_a_difference_it_runs_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    report = compare(*pair(fault=6), feeds=SAMPLES)
    assert [row.layer for row in report.failing if row.blame == "own"] == ["dense_6"]
    assert counted.runs[REFERENCE] < counted.runs[TARGET] < 2 * counted.runs[REFERENCE]


def test_leaving_runs_out_changes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pair(fault=3)
    quick = compare(*models, feeds=SAMPLES).rows
    monkeypatch.setattr(group.Group, "_unaltered", lambda self, name, sample: False)
    assert compare(*models, feeds=SAMPLES).rows == quick


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_sessions_are_made_once_for_all_groups_of_samples(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    expected = compare(*pair(fault=3), feeds=SAMPLES).rows
    monkeypatch.setattr(engine, "GROUP_SAMPLES", limit)
    counted = Counted(monkeypatch)
    assert compare(*pair(fault=3), feeds=iter(SAMPLES)).rows == expected
    made = counted.made.copy()
    counted.made.clear()
    compare(*pair(fault=3), feeds=SAMPLES[0])
    assert made == counted.made


def test_no_more_sessions_are_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "GROUP_SAMPLES", 2)
    expected = compare(*pair(fault=3), feeds=SAMPLES).rows
    monkeypatch.setattr(group, "KEPT", 2)
    assert compare(*pair(fault=3), feeds=SAMPLES).rows == expected


@pytest.mark.parametrize("samples", [1, 64])
def test_a_cancellation_is_answered_within_a_second(samples: int) -> None:
    """Also inside a group of many samples: the progress is called between runs, not only between segments."""
    wanted = threading.Event()
    last = [0.0]

    def progress(stage: str, fraction: float) -> None:
        last[0] = time.monotonic()
        if wanted.is_set():
            raise Cancelled("enough")

    reference = source(chain(40, width=256))
    hub = chain(40, width=256)
    models = reference, converted(hub, reference, same_names(hub))

    def feeds() -> Any:
        for _ in range(4 * samples):
            yield {"x": np.ones((2, 256), np.float32)}

    threading.Timer(0.5, wanted.set).start()
    start = time.monotonic()
    try:
        while time.monotonic() - start < 20:
            compare(*models, feeds=feeds(), progress=progress)
    except Cancelled:
        assert time.monotonic() - start < 3  # half a second until it was wanted, a second, and a busy machine
    else:
        raise AssertionError("it was not cancelled")


def test_weights_beyond_the_bound_are_not_held_from_one_group_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "GROUP_SAMPLES", 2)
    models = pair(fault=3, depth=6)
    expected = compare(*models, feeds=SAMPLES).rows
    made: list[Any] = []
    released: Counter[int] = Counter()
    make, release = group.fragment, Fragment.release

    def kept(*arguments: Any, **options: Any) -> Any:
        made.append(make(*arguments, **options))
        return made[-1]

    def counted(self: Fragment) -> None:
        released[id(self)] += 1
        release(self)

    monkeypatch.setattr(group, "fragment", kept)
    monkeypatch.setattr(Fragment, "release", counted)
    monkeypatch.setattr(fragment, "INLINE_BYTES", 0)  # every weight is handed over
    monkeypatch.setattr(group, "KEPT_BYTES", 0)
    assert compare(*models, feeds=SAMPLES).rows == expected
    large = [one for one in made if one.constant_bytes]
    assert large
    assert all(released[id(one)] and not one._shared for one in large)
    monkeypatch.setattr(group, "KEPT_BYTES", 1 << 20)
    made.clear()
    released.clear()
    assert compare(*models, feeds=SAMPLES).rows == expected
    assert all(one._shared for one in made if one.constant_bytes)
