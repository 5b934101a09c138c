"""What libraries log is held back below a level, and passed on above it."""

from __future__ import annotations

import logging

import pytest

from workbench.hub.quiet import quiet


def test_what_is_below_the_level_is_held_back_and_only_within_the_block(caplog: pytest.LogCaptureFixture) -> None:
    inner = logging.getLogger("some_library.part")
    with quiet("some_library", logging.ERROR):
        inner.warning("held back")
        inner.error("severe")
        with quiet("some_library", logging.CRITICAL):
            inner.error("held back by the inner block")
        inner.error("severe again")
    inner.warning("afterwards")
    logging.getLogger("some_library").warning("its own")
    assert caplog.messages == ["severe", "severe again", "afterwards", "its own"]


def test_the_level_of_the_library_is_left_alone() -> None:
    logger = logging.getLogger("another_library")
    logger.setLevel(logging.INFO)
    with quiet("another_library", logging.ERROR):
        assert logger.level == logging.INFO
    assert logger.level == logging.INFO
