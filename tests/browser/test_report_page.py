"""The report's page in a browser: one selection in all views, by mouse and by keyboard, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.compare.digits import compared


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = compared("coreml").to_html(tmp_path_factory.mktemp("page") / "r.html")
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1300, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda asked: errors.append(asked.url) if not asked.url.startswith("file:") else None)
    opened.goto(address)
    yield opened
    context.close()
    assert errors == []


def selected(page: Page) -> tuple[str, str, str]:
    """What table, profile and details show as selected."""
    row = page.locator("#rows tr[aria-selected=true]")
    mark = page.locator("#profile g.chosen")
    chosen = str(mark.get_attribute("data-row")) if mark.count() else ""
    return str(row.get_attribute("id")), chosen, str(page.locator("#detail h2").text_content())


def test_the_first_failing_row_is_shown_at_once(page: Page) -> None:
    assert selected(page) == ("row-8", "8", "Gemm-13 dense1")
    assert page.locator("#detail svg").count() == 3
    assert page.evaluate("scrollY") == 0


def test_a_click_in_one_view_selects_in_all(page: Page) -> None:
    page.locator("#row-2").click()
    assert selected(page) == ("row-2", "2", "BatchNormalization-15 norm")
    page.locator("#profile g[data-row='11'] .hit").click()
    assert selected(page) == ("row-11", "11", "Softmax-13 probabilities")
    page.locator("a.pick").last.click()
    assert selected(page) == ("row-8", "8", "Gemm-13 dense1")
    assert page.url.endswith("#row-8")


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.keyboard.press("ArrowDown")
    assert selected(page)[0] == "row-9"
    page.keyboard.press("p")
    assert selected(page)[0] == "row-8"
    page.keyboard.press("Home")
    page.keyboard.press("n")
    assert selected(page)[0] == "row-8"
    page.locator("#profile svg").focus()
    page.keyboard.press("ArrowLeft")
    assert selected(page)[:2] == ("row-7", "7")
    page.keyboard.press("/")
    page.keyboard.type("conv")
    assert page.locator("#shown").text_content() == "2 of 12 rows"
    page.keyboard.press("Enter")
    assert selected(page)[0] in ("row-1", "row-4")
    page.locator("a.pick").last.click()
    assert selected(page)[0] == "row-8", "a link shows its row whatever is filtered"


def test_columns_sort_and_sort_back(page: Page) -> None:
    head = page.locator("#rows th button", has_text="isolated")
    head.click()
    first = page.locator("#rows tbody tr").first
    assert first.get_attribute("id") == "row-8"
    assert page.locator("#rows th[aria-sort=descending]").count() == 1
    page.locator("#rows th button", has_text="#").click()
    assert page.locator("#rows tbody tr").first.get_attribute("id") == "row-0"


def test_an_address_with_a_row_opens_on_it(browser: Browser, address: str) -> None:
    opened = browser.new_page()
    opened.goto(f"{address}#row-3")
    assert selected(opened)[0] == "row-3"
    opened.close()


def test_text_can_be_told_from_the_paper(page: Page) -> None:
    """Contrast of at least 4.5 (WCAG AA) for every kind of text in the table."""
    ratios = page.evaluate(
        """() => {
          const light = (colour) => {
            const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
              const share = Number(part) / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          return [...document.querySelectorAll("#rows td, dt, dd a, .badge, .legend, #detail td")].map((node) => {
            const ink = light(getComputedStyle(node).color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
          });
        }"""
    )
    assert min(ratios) >= 4.5
