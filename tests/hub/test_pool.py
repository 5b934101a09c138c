"""The memory that the sessions of a comparison share."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.executors import Fragment
from workbench.hub import Emitter, pool


def negation() -> Fragment:
    emitter = Emitter("negation")
    y = emitter.op("Neg", emitter.input("x", "float32", [1 << 20]))
    return Fragment(list(emitter.finish([y]).graph), [y.name or ""])


def test_what_was_made_in_the_pool_outlives_it() -> None:
    x = np.arange(1 << 20, dtype=np.float32)
    with pool.shared():
        pooled = negation()
        (y,) = pooled.run({"x": x}).values()
    (z,) = pooled.run({"x": 2 * x}).values()  # nor is a session that is still there of no use
    for _ in range(3):
        with pool.shared():
            negation().run({"x": x + 1})
    np.testing.assert_array_equal(y, -x)
    np.testing.assert_array_equal(z, -2 * x)


def test_memory_goes_back_at_the_end_of_the_last_work(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[bool] = []
    monkeypatch.setattr(pool, "_give_back", lambda: swept.append(pool.is_open()))
    with pool.shared():
        negation()
        with pytest.raises(ZeroDivisionError), pool.shared():
            raise ZeroDivisionError
        assert pool.is_open()
        assert not swept
    assert swept == [False]
    with pool.shared():
        pass
    assert swept == [False]  # there was nothing to sweep


def test_sessions_outside_have_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(pool, "_is_there", lambda: bool(asked.append(True)))
    negation()
    assert not asked
    with pool.shared():
        negation()
    assert asked
