"""Limits: each one refuses by name and says how it is raised; they can be set for a process, a block, from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

import workbench as wb
from tests.hostile.corpus import archive_files, nnef_files, onnx_bombs
from workbench import limits
from workbench.cli import main

HEADER = '<ir_version: 10, opset_import: ["" : 18]>'
LOOP = onnx_bombs.LOOP


def model_of(text: str) -> wb.Model:
    return wb.load(parser.parse_model(f"{HEADER} {text}"))


def _expand() -> None:
    model = model_of("g (int64[2] s) => (float[A, B] y) <float one = {1.0}> { y = Expand(one, s) }")
    model.run({"s": np.int64([1 << 14, 1 << 14])})


CASES: dict[str, tuple[int, Callable[[Path], object]]] = {
    "file_bytes": (10, lambda folder: wb.load(wb.samples.digits())),
    "text_bytes": (10, lambda folder: wb.load(nnef_files.folder_of(nnef_files.graph("y = relu(x);"))(folder))),
    "nesting": (3, lambda folder: wb.load(
        nnef_files.folder_of(nnef_files.graph("y = add(x, ((((((1.0))))));"))(folder))),
    "nodes": (2, lambda folder: wb.load(parser.parse_model(
        f"{HEADER} g (float[1] x) => (float[1] y) {{ a = Neg(x)  b = Neg(a)  y = Neg(b) }}"))),
    "tensor_elements": (5, lambda folder: wb.load(wb.samples.digits())),
    "archive_bytes": (10, lambda folder: wb.load(archive_files.written(
        "m.zip", lambda outside: archive_files.zip_of(("graph.nnef", archive_files.TEXT)))(folder))),
    "archive_members": (1, lambda folder: wb.load(archive_files.written(
        "m.zip", lambda outside: archive_files.zip_of(("graph.nnef", archive_files.TEXT), ("w.dat", b"")))(folder))),
    "run_seconds": (1, lambda folder: model_of(LOOP).run({"x": np.ones(3, np.float32)})),
    "memory_bytes": (200 << 20, lambda folder: _expand()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_limit_names_itself_and_says_how_it_is_raised(name: str, tmp_path: Path) -> None:
    if name == "memory_bytes" and sys.platform != "linux":
        pytest.skip("the system has no bound of address space")
    bound, do = CASES[name]
    with limits.changed(**{name: bound}), pytest.raises(wb.LimitError) as caught:
        do(tmp_path)
    assert f"limit {name} = {bound:,}" in str(caught.value)
    assert f"workbench.limits.change({name}=…)" in str(caught.value)
    assert f"WORKBENCH_LIMITS={name}=…" in str(caught.value)


def test_limits_can_be_set_for_the_process_and_for_a_block() -> None:
    before = limits.current
    assert limits.change(nodes=7) is before
    try:
        assert limits.current.nodes == 7
        with limits.changed(nodes=9, nesting=3) as inside:
            assert (inside.nodes, limits.current.nesting) == (9, 3)
        assert limits.current.nodes == 7
        assert limits.current.nesting == before.nesting
    finally:
        limits.current = before
    assert wb.limits is limits


@pytest.mark.parametrize("values", [{"node": 7}, {"nodes": 0}, {"nodes": -1}, {"nodes": True}, {"nodes": "7"}])
def test_what_is_no_limit_is_refused(values: dict[str, object]) -> None:
    before = limits.current
    with pytest.raises(wb.OptionError, match="limit"):
        limits.change(**values)  # type: ignore[arg-type]
    assert limits.current is before


@pytest.mark.parametrize(("text", "says"), [("nodes=7", "7"), ("nodes=7, nesting=5", "7"), ("node=7", "unknown limit"),
                                            ("nodes=seven", "NAME=NUMBER")])  # fmt: skip
def test_limits_come_from_the_environment(text: str, says: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import workbench.limits as l; print(l.current.nodes)"], capture_output=True, text=True,
        env={**os.environ, limits.VARIABLE: text}, check=False,
    )  # fmt: skip
    assert says in run.stdout + run.stderr


def test_limits_come_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = limits.current
    try:
        assert main(["--limit", "file_bytes=10", "inspect", str(wb.samples.digits())]) == 2
        assert "workbench --limit NAME=NUMBER COMMAND" in capsys.readouterr().err
        assert main(["--limit", "nonsense", "inspect", str(wb.samples.digits())]) == 2
    finally:
        limits.current = before


def test_memory_is_bounded_by_the_machine_and_the_bound_is_lifted_afterwards() -> None:
    assert 0 < limits.Limits().memory_bytes < limits.machine_memory()
    if sys.platform != "linux":
        pytest.skip("the system has no bound of address space")
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with (
        limits.changed(memory_bytes=100 << 20),
        pytest.raises(wb.LimitError, match="testing takes more memory"),
        limits.bounded_memory("testing"),
        limits.bounded_memory("testing"),
    ):
        np.ones(1 << 28)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread there")
def test_a_run_can_be_interrupted() -> None:
    model = model_of(LOOP)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    timer = threading.Timer(0.5, lambda: signal.pthread_kill(main_thread, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.run({"x": np.ones(3, np.float32)})
    assert time.monotonic() - began < 30
    assert model_of("g (float[1] x) => (float[1] y) { y = Neg(x) }").run({"x": np.ones(1, np.float32)})["y"] == -1


def test_onnx_models_in_memory_are_bounded_too() -> None:
    proto = onnx.load(wb.samples.digits())
    with limits.changed(nodes=1), pytest.raises(wb.LimitError, match="nodes = 1"):
        wb.load(proto)
