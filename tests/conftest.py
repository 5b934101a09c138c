"""For all tests: what the last onnxruntime for Python 3.10 computes wrongly is skipped there, with its reason."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.runtime import is_fault_of_runtime


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except Exception as error:
        if is_fault_of_runtime(error):
            pytest.skip(str(error))
        raise
