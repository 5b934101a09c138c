"""Fuzzing guided by coverage: ``python -m tests.hostile.guided TARGET [--seconds N] [--seed N]``, with ``atheris``.

Where ``atheris`` is not installed (it comes as a wheel for Linux on x86-64 and Python 3.11 to 3.13 only) there is one
line that says so, and nothing is done. An input that raises anything but the workbench's own errors is kept, and the
exit code is not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

KEEP = Path("tests/hostile/artifacts")


def nnef_text(data: bytes) -> None:
    """NNEF's grammar, the expansion of fragments, types and shapes."""
    from workbench.formats.nnef.expand import expand
    from workbench.formats.nnef.parser import parse_document

    expand(parse_document(data, "graph.nnef"), "graph.nnef")


def coreml_message(data: bytes) -> None:
    """A Core ML specification without its package, up to the hub."""
    from workbench.formats.coreml.package import Package
    from workbench.formats.coreml.read import CoreMLDocument

    CoreMLDocument(Package("fuzzed", data), "fuzzed", None).hub()


def onnx_message(data: bytes) -> None:
    """The front door of ONNX: the file is recognised, parsed, checked, upgraded."""
    import workbench as wb

    path = Path("fuzzed.onnx")  # the same name every time: it is compared with others, which guides the fuzzer too
    path.write_bytes(data)
    _ = wb.load(path).graph


TARGETS: dict[str, Callable[[bytes], None]] = {"nnef": nnef_text, "coreml": coreml_message, "onnx": onnx_message}


COLLECT = 50
"""Inputs after which what they left in circles is freed."""

TIMED = ["workbench.hub.native", "workbench.hub.on_disk"]
"""What goes differently each time, for it depends on when another thread is done, or has let an array go: that is no
coverage to be guided by."""


def _corpus(target: str, folder: Path) -> list[str]:
    """The sound models to begin with, written into the folder; their files, in an order that is always the same."""
    from tests.hostile.seeds import seeds

    reader, suffix = {"nnef": ("nnef", ".nnef"), "coreml": ("mlmodel", ".mlmodel"), "onnx": ("onnx", ".onnx")}[target]
    found = []
    for index, bundle in enumerate(seeds(reader)):
        data = next(data for name, data in bundle.files.items() if name.endswith(suffix))
        (folder / str(index)).write_bytes(data)
        found.append(str(folder / str(index)))
    return found


def _fuzz(target: str, arguments: list[str]) -> None:
    """In a process of its own: atheris does not return."""
    import atheris

    with atheris.instrument_imports(include=["workbench.formats", "workbench.hub"], exclude=TIMED):
        for name in ("nnef.expand", "nnef.parser", "coreml.read", "onnx.read"):
            importlib.import_module(f"workbench.formats.{name}")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.suppress(Exception):
            TARGETS[target](b"")  # imports what is imported late, which is not to count as the time of an input
    from workbench import limits
    from workbench.errors import WorkbenchError

    limits.change(memory_bytes=768 << 20, run_seconds=5, folded_elements=1 << 16, tensor_elements=1 << 24)

    tried = itertools.count(1)

    def one(data: bytes) -> None:
        with contextlib.suppress(WorkbenchError):
            TARGETS[target](data)
        if next(tried) % COLLECT == 0:
            gc.collect()

    if any(argument.startswith("-runs=") for argument in arguments):
        _on_this_thread()
    gc.disable()  # when it would run depends on what other threads have made, and what it ends counts as coverage
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        atheris.Setup([sys.argv[0], *arguments], one)
        atheris.Fuzz()


def _on_this_thread() -> None:
    """Let native work be done where it is asked for: when another thread lets go of what it had is chance."""
    from workbench.hub import native

    native._bounded = lambda work, what, stop: work()


def run(target: str, *limits: str) -> int:
    """Fuzz one target until one of libFuzzer's limits is reached; the exit code of atheris, 0 if it found nothing.

    With a seed and a number of inputs the same ones are tried every time: a folder of inputs would be read in the file
    system's order, and again every second.
    """
    KEEP.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        sound = ",".join(_corpus(target, Path(name)))
        arguments = [
            f"-seed_inputs={sound}", "-reload=0", "-timeout=30", "-rss_limit_mb=4096", "-max_len=20000", "-verbosity=0",
            "-print_final_stats=1", f"-artifact_prefix={KEEP.absolute()}/{target}-", *limits,
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.hostile.guided", target, "--inside", *arguments]
        return subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one each time")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if find_spec("atheris") is None:
        print("atheris is not installed here (no wheel, or not asked for): fuzzing guided by coverage is skipped")
        return 0
    if chosen.inside is not None:
        _fuzz(chosen.target, chosen.inside)
        return 0
    targets = TARGETS if chosen.target == "all" else (chosen.target,)
    return max(run(target, f"-max_total_time={chosen.seconds}", f"-seed={chosen.seed}") for target in targets)


if __name__ == "__main__":
    sys.exit(main())
