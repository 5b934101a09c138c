"""The browser, the server and the page of the browser tests; and a loud word where there is no browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.labpage import LabPage
from tests.browser.labserver import LabServer, lab_server
from tests.browser.models import write_notebook

ARTIFACTS = Path(__file__).parent / "artifacts"
_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)
_FOLDER = Path(__file__).parent
_FAILED = pytest.StashKey[bool]()
_NO_BROWSER = pytest.StashKey[int]()


def find_chromium() -> str | None:
    """The browser to drive: the one named by WORKBENCH_CHROMIUM, else what is installed."""
    named = os.environ.get("WORKBENCH_CHROMIUM")
    if named:
        return named
    installed = (shutil.which(command) for command in _COMMANDS)
    there = (place for place in _PLACES if Path(place).exists())
    return next((path for path in (*installed, *there) if path), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(_FOLDER)]
    for item in ours:
        item.add_marker(pytest.mark.browser)
    if find_chromium() is None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="no Chromium or Chrome on this machine"))
        config.stash[_NO_BROWSER] = len(ours)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    yield  # the usual summary first: this shall be the last thing one reads
    skipped = terminalreporter.config.stash.get(_NO_BROWSER, 0)
    if skipped:
        terminalreporter.write_sep("*", "NO BROWSER TEST WAS RUN", red=True, bold=True)
        terminalreporter.write_line(
            f"{skipped} browser tests were SKIPPED: no Chromium or Chrome was found. Install one (Debian: "
            "apt-get install chromium fonts-dejavu-core) or name it in WORKBENCH_CHROMIUM.",
            red=True,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    root = tmp_path_factory.mktemp("lab-root")
    with lab_server(root, tmp_path_factory.mktemp("lab-private")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--disable-dev-shm-usage"],  # containers: run as root, small /dev/shm
        )
        yield running
        running.close()


@pytest.fixture
def folder(server: LabServer, request: pytest.FixtureRequest) -> Path:
    """A new, empty folder below the server's root for the files of this test."""
    path = server.root / re.sub(r"\W+", "-", request.node.name).strip("-")
    path.mkdir()
    return path


@pytest.fixture
def lab(browser: Browser, server: LabServer, request: pytest.FixtureRequest) -> Iterator[LabPage]:
    """A fresh page. The test fails if the page reports an error; what it showed then is kept as a picture."""
    ARTIFACTS.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = LabPage(context.new_page(), server, ARTIFACTS)
    yield page
    if request.node.stash.get(_FAILED, False) or page.errors:
        page.screenshot(f"failed-{request.node.name}"[:100].replace("/", "-"))
    context.close()
    server.reset()
    assert not page.errors, "the page reported errors:\n" + "\n".join(page.errors)


@pytest.fixture(scope="module")
def shared(browser: Browser, server: LabServer, request: pytest.FixtureRequest) -> Iterator[tuple[LabPage, Path]]:
    """A page on an empty notebook for all tests of a module, and the notebook's folder."""
    ARTIFACTS.mkdir(exist_ok=True)
    folder = server.root / str(request.node.name).rpartition("/")[2].removesuffix(".py")
    folder.mkdir()
    write_notebook(folder / "scratch.ipynb", "")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = LabPage(context.new_page(), server, ARTIFACTS)
    page.open(f"{folder.name}/scratch.ipynb")
    page.wait_for_notebook()
    yield page, folder
    context.close()
    server.reset()


@pytest.fixture
def bench(shared: tuple[LabPage, Path], request: pytest.FixtureRequest) -> Iterator[LabPage]:
    """The shared page, its notebook and kernel; the test puts its own cell there. As strict as `lab`."""
    page, _ = shared
    page.errors.clear()
    yield page
    if request.node.stash.get(_FAILED, False) or page.errors:
        page.screenshot(f"failed-{request.node.name}"[:100].replace("/", "-"))
    assert not page.errors, "the page reported errors:\n" + "\n".join(page.errors)


@pytest.fixture
def place(shared: tuple[LabPage, Path]) -> Path:
    """The folder of the shared notebook, where its kernel runs."""
    return shared[1]
