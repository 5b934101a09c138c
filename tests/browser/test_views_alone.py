"""Views on a bare page: the upload's pieces, and the rows of a table that are marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.bareview import hear, sent, show, trait
from workbench.widgets.layer_table import Column, LayerTable
from workbench.widgets.upload_button import UploadButton


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    yield context.new_page()
    context.close()


def choose(page: Page, name: str, size: int) -> None:
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": bytes(size)})


def pieces(page: Page) -> list[tuple[Any, Any]]:
    return [(message["offset"], message["bytes"][0]) for message in sent(page) if message["type"] == "piece"]


def wait_for_pieces(page: Page, count: int) -> None:
    page.wait_for_function("count => window.sent.filter(one => one.type === 'piece').length >= count", arg=count)
    page.wait_for_timeout(100)  # for more, which should not come


def test_an_upload_sends_no_more_than_a_few_pieces_ahead(page: Page) -> None:
    show(page, UploadButton(lambda upload: None))
    choose(page, "net.onnx", 950)
    assert [(one["type"], one["name"], one["size"]) for one in sent(page)] == [("begin", "net.onnx", 950)]
    hear(page, type="want", offset=0, bytes=100)
    wait_for_pieces(page, 3)
    assert pieces(page) == [(0, 100), (100, 100), (200, 100)]
    hear(page, type="want", offset=100, bytes=100)
    hear(page, type="want", offset=200, bytes=100)
    wait_for_pieces(page, 5)
    assert pieces(page)[3:] == [(300, 100), (400, 100)]
    hear(page, type="want", offset=900, bytes=100)
    wait_for_pieces(page, 10)
    assert pieces(page)[-1] == (900, 50)
    hear(page, type="end", text="Received net.onnx")
    expect(page.get_by_role("status")).to_have_text("Received net.onnx")
    expect(page.get_by_role("progressbar")).to_be_hidden()


def test_a_cancelled_upload_makes_room_for_the_next_at_once(page: Page) -> None:
    show(page, UploadButton(lambda upload: None))
    choose(page, "first.onnx", 500)
    # The first file's piece is still being read while the second begins.
    page.evaluate("""() => {
        window.hear({ type: 'want', offset: 0, bytes: 100 });
        [...document.querySelectorAll('button')].find(one => one.textContent === 'Cancel').click();
    }""")
    choose(page, "second.onnx", 150)
    hear(page, type="want", offset=0, bytes=100)
    wait_for_pieces(page, 2)
    assert pieces(page) == [(0, 100), (100, 50)]
    assert [one["type"] for one in sent(page)] == ["begin", "cancel", "begin", "piece", "piece"]


def test_a_file_that_cannot_be_read_any_more_is_told(page: Page) -> None:
    show(page, UploadButton(lambda upload: None))
    choose(page, "net.onnx", 500)
    page.evaluate("() => { Blob.prototype.arrayBuffer = () => Promise.reject(new Error('it has changed')); }")
    hear(page, type="want", offset=0, bytes=100)
    expect(page.get_by_role("status")).to_have_text("net.onnx cannot be read (it has changed); choose it again.")
    assert sent(page)[-1]["type"] == "cancel"


def test_rows_are_marked_by_key_and_by_click(page: Page) -> None:
    table = LayerTable((Column("layer"), Column("error", kind="number")), markable=True)
    table.put([("conv", 0.5), ("relu", 0.25), ("pool", 0.125)])
    show(page, table)
    body = page.get_by_role("grid")
    body.press("ArrowDown")
    body.press(" ")
    assert trait(page, "marked") == [0]
    expect(page.get_by_role("checkbox").first).to_have_attribute("aria-checked", "true")
    page.get_by_role("checkbox").nth(2).click()
    assert trait(page, "marked") == [0, 2]
    assert trait(page, "selected") == 0  # a mark is no choice
    page.get_by_role("button", name="error").click()
    body.press(" ")
    assert trait(page, "marked") == [2]
