"""For all tests: what the last onnxruntime for Python 3.10 computes wrongly is skipped there, with its reason."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest

from tests.runtime import is_fault_of_runtime


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes: it ignores Ctrl-C, which some tests send themselves
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except Exception as error:
        if is_fault_of_runtime(error):
            pytest.skip(str(error))
        raise
