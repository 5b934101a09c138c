"""The rows of a report: each tensor of the reference, what became of it in the target, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.compare.metrics import Metrics
from workbench.compare.noise import Noise, decibels_above
from workbench.compare.signature import Signature
from workbench.compare.tolerance import Allowance

Status = Literal["ok", "failing", "unmatched", "skipped"]
Blame = Literal["", "own", "inherited"]


@dataclass(frozen=True)
class Row:
    """One tensor of the reference in the target.

    Attributes:
        index: place of the row in the reference's topological order.
        layers: the reference's layers that make the tensor; empty for an input.
        target_layers: the target's layers that stand for them.
        tensor: its name in the reference; ``target_tensor`` in the target, ``""`` where it has none.
        operator: the reference's operator, as its format calls it.
        shape: of the tensor in the last sample; ``None`` if it was not seen.
        dtype: in the reference.
        status: ``ok``, ``failing``, ``unmatched`` (no counterpart) or ``skipped`` (not comparable).
        reason: why it is not ok; of a row that is, why it is so although the error looks large.
        blame: of a failing row: ``own`` if its layer makes an error from the right inputs, ``inherited`` if the error
            came in through them.
        output: whether it is an output of the reference.
        evidence: how the counterpart is known (``provenance``, ``name``, ``numbers``, ``place``).
        rivals: other tensors of the reference that hold the same numbers, where those are the evidence.
        accumulated: the difference when both models run from the same inputs.
        isolated: the difference when the target's layer is fed the reference's tensors.
        allowance: what it was measured against.
        approximate: the bound that the conversion has declared for the layers that make it; ``""`` where it is exact.
        noise: what the target's float16 alone explains; ``None`` where the target has none.
        inherited: relative L2 of what came in through the layer's inputs (the error that it makes is ``injected``).
        amplification: the inherited error against the largest one at the layer's inputs.
        signature: what the error looks like, of the first culprits.
    """

    index: int
    layers: tuple[str, ...]
    target_layers: tuple[str, ...]
    tensor: str
    target_tensor: str
    operator: str
    shape: tuple[int, ...] | None
    dtype: str
    status: Status
    reason: str = ""
    blame: Blame = ""
    output: bool = False
    evidence: str = ""
    accumulated: Metrics | None = None
    isolated: Metrics | None = None
    allowance: Allowance | None = None
    approximate: str = ""
    rivals: tuple[str, ...] = ()
    noise: Noise | None = None
    inherited: float | None = None
    amplification: float | None = None
    signature: Signature | None = None

    @property
    def injected(self) -> float | None:
        """Relative L2 (or share of elements) of the error that the layer makes by itself."""
        return None if self.isolated is None else self.isolated.error

    @property
    def db_above_noise(self) -> float | None:
        """How far the accumulated error is above what the target's precision explains, in dB."""
        return decibels_above(self.accumulated, self.noise.accumulated) if self.noise is not None else None

    @property
    def isolated_db_above_noise(self) -> float | None:
        """How far the layer's own error is above what the target's precision explains, in dB."""
        return decibels_above(self.isolated, self.noise.isolated) if self.noise is not None else None

    @property
    def layer(self) -> str:
        """The layers in one text; the tensor where there are none."""
        return ", ".join(self.layers) or self.tensor

    @property
    def remark(self) -> str:
        """Why it is not ok, and what the conversion has declared about it beforehand."""
        declared = f"declared approximate: {self.approximate}" if self.approximate else ""
        joint = ", but " if self.status == "failing" else "; "
        return joint.join(filter(None, (self.reason, declared)))
