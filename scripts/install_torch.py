"""Install PyTorch for the tests, but only a build for the CPU: never several gigabytes of CUDA libraries by accident.

``install_torch.py`` asks pip what it would install and goes on only if no GPU library is among it.
``install_torch.py --remind`` says, where PyTorch is missing, that the tests which need it were skipped.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

REQUIREMENT = "torch==2.13.0"
GPU_PREFIXES = ("nvidia-", "cuda-", "triton", "pytorch-triton")
REMINDER = (
    "\n*** PyTorch is not installed: every test that needs it was SKIPPED. ***\n"
    "Your package index offers no CPU build of it. Install one as https://pytorch.org/get-started describes "
    "(compute platform: CPU) and run `make test` again."
)


def planned() -> list[str] | None:
    """The distributions pip would install for torch, or None if it finds no way."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", REQUIREMENT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(result.stderr.strip(), file=sys.stderr)
        return None
    return [str(item["metadata"]["name"]).lower() for item in json.loads(result.stdout)["install"]]


def main() -> int:
    if importlib.util.find_spec("torch") is not None:
        return 0
    if "--remind" in sys.argv[1:]:
        print(REMINDER)
        return 0
    names = planned()
    if names is None or any(name.startswith(GPU_PREFIXES) for name in names):
        print(REMINDER)
        return 0
    return subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", REQUIREMENT], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
