"""A model and a report that take no time and need no format: for the session and the widgets alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from workbench.compare.metrics import measure
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
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
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

    def settle(self, target: str, /, **options: Any) -> dict[str, Any]:
        return options

    def plan(self, target: str, /, *, progress: Progress = silent, **options: Any) -> Plan:
        if "nonsense" in options:
            raise OptionError("unknown option 'nonsense'; this target takes shapes, precision.")
        rows = tuple(
            PlanRow(layer.name, layer.operator, Verdict.REFUSED, "no such operator", "leave it out")
            if i in self.refuse
            else PlanRow(layer.name, layer.operator, Verdict.EXACT)
            for i, layer in enumerate(self.layers)
        )
        return Plan(self.format, target, self.name, options, rows)

    def convert(self, target: str, /, *, progress: Progress = silent, **options: Any) -> FakeModel:
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


class FakeReport:
    """A row for each layer of a model; those in ``failing`` are beyond their tolerance."""

    executors = ("onnxruntime", "Core ML translated")
    feeds = "random, seed 0"
    approximations = ()
    source = None

    def __init__(self, model: FakeModel, failing: tuple[int, ...] = ()) -> None:
        self.rows = tuple(self._row(i, layer, i in failing) for i, layer in enumerate(model.layers))
        self.seen: list[int] = []

    @staticmethod
    def _row(index: int, layer: Layer, failing: bool) -> SimpleNamespace:
        right = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8)
        error = measure(right, right + np.float32(1e-2 if failing else 1e-6))
        return SimpleNamespace(
            index=index,
            layer=layer.name,
            layers=(layer.name,),
            target_layers=(f"op_{index}",),
            tensor=f"t{index + 1}",
            target_tensor=f"v{index + 1}",
            operator=layer.operator,
            shape=(1, 8, 8),
            dtype="float32",
            status="failing" if failing else "ok",
            reason="makes an error: relative L2" if failing else "",
            remark="makes an error: relative L2" if failing else "",
            accumulated=error,
            isolated=error if index % 2 else None,
            allowance=SimpleNamespace(accumulated=1e-4, isolated=2e-5),
            noise=None,
            blame="",
            signature=None,
        )

    @property
    def ok(self) -> bool:
        return all(row.status == "ok" for row in self.rows)

    @property
    def first_failing(self) -> SimpleNamespace | None:
        return next((row for row in self.rows if row.status == "failing"), None)

    def count(self, status: str) -> int:
        return sum(row.status == status for row in self.rows)

    def tensors(self, row: SimpleNamespace, *, mode: str = "accumulated") -> tuple[Any, Any]:
        self.seen.append(row.index)
        right = np.random.default_rng(row.index).normal(size=row.shape).astype(np.float32)
        return right, right + np.float32(row.accumulated.max_abs)

    def to_html(self, path: Path) -> Path:
        Path(path).write_text("<p>report</p>")
        return Path(path)
