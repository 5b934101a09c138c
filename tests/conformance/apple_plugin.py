"""A pytest plugin under which coremltools' own tests predict off Apple, on the workbench.

Those tests ship in coremltools' wheel. They skip every prediction where they see no macOS; the plugin says that this is
one, and :func:`workbench.coreml.enable_predict` makes ``MLModel.predict`` work.
"""

from __future__ import annotations

import fnmatch
import os
import random

import pytest

os.environ.setdefault("PYMIL_TEST_TARGETS", "mlprogram,neuralnetwork")
os.environ.setdefault("INCLUDE_MIL_FP32_UNIT_TESTS", "1")

MACOS = (15, 0)
"""The version to report: the one of iOS 18, the newest that the tests know."""

EXCLUDED: dict[str, str] = {}
"""Pattern of a test's name (``TestClass::test_name[*]``) → why it cannot pass on anything but Apple's runtime."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sample", type=int, default=0, help="run this many cases, chosen by a fixed seed")
    parser.addoption("--part", default="1/1", help="run every n-th case, beginning with the k-th: k/n")


def pytest_configure(config: pytest.Config) -> None:
    import coremltools
    from coremltools import _deps
    from coremltools.models import model, utils

    import workbench.coreml

    workbench.coreml.enable_predict()
    for module in (utils, model):
        module._is_macos = lambda: True
        module._macos_version = lambda: MACOS
    coremltools.utils._is_macos, coremltools.utils._macos_version = utils._is_macos, utils._macos_version
    _deps._IS_MACOS = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    count = config.getoption("--sample")
    if count:
        items.sort(key=lambda item: item.nodeid)
        chosen = set(random.Random(0).sample(range(len(items)), min(count, len(items))))
        items[:] = [item for index, item in enumerate(items) if index in chosen]
    part, _, parts = config.getoption("--part").partition("/")
    items[:] = items[int(part) - 1 :: int(parts)]
    for item in items:
        for pattern, reason in EXCLUDED.items():
            if fnmatch.fnmatch(item.nodeid, f"*{pattern}"):
                item.add_marker(pytest.mark.skip(reason=reason))
