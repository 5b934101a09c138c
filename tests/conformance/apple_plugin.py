"""A pytest plugin under which coremltools' own tests predict off Apple, on the workbench.

Those tests ship in coremltools' wheel. They skip every prediction where they see no macOS; the plugin says that this is
one, and :func:`workbench.coreml.enable_predict` makes ``MLModel.predict`` work.
"""

from __future__ import annotations

import fnmatch
import gc
import os
import random

import pytest

os.environ.setdefault("PYMIL_TEST_TARGETS", "mlprogram,neuralnetwork")
os.environ.setdefault("INCLUDE_MIL_FP32_UNIT_TESTS", "1")

MACOS = (15, 0)
"""The version to report: the one of iOS 18, the newest that the tests know."""

_UNROUNDED = (
    "float16 parameters in a float32 program: the reference is computed before they are rounded (or from float32 "
    "literals), and is off by up to 1.5e-3 where the test allows 1e-4"
)
_HALF_SUM = "the reference adds 1 in float16, the program in float32"
_UNCHECKED = "indices out of range are undefined without validate_indices; the test expects what Apple makes of them"
_TRUNCATED = "expects numbers that are cut off after three digits (7.899 for 7.9)"
_BEYOND = "a box of normalized coordinates beyond 1, which ends before it starts: not what the operator documents"
_TORCHVISION = "needs torchvision, which is not among the development dependencies"
_COUNTS = "the numbers agree; the test then counts casts that a float32 program does not have"

EXCLUDED: dict[str, str] = {
    "iOS1[78]/test_recurrent.py::*smoke*precision='fp32'*numpy.float16*": _UNROUNDED,
    "test_conv.py::*'mlprogram'*precision='fp32'*numpy.float16*": _UNROUNDED,
    "::TestNormalizationL2Norm::*'mlprogram'*precision='fp32'*x_param_dtype=(<class 'numpy.float16'>*": _UNROUNDED,
    "::TestNormalizationInstanceNorm::*smoke*'mlprogram'*precision='fp32'*x_param_dtype=*'numpy.float16'>*": (
        _UNROUNDED
    ),
    "::TestResample::*precision='fp32'*numpy.float16*": _UNROUNDED,
    "::TestConstexprLutToSparse::*precision='fp32'*lut_dtype=fp16*": _HALF_SUM,
    "::TestConstexprSparseToDense::*precision='fp32'*data_dtype=fp16*": _HALF_SUM,
    "::TestJointCompressionOps::test_sparse_lut*precision='fp32'*lut_dtype=fp16*": _HALF_SUM,
    "::test_ios17_invalid_indices*validate_indices=False*": _UNCHECKED,
    "::TestCropResize::test_builder_to_backend_ios16*precision='fp32'*": _TRUNCATED,
    "::TestCropResize::test_builder_to_backend_ios17*precision='fp32'*N=3*": _TRUNCATED,
    "iOS15/test_image_resizing.py::TestCropResize::test_builder_to_backend_smoke*": _BEYOND,
    "iOS15/test_image_resizing.py::TestResample::*precision='fp32'*": _COUNTS,
    "::TestLinear::test_linear_fp16*'fp32'*": _UNROUNDED,
    "::TestNms::test_nms*": _TORCHVISION,
}
"""Pattern of a test's name → why cases of it fail without being wrong. They run, and what passes is counted too."""


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
            if fnmatch.fnmatchcase(item.nodeid, f"*{pattern}"):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nothing collected so far is garbage: coremltools collects garbage after each conversion, among 22,000 cases."""
    gc.collect()
    gc.freeze()
