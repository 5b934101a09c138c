"""The report as a page: it stands alone, its names are never markup, and its data are all there without models."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.compare.digits import compared
from tests.compare.support import build, converted, same_names, source
from workbench.compare import Report, compare
from workbench.hub import Emitter

EVIL = "</script><script>alert('1')</script><!--"


class Parsed(HTMLParser):
    """What a browser would fetch or run, and the texts of scripts, cells and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.contents: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self._open = f"{tag}#{dict(attrs).get('id')}" if dict(attrs).get("id") else tag
        self.contents.setdefault(self._open, [])

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.contents[self._open].append(data)


@pytest.fixture(scope="module")
def report() -> Report:
    return compared("coreml")


@pytest.fixture(scope="module")
def text(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.to_html(tmp_path_factory.mktemp("page") / "r.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, Any]:
    """The data that the page's script works with."""
    found = json.loads("".join(Parsed(text).contents["script#data"]))
    assert isinstance(found, dict)
    return found


def test_only_our_script_may_run_and_nothing_may_be_loaded(text: str) -> None:
    page = Parsed(text)
    assert page.tags.count("script") == 2
    script = "".join(page.contents["script"])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert unescape(policy).split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert all(address.startswith("#row-") for address in page.addresses)
    assert page.handlers == []
    assert set(re.findall(r"\w+://[^\s\"']*", text)) <= {"http://www.w3.org/2000/svg"}, "a namespace, not an address"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input("x", "float32", [3])
        with emitter.layer([EVIL]):
            return [emitter.rename(emitter.op("Exp", x), f'"><img src=x onerror=alert(1)>{EVIL}')]

    hub = build(emit)
    report = compare(source(hub, name=EVIL), converted(build(emit), source(hub), same_names(hub)))
    written = report.to_html(tmp_path / "r.html").read_text(encoding="utf-8")
    page = Parsed(written)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert page.handlers == []
    assert EVIL in data_of(written)["rows"][0][0][1]
    fragment = Parsed(report._repr_html_())
    assert not {"script", "img"} & set(fragment.tags)
    assert "&lt;script&gt;" in report._repr_html_()


def test_names_have_no_power_over_the_line_and_long_ones_are_shortened(tmp_path: Path) -> None:
    """A mark that turns the writing direction would turn what stands behind the name."""
    turned, long = "a\u202eb\x1b[31mc\nd", "scope/" * 40

    def make(factor: float) -> Any:
        def emit(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [3])
            with emitter.layer([turned]):
                y = emitter.rename(emitter.op("Mul", x, emitter.const(factor)), turned)
            with emitter.layer([long]):
                return [emitter.rename(emitter.op("Mul", y, emitter.const(factor)), long)]

        return build(emit)

    reference = source(make(1.0), name=turned)
    report = compare(reference, converted(make(2.0), reference, same_names(make(2.0))))
    written = report.to_html(tmp_path / "r.html").read_text(encoding="utf-8")
    assert not {"\u202e", "\x1b"} & set(written)
    told = [text for row in data_of(written)["rows"] for fact in row for text in fact if isinstance(text, str)]
    assert not {"\u202e", "\x1b", "\n"} & set("".join(told))
    facts = [{fact[0]: fact[1] for fact in row} for row in data_of(written)["rows"]]
    assert facts[0]["title"] == "Mul a\\u202eb\\x1b[31mc\\x0ad"
    assert len(facts[1]["title"]) < 80
    assert facts[1]["layer"] == long, "all of it is there"
    assert all(long not in text for text in re.findall(r"<dt>look at</dt><dd>(.*?)</dd>", written))
    assert "<dt>look at</dt>" in written


def test_every_row_is_there_without_scripts(report: Report, text: str) -> None:
    page = Parsed(text)
    assert page.tags.count("tr") == len(report.rows) + 1
    assert [f"tr#row-{row.index}" in page.contents for row in report.rows] == [True] * len(report.rows)
    measured = [row for row in report.rows if row.accumulated is not None]
    assert text.count("<circle") == len(measured)
    assert "makes an error: relative L2 above 2e-05" in text
    assert "it looks like gain" in text


def test_the_details_of_rows_are_data(report: Report, text: str) -> None:
    data = data_of(text)
    assert len(data["rows"]) == len(report.rows)
    row = report.row("dense1")
    facts = {fact[0]: fact[1:] for fact in data["rows"][row.index]}
    assert facts["title"] == ["Gemm-13 dense1"]
    assert facts["relative L2"] == [f"{row.accumulated.relative_l2:.3e}", f"{row.isolated.relative_l2:.3e}"]
    assert facts["looks like"][0].startswith("gain")
    summary = data["details"][str(row.index)]
    assert summary["mode"] == "isolated"
    assert sum(summary["reference"]) == sum(summary["target"]) == sum(map(sum, summary["density"])) == 64
    assert len(summary["worst"]) == 10


def test_the_number_of_details_is_bounded(report: Report, tmp_path: Path) -> None:
    def details(count: int) -> set[str]:
        return set(data_of(report.to_html(tmp_path / "r.html", details=count).read_text(encoding="utf-8"))["details"])

    assert details(0) == set()
    outputs = {str(row.index) for row in report.outputs}
    assert details(1) == outputs
    assert len(details(4)) == 4
    assert len(details(100)) == len([row for row in report.rows if row.target_tensor])


def test_a_report_from_a_file_has_a_page_without_tensors(report: Report, tmp_path: Path) -> None:
    again = wb.load_report(report.save(tmp_path / "r.json"))
    data = data_of(again.to_html(tmp_path / "r.html").read_text(encoding="utf-8"))
    assert data["details"] == {}
    assert len(data["rows"]) == len(report.rows)


def test_what_json_cannot_say_is_said_in_words(tmp_path: Path) -> None:
    def emit(factor: float) -> Any:
        def make(emitter: Emitter) -> list[Any]:
            x = emitter.input("x", "float32", [4])
            with emitter.layer(["log"]):
                return [emitter.rename(emitter.op("Mul", emitter.op("Log", x), emitter.const(factor)), "y")]

        return build(make)

    reference = source(emit(1.0))
    feeds = {"x": np.asarray([-1.0, 0.0, 1.0, 2.0], np.float32)}
    report = compare(reference, converted(emit(2.0), reference, {"y": "y"}), feeds)
    data = data_of(report.to_html(tmp_path / "r.html").read_text(encoding="utf-8"))
    facts = {fact[0]: fact[1:] for fact in data["rows"][0]}
    assert facts["NaN"] == ["1 → 1", "1 → 1"]
    assert facts["infinities"] == ["1 → 1", "1 → 1"]


def test_all_kinds_of_tensors_have_a_page(tmp_path: Path) -> None:
    def emit(emitter: Emitter) -> list[Any]:
        x = emitter.input("x", "float32", [3])
        with emitter.layer(["less"]):
            less = emitter.rename(emitter.op("Less", x, emitter.const(0.0)), "l")
        with emitter.layer(["sum"]):
            return [less, emitter.rename(emitter.op("ReduceSum", x, keepdims=0), "s")]

    model = source(build(emit))
    report = compare(model, model)
    data = data_of(report.to_html(tmp_path / "r.html").read_text(encoding="utf-8"))
    assert sum(data["details"]["1"]["reference"]) == 1, "a tensor without dimensions"
