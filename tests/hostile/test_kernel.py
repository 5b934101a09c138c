"""A real Jupyter kernel: out of memory, and Ctrl-C in every step; the session says what happened and goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.kernel import Kernel, kernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600, method="thread"),
    pytest.mark.skipif(os.name == "nt", reason="Windows has neither bounds of address space nor this Ctrl-C"),
]

ROOT = Path(__file__).parents[2]

BEGIN = """
import json, time
import onnx
import workbench as wb
from onnx import parser
from tests.hostile.corpus.onnx_bombs import LOOP, long_chain
from tests.hostile.corpus.onnx_files import model_of
from workbench import limits
from workbench.files import digest

FIELDS = ("origin", "model", "target", "plan", "converted", "converted_to", "report", "exported")
SHAPES = {"image": (1, 1, 8, 8)}


def remember():
    global before
    before = {field: getattr(session.state, field) for field in FIELDS}


def check():
    "What is not as it was, and what the session says."
    changed = [field for field in FIELDS if getattr(session.state, field) is not before[field]]
    failure = session.state.failure
    print(json.dumps({"busy": session.busy, "changed": changed, "inside": len(limits._INSIDE),
                      "says": "" if failure is None else failure.message}))


def again():
    "The whole way with a small model: what is written is the same as ever."
    session.open(wb.samples.digits())
    session.plan("coreml", shapes=SHAPES)
    session.convert("coreml", shapes=SHAPES)
    assert session.compare(seed=1).ok
    written = digest(session.export("again.mlpackage", overwrite=True))
    assert written == globals().setdefault("usual", written), "other bytes than before"
    print("same")


session = wb.Session()
again()
remember()
"""


@contextlib.contextmanager
def begun(folder: Path, **environment: str) -> Iterator[Kernel]:
    """A kernel in which the first cell has run."""
    with kernel(folder, PYTHONPATH=str(ROOT), **environment) as found:
        reply = found.run(BEGIN)
        assert reply.text == "same\n", reply
        yield found


def checked(running: Kernel) -> dict[str, Any]:
    """What :func:`check` prints."""
    found: dict[str, Any] = json.loads(running.run("check()").text)
    return found


def unharmed(running: Kernel, says: str, found: dict[str, Any] | None = None) -> None:
    """The session is as it was, says what happened, and goes all the way again."""
    found = found or checked(running)
    assert says in found.pop("says")
    assert found == {"busy": False, "changed": [], "inside": 0}
    reply = running.run("again()\nremember()")
    assert reply.text == "same\n", reply


@dataclass(frozen=True)
class Short:
    """A step for which there is too little of something.

    Attributes:
        limits: as the kernel's environment states them.
        prepare: the cell before; ``step``: the cell that fails; ``says``: what is said then.
        relieve: the cell that gives more, ``""`` where that cannot be; then the step has to succeed.
    """

    limits: str
    prepare: str
    step: str
    says: str
    relieve: str = ""


LARGE = """session.open(model_of("g (float[1] x) => (float[A] y) <int64[1] s = {268435456}> { y = Expand(x, s) }"))
session.convert("onnx")"""
NARROW = """import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))"""

SHORT = {
    "open": Short(
        "file_bytes=300000", "onnx.save(long_chain(20000), 'chain.onnx')", "session.open('chain.onnx')",
        "limit file_bytes = 300,000", "limits.change(file_bytes=1 << 20)",
    ),
    "convert": Short(
        "folded_elements=65536",
        "session.open(model_of('g (int32[512, 512] x) => (int32[512, 512] y) { y = EyeLike(x) }'))",
        "session.convert('coreml')", "limit folded_elements = 65,536", "limits.change(folded_elements=1 << 18)",
    ),
    "compare": Short("memory_bytes=400000000", LARGE, "session.compare()", "limit memory_bytes = 400,000,000"),
    "compare, of the machine's": Short("", f"{LARGE}\n{NARROW}", "session.compare()", "or than there is"),
    "convert, of the machine's": Short(
        "", "session.open(model_of('g (float[1] x) => (float[8192, 8192] y) "
        "<int64[2] s = {8192, 8192}> { m = ConstantOfShape(s)  e = EyeLike(m)  y = Add(e, x) }'))\n" + NARROW,
        "session.convert('nnef')", "or than there is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_out_of_memory(name: str, tmp_path: Path) -> None:
    case = SHORT[name]
    with begun(tmp_path, WORKBENCH_LIMITS=case.limits) as running:
        reply = running.run(f"{case.prepare}\nremember()")
        assert reply.ok, reply
        reply = running.run(case.step)
        assert reply.error == "LimitError", reply
        assert case.says in reply.message
        unharmed(running, case.says)
        if case.relieve:
            reply = running.run(f"{case.prepare}\n{case.relieve}\n{case.step}")
            assert reply.ok, reply


CHAIN = "onnx.save(long_chain(2000), 'chain.onnx')\n"
STEPS = {
    "open": (CHAIN, "session.open('chain.onnx')"),
    "convert": (f"{CHAIN}session.open('chain.onnx')", "session.convert('nnef')"),
    "export": (f"{CHAIN}session.open('chain.onnx')\nsession.convert('nnef')",
               "session.export('chain.nnef', overwrite=True)"),
}  # fmt: skip


MOMENTS = (0.02, 0.15, 0.3, 0.5, 0.7, 0.9)
"""Shares of a step's time; the last ones may come too late, when it has been done."""


@pytest.mark.parametrize("name", STEPS)
def test_ctrl_c(name: str, tmp_path: Path) -> None:
    prepare, step = STEPS[name]
    with begun(tmp_path) as running:
        timed = f"times = []\nfor _ in range(3):\n    start = time.perf_counter()\n    {step}\n"
        seconds = running.run(f"{prepare}\n{timed}    times.append(time.perf_counter() - start)\nprint(min(times))")
        assert running.run(f"{prepare}\nremember()\n{step}").ok
        done = checked(running)
        interrupted = 0
        for share in MOMENTS:
            assert running.run(f"{prepare}\nremember()").ok
            reply = running.run(f"print('begun', flush=True)\n{step}", interrupt=share * float(seconds.text))
            assert reply.error in ("", "KeyboardInterrupt"), reply
            found = checked(running)
            if found == done:
                continue
            if not found["says"]:  # it came before the step had begun
                assert (reply.error, found["changed"], found["busy"]) == ("KeyboardInterrupt", [], False)
                continue
            unharmed(running, "interrupted; nothing was changed", found)
            interrupted += 1
        assert interrupted, f"none of {len(MOMENTS)} fell into the step of {seconds.text.strip()} s"
        made = {"temporary", "chain.onnx", "again.mlpackage", *(["chain.nnef"] if name == "export" else [])}
        assert {path.name for path in tmp_path.iterdir()} == made


@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_ctrl_c_in_a_comparison_without_an_end(seconds: float, tmp_path: Path) -> None:
    endless = "session.open(model_of(LOOP.replace('4611686018427387904', '2000000000')))\nsession.convert('onnx')"
    with begun(tmp_path) as running:
        assert running.run(f"{endless}\nremember()").ok
        reply = running.run("print('begun', flush=True)\nsession.compare()", interrupt=seconds)
        assert reply.error == "KeyboardInterrupt", reply
        unharmed(running, "interrupted; nothing was changed")


def test_ctrl_c_while_a_cell_waits_leaves_the_work_on_its_thread_alone(tmp_path: Path) -> None:
    """As the widget works: the step goes on, and what it makes is there when it is done."""
    with begun(tmp_path) as running:
        assert running.run(f"{CHAIN}session.open('chain.onnx')").ok
        waiting = (
            "task = session.start('convert', to='nnef')\nprint('begun', flush=True)\ntask.wait(60)\ntime.sleep(60)"
        )
        reply = running.run(waiting, interrupt=0.1)
        assert reply.error == "KeyboardInterrupt", reply
        reply = running.run("print(task.wait(60), session.busy, session.converted.format, session.state.failure)")
        assert reply.text == "True False nnef None\n", reply
        reply = running.run("again()")
        assert reply.text == "same\n", reply
