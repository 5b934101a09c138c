"""Weights stream from file to file: what a conversion needs of memory does not depend on how many there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.nnef import linear, tiny
from workbench import load
from workbench.formats.nnef.tensors import map_tensor

WEIGHTS, BOUND = 96, 48
"""Megabytes of the model's weights, and of the memory that a conversion may take beyond the imports."""


@pytest.mark.skipif(sys.platform != "linux", reason="what counts as resident differs, and Windows reads files whole")
def test_memory_stays_small_both_ways(tmp_path: Path) -> None:
    tiny(tmp_path / "tiny.onnx")
    load(tmp_path / "tiny.onnx").convert("nnef").save(tmp_path / "tiny.nnef")
    linear(tmp_path / "model.onnx", width=1024, layers=WEIGHTS // 4)
    assert (tmp_path / "model.onnx").stat().st_size > WEIGHTS * 2**20
    for source, target in (("model.onnx", "model.nnef"), ("model.nnef", "made.onnx")):
        arguments = ["--measure", "workbench", str(tmp_path / source), str(tmp_path / target)]
        command = [sys.executable, "-m", "tests.benchmarks.nnef", *arguments]
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        assert json.loads(run.stdout.partition("@@@")[2])["peak"] < BOUND, (source, run.stdout)
    one, other = (load(tmp_path / name) for name in ("model.onnx", "made.onnx"))
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 1024)).astype(np.float32)}
    for mine, theirs in zip(one.run(feeds).values(), other.run(feeds).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_tensor_file_that_is_replaced_does_not_change_the_model_that_was_read_from_it(tmp_path: Path) -> None:
    tiny(tmp_path / "m.onnx")
    folder = load(tmp_path / "m.onnx").convert("nnef").save(tmp_path / "m.nnef")
    model = load(folder)
    path = folder / "layer0.weight.dat"
    before = np.array(map_tensor(path))
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(99.0).tobytes()
    (folder / "new.dat").write_bytes(data)
    os.replace(folder / "new.dat", path)
    saved = model.save(tmp_path / "again.nnef")
    np.testing.assert_array_equal(map_tensor(saved / "layer0.weight.dat"), before)
    assert load(folder).document.contents.variables["layer0_weight"].value.numpy()[-1, -1] == 99.0  # type: ignore[attr-defined]
