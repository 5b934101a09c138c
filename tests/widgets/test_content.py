"""Blocks of text: what they hold, how they look without a browser, and that nothing in them is markup."""

from __future__ import annotations

import pytest

from workbench.errors import Cancelled, ConversionError, Refusal
from workbench.session import Failure
from workbench.widgets import content, text
from workbench.widgets.content import Content

HOSTILE = "<img src=x onerror=alert(1)>\x00\u202e\"'&"


def test_every_kind_has_a_static_form_in_which_text_is_text() -> None:
    shown = Content()
    shown.put(
        content.heading(HOSTILE),
        content.text(HOSTILE, "bad"),
        content.facts(("name", HOSTILE)),
        content.badges((HOSTILE, "ok")),
        content.code(HOSTILE),
        content.table(HOSTILE, ["a"], [[HOSTILE]]),
        content.alert(HOSTILE, HOSTILE, [HOSTILE]),
        None,
    )
    page = shown.static_html()
    assert "<img" not in page
    assert "&lt;img" in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert page.count("&lt;img") == 10
    assert repr(shown) == "Content(heading, text, facts, badges, code, table, alert)"


def test_a_refusal_lists_every_cause() -> None:
    refusals = [Refusal("onnx", "nnef", "Loop-16", f"l{i}", "no loops", "unroll it") for i in range(300)]
    block = content.failure_alert(Failure("convert", ConversionError(refusals)))
    assert block["title"] == "ConversionError"
    assert len(block["items"]) == 201
    assert "unroll it" in block["items"][0]
    assert block["items"][-1] == "… and 100 more"


def test_a_cancellation_is_no_error() -> None:
    block = content.failure_alert(Failure("convert", Cancelled("convert was cancelled.")))
    assert (block["title"], block["tone"]) == ("Cancelled", "warn")


def test_a_defect_shows_its_traceback() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        block = content.failure_alert(Failure("plan", error))
    assert "Traceback" in block["detail"]
    assert "defect" in block["text"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "—"),
        (3, "3"),
        (12345, "12,345"),
        (1.23456e-7, "1.23e-07"),
        (float("nan"), "nan"),
        ("a", "a"),
        (True, "True"),
    ],
)
def test_number(given: object, expected: str) -> None:
    assert text.number(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"), [(0, "0 bytes"), (999, "999 bytes"), (1_400_000, "1.4 MB"), (2e12, "2000.0 GB")]
)
def test_size(given: int, expected: str) -> None:
    assert text.size(given) == expected


def test_a_name_of_a_megabyte_is_cut() -> None:
    assert len(text.shown("x" * 1_000_000)) == text.MAX_CHARACTERS
