"""The page of supported operators is what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.single_node import model_around
from workbench import Verdict, load
from workbench.coverage import markdown
from workbench.formats import all_formats


def test_the_page_is_current() -> None:
    page = Path(__file__).parent.parent / "docs" / "coverage.md"
    assert page.read_text(encoding="utf-8") == markdown(all_formats().values()), "run `make docs`"


DIALECTS = {"ONNX → NNEF": "khronos", "ONNX → NNEF (tract dialect)": "tract"}
X = np.asarray([[0.5, 0.25], [0.75, 0.5]], np.float32)


def listed(title: str, heading: str) -> set[str]:
    """The operators that the page lists for a direction, under a heading."""
    section = next(part for part in markdown(all_formats().values()).split("\n## ") if part.partition("\n")[0] == title)
    line = next(line for line in section.splitlines() if line.startswith(heading))
    return set(line.split("`")[1::2])


@pytest.mark.parametrize("title", DIALECTS)
@pytest.mark.parametrize("operator", ["Unique", "Bernoulli", "NonZero"])
def test_what_is_listed_as_refused_is_refused(operator: str, title: str) -> None:
    """Also where a composition or a body exists, if it needs what the format lacks."""
    assert operator in listed(title, "Refused")
    assert operator not in listed(title, "Composed")
    source = load(model_around(helper.make_node(operator, ["x"], ["y"]), {"x": X}, {}, opset=21))
    assert [row.verdict for row in source.plan("nnef", dialect=DIALECTS[title])] == [Verdict.REFUSED]


@pytest.mark.parametrize("title", DIALECTS)
def test_what_is_listed_as_composed_is_not_refused(title: str) -> None:
    assert {"MaxRoiPool", "Det", "MaxUnpool"} <= listed(title, "Composed")
    regions = np.asarray([[0, 0, 0, 6, 6], [0, 1, 2, 5, 9]], np.float32)
    node = helper.make_node("MaxRoiPool", ["x", "r"], ["y"], pooled_shape=[2, 2])
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    source = load(model_around(node, {"x": image}, {"r": regions}, opset=21))
    converted = source.convert("nnef", dialect=DIALECTS[title])
    corners = [[27, 30], [51, 54]], [[43, 45], [59, 61]]  # by onnxruntime, which has it at opset 16
    np.testing.assert_array_equal(converted.run({"x": image})["y"][:, 0], np.asarray(corners, np.float32))
