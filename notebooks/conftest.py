"""The tutorial on PyTorch is left out where PyTorch is not installed, and that is said."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

NEEDS_TORCH = ["11_from_pytorch_and_back.ipynb"]
collect_ignore = NEEDS_TORCH if find_spec("torch") is None else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in collect_ignore:
        terminalreporter.write_line(f"{name} was left out: PyTorch is not installed.", yellow=True)
