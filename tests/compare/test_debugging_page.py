"""docs/debugging-accuracy.md: everything that it shows runs, in its order, and it knows every signature."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests.compare.digits import SHAPES, faulty
from workbench.cli import main
from workbench.compare.signature import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "debugging-accuracy.md"
TEXT = PAGE.read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(language, content) for language, content in _BLOCK.findall(TEXT) if language != "text"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page speaks of: a model, a conversion with a fault in dense1, samples."""
    wb.load(wb.samples.digits()).save(tmp_path / "model.onnx")
    faulty().convert("coreml", shapes=SHAPES).save(tmp_path / "converted.mlpackage")
    images, _ = wb.samples.digit_images()
    np.savez(tmp_path / "samples.npz", image=images[:1])
    (tmp_path / "photos").mkdir()
    for index in range(2):
        Image.fromarray(images[index, 0].astype(np.uint8)).save(tmp_path / "photos" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_everything_that_the_page_shows_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    commands = 0
    for language, content in BLOCKS:
        if language == "python":
            exec(compile(content, str(PAGE), "exec"), names)
            continue
        for line in content.strip().splitlines():
            assert main(shlex.split(line)[1:]) == (0 if " record " in line else 1), line
            commands += 1
    assert commands == 5
    made = {path.name for path in place.iterdir()}
    assert {"report.html", "repro", "repro_of_the_worst", "repro_of_dense1", "report.json", "explorer"} <= made
    assert "look first at Gemm-13 'dense1'" in capsys.readouterr().out
    assert names["report"].first_bad.layer == "dense1"
    assert names["again"] == names["report"]


def test_every_signature_has_its_line() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|[^|]+\|[^|]+\|$", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(CHECKS)
