"""coremltools' own tests on the workbench: ``python -m tests.conformance.apple [--suite SUITE] [--sample N]``.

They ship in coremltools' wheel. Each case builds a model, predicts, and compares with numpy or PyTorch; every case that
Apple does not skip passes here too, but those that ``apple_plugin.EXCLUDED`` lists with their reasons.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SUITES = {
    "operators": "converters/mil/mil/ops/tests",
    "torch": "converters/mil/frontend/torch/test/test_torch_ops.py",
}
"""Every MIL operator against numpy; and models that coremltools has converted from PyTorch against PyTorch."""


def command(suite: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs a suite under the plugin, away from our own configuration."""
    spec = find_spec("coremltools")
    assert spec is not None
    assert spec.origin is not None
    tests = Path(spec.origin).parent / SUITES[suite]
    plugins = ["tests.conformance.apple_plugin", "no:cacheprovider", "no:astrapia", "no:nbval"]
    return [
        *(sys.executable, "-W", "ignore", "-m", "pytest"),
        *(part for plugin in plugins for part in ("-p", plugin)),
        *("-c", os.devnull, "--rootdir", str(tests.parent), str(tests), "-q", "--tb=line", "--no-header"),
        *arguments,
    ]


def run(suite: str, arguments: Sequence[str], jobs: int = 1) -> tuple[int, str]:
    """Run a suite in as many processes; the worst exit code and what they printed."""
    root = Path(__file__).parent.parent.parent
    parts = [
        subprocess.Popen(
            command(suite, [*arguments, "--part", f"{part}/{jobs}"]),
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for part in range(1, jobs + 1)
    ]  # fmt: skip
    printed = [process.communicate()[0] for process in parts]
    return max(process.returncode for process in parts), "\n".join(printed)


def totals(printed: str) -> dict[str, int]:
    """``{"passed": …, "failed": …, …}`` from pytest's closing lines."""
    found: dict[str, int] = {}
    for line in re.findall(r"^=* ?(\d+ \w+(?:, \d+ \w+)*) in [\d.]+s", printed, re.MULTILINE):
        for count, outcome in re.findall(r"(\d+) (\w+)", line):
            found[outcome] = found.get(outcome, 0) + int(count)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="operators")
    parser.add_argument("--sample", type=int, default=0, help="this many cases, chosen by a fixed seed; 0 is all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    code, printed = run(chosen.suite, ["--sample", str(chosen.sample)] if chosen.sample else [], chosen.jobs)
    print(printed)
    found = ", ".join(f"{count} {outcome}" for outcome, count in totals(printed).items())
    print(f"coremltools' tests, {chosen.suite}: {found}")
    return code


if __name__ == "__main__":
    sys.exit(main())
