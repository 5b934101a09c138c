"""Writers that are killed: ``python -m tests.hostile.soak [--count N]``; the destination stays whole.

Two models of one format take turns at one destination in a child process, which is ended at a random moment by SIGKILL,
SIGTERM or SIGINT, or runs into a limit of file size, a full disk or a folder that it may not write in. What is found
then has to be one of the two, byte for byte, and what was left beside it has to be gone after the next save.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import numpy_helper, parser

import workbench as wb
from workbench.files import PARTIAL, digest

FORMS = {
    "onnx": ("onnx", "model.onnx"),
    "nnef folder": ("nnef", "model.nnef"),
    "nnef archive": ("nnef", "model.nnef.tgz"),
    "package": ("coreml", "model.mlpackage"),
    "package archive": ("coreml", "model.mlpackage.zip"),
}
"""Name → format, file name."""

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


class Writer:
    """Two models of one form, ready to be written, and what they look like on the disk."""

    def __init__(self, form: str, folder: Path, size: int = 200_000) -> None:
        target, self.name = FORMS[form]
        self.models = [_model(seed, size).convert(target) for seed in (1, 2)]
        self.digests, self.sound = [], []
        for index, model in enumerate(self.models):
            (folder / f"sound{index}").mkdir()
            began = time.monotonic()
            self.sound.append(model.save(folder / f"sound{index}" / self.name))
            self.digests.append(digest(self.sound[-1]))
            self.seconds = time.monotonic() - began

    def begin(self, destination: Path, before: Callable[[], None] = lambda: None) -> int:
        """Fork a process that writes over and over; returns its number once it has begun."""
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                self._write(destination, before, tell)
            os._exit(0)
        os.close(tell)
        os.read(told, 1)
        os.close(told)
        return child

    def _write(self, destination: Path, before: Callable[[], None], tell: int) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        before()
        os.write(tell, b"x")
        for turn in range(100_000):
            self.models[turn % 2].save(destination, overwrite=True)

    def check(self, destination: Path) -> str:
        """What is wrong with what is found; ``""`` if nothing is."""
        if digest(destination) not in self.digests:
            return "the destination is neither the old one nor the new one"
        strangers = [path.name for path in destination.parent.iterdir() if path != destination]
        if any(not name.startswith(PARTIAL) for name in strangers):
            return f"left behind: {strangers}"
        self.models[0].save(destination, overwrite=True)
        if [path.name for path in destination.parent.iterdir()] != [destination.name]:
            return "the next save has not removed what was left behind"
        return "" if digest(destination) == self.digests[0] else "the next save has written something else"


def _model(seed: int, size: int) -> wb.Model:
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17]> '
        f"g (float[{size}] x) => (float[{size}] y) {{ a = Add(x, w)  y = Mul(a, v) }}"
    )
    rng = np.random.default_rng(seed)
    for name in "wv":
        proto.graph.initializer.append(numpy_helper.from_array(rng.random(size, np.float32), name))
    return wb.load(proto)


def killed(writer: Writer, folder: Path, rng: random.Random) -> tuple[str, str]:
    """One writer, ended at a random moment; what ended it, and what is wrong then."""
    destination = folder / writer.name
    writer.models[0].save(destination, overwrite=True)
    how = rng.choice(list(SIGNALS))
    child = writer.begin(destination)
    time.sleep(rng.uniform(0, 2.5 * writer.seconds))
    _end(child, SIGNALS[how])
    return how, writer.check(destination)


def _end(child: int, how: int) -> None:
    """Signal until it ends: Python drops what Ctrl-C raises while an object is being freed, as users press it again."""
    for _ in range(60):
        os.kill(child, how)
        for _ in range(20):
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
    raise AssertionError(f"a writer has survived 60 times signal {how}")


def short_of_space(writer: Writer, folder: Path, rng: random.Random) -> tuple[str, str]:
    """One writer whose files may not grow beyond a random size."""
    destination = folder / writer.name
    writer.models[0].save(destination, overwrite=True)

    def limit() -> None:
        size = rng.randrange(1, 900_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    child = writer.begin(destination, limit)
    time.sleep(rng.uniform(0, 2.5 * writer.seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "file size", writer.check(destination)


def trials(form: str, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Writers of one form that are ended: what ended each, and what is wrong then."""
    rng = random.Random(f"{form}/{seed}")
    with tempfile.TemporaryDirectory(prefix="hostile-soak-") as name:
        root = Path(name)
        writer = Writer(form, root)
        (root / "place").mkdir()
        for index in range(count):
            end = short_of_space if index % 5 == 4 else killed
            yield end(writer, root / "place", rng)


@contextlib.contextmanager
def small_disk(megabytes: float) -> Iterator[Path | None]:
    """A file system of that size; ``None`` where none can be mounted (it needs root)."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-disk-"))
    size = f"size={int(megabytes * 1024)}k"
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    try:
        yield folder if made else None
    finally:
        if made:
            subprocess.run(["umount", str(folder)], check=False)
        folder.rmdir()


def full_disk(form: str) -> str:
    """Save onto disks on which the old one fits but the new one beside it does not; what is wrong, or why not tried."""
    with tempfile.TemporaryDirectory(prefix="hostile-soak-") as name:
        writer = Writer(form, Path(name))
        for megabytes in (1.8, 2.0, 2.5, 3.0):
            with small_disk(megabytes) as disk:
                if disk is None:
                    return "no file system could be mounted"
                destination = disk / writer.name
                sound = writer.sound[0]
                (shutil.copytree if sound.is_dir() else shutil.copy)(sound, destination)
                refused = False
                with contextlib.suppress(wb.SaveError):
                    writer.models[1].save(destination, overwrite=True)
                    refused = True
                expected = writer.digests[1] if refused else writer.digests[0]
                if digest(destination) != expected or len(list(disk.iterdir())) != 1:
                    return f"a disk of {megabytes} MB: the old one is not kept"
    return ""


def main() -> int:
    parser_ = argparse.ArgumentParser(description=__doc__)
    parser_.add_argument("--count", type=int, default=500, help="writers of each form")
    parser_.add_argument("--form", choices=FORMS, action="append")
    parser_.add_argument("--seed", type=int, default=0)
    chosen = parser_.parse_args()
    failed = 0
    for form in chosen.form or FORMS:
        ends = list(trials(form, chosen.count, chosen.seed))
        counts = Counter(how for how, _ in ends)
        wrong = [f"{how}: {what}" for how, what in ends if what]
        disk = full_disk(form)
        failed += len(wrong) + (disk not in ("", "no file system could be mounted"))
        print(
            f"{form}: {dict(counts)}: {len(wrong)} wrong {wrong[:3]}; full disk: {disk or 'the old one is kept'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
