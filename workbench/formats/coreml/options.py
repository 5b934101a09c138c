"""What can be chosen when a Core ML ML program is written."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import OptionError
from workbench.formats.base import Options

PRECISIONS = ("fp32", "fp16", "mixed")

SPECIFICATIONS = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}
"""Specification version of the model file → the oldest iOS that reads it; ML programs began with iOS15."""

TARGETS = {
    "iOS15": 6,
    "iOS16": 7,
    "iOS17": 8,
    "iOS18": 9,
    "iOS26": 10,
    "macOS12": 6,
    "macOS13": 7,
    "macOS14": 8,
    "macOS15": 9,
    "macOS26": 10,
    "tvOS15": 6,
    "tvOS16": 7,
    "tvOS17": 8,
    "tvOS18": 9,
    "tvOS26": 10,
    "watchOS8": 6,
    "watchOS9": 7,
    "watchOS10": 8,
    "watchOS11": 9,
    "watchOS26": 10,
}
"""Oldest system that has to read the model → specification version (coremltools' ``coremltools.target``)."""


@dataclass(frozen=True, kw_only=True)
class CoreMLOptions(Options):
    """Options of the target ``coreml``.

    Attributes:
        precision: ``fp32`` computes as the source does; ``fp16`` stores weights and computes in float16;
            ``mixed`` is ``fp16`` but for the layers in ``keep_fp32``.
        target: the oldest system that has to read the model, as coremltools names it (``iOS17``, ``macOS14``).
        keep_fp32: names of source layers that stay in float32; only with ``mixed``.
    """

    precision: str = "fp32"
    target: str = "iOS17"
    keep_fp32: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision: {self.precision!r} is none of {', '.join(PRECISIONS)}.")
        if self.target not in TARGETS:
            near = difflib.get_close_matches(str(self.target), TARGETS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"target: {self.target!r} is none of {', '.join(TARGETS)}.{hint}")
        if isinstance(self.keep_fp32, str):
            raise OptionError(f"keep_fp32 takes a list of layer names, not the text {self.keep_fp32!r}.")
        if self.keep_fp32 and self.precision != "mixed":
            raise OptionError(f"keep_fp32 belongs to precision='mixed'; the precision is {self.precision!r}.")
        if self.precision == "mixed" and not self.keep_fp32:
            raise OptionError("precision='mixed' needs keep_fp32=[…], the source layers that stay in float32.")

    @property
    def specification(self) -> int:
        """The model file's specification version."""
        return TARGETS[self.target]
