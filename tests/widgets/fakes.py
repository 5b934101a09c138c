"""A model and a report that take no time and need no format: for the session and the widgets alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.document import Layer, Progress, TensorSpec, silent
from workbench.errors import ConversionError, OptionError, SaveError
from workbench.plan import Plan, PlanRow, Verdict


@dataclass
class FakeModel:
    """``count`` layers in a row. ``refuse`` names those that cannot be converted; ``gate`` holds a conversion up."""

    format: str = "onnx"
    name: str = "tiny"
    count: int = 5
    refuse: tuple[int, ...] = ()
    dynamic: bool = False
    layer_name: str = "layer"
    gate: threading.Event | None = None
    deaf: bool = False
    """Whether a conversion ignores its progress listener, and so cannot be interrupted."""
    provenance: None = None
    saved: list[Path] = field(default_factory=list)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float32", ("batch" if self.dynamic else 1, 8)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("y", "float32", ("batch" if self.dynamic else 1, 4)),)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(
            Layer(f"{self.layer_name}_{i}", "Relu-14" if i % 2 else "Conv-11", (f"t{i}",),
                  (TensorSpec(f"t{i + 1}", "float32", (1, 8, i)),), {"k": i}, parameters=10 * i)
            for i in range(self.count)
        )  # fmt: skip

    def plan(self, target: str, *, progress: Progress = silent, **options: Any) -> Plan:
        if "nonsense" in options:
            raise OptionError("unknown option 'nonsense'; this target takes shapes, precision.")
        rows = tuple(
            PlanRow(layer.name, layer.operator, Verdict.REFUSED, "no such operator", "leave it out")
            if i in self.refuse
            else PlanRow(layer.name, layer.operator, Verdict.EXACT)
            for i, layer in enumerate(self.layers)
        )
        return Plan(self.format, target, self.name, options, rows)

    def convert(self, target: str, *, progress: Progress = silent, **options: Any) -> FakeModel:
        plan = self.plan(target, **options)
        if not plan.ok:
            raise ConversionError(plan.refusals, subject=f"{self.format} model {self.name!r}")
        progress("lowering", 0.5)
        while self.gate is not None and not self.gate.wait(0.01):
            if not self.deaf:
                progress("lowering", 0.5)
        return FakeModel(target, self.name, self.count)

    def save(self, path: Path, overwrite: bool = False) -> Path:
        if Path(path).exists() and not overwrite:
            raise SaveError(f"{path} exists; choose another name or pass overwrite=True. Nothing was written.")
        Path(path).write_text(self.format)
        self.saved.append(Path(path))
        return Path(path)
