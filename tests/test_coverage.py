"""The page of supported operators is what the tables say."""

from __future__ import annotations

from pathlib import Path

from workbench.coverage import markdown
from workbench.formats import all_formats


def test_the_page_is_current() -> None:
    page = Path(__file__).parent.parent / "docs" / "coverage.md"
    assert page.read_text(encoding="utf-8") == markdown(all_formats().values()), "run `make docs`"
