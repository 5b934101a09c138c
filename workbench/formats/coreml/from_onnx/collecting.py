"""What a loop's scan outputs are collected in, step by step.

Where the number of steps is known, a tensor of the whole size whose rows are overwritten; else one of MIL's lists,
which grows. A list is read out in the number of steps that there were; if the model has declared another length for
the scan output, that fails when the model is run. Where nothing is declared, the run tells the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import check_shape
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub.sizes import is_measured


class Collector(Protocol):
    """Collects the elements of one scan output in a variable of the loop."""

    def begin(self, t: ProgramTarget) -> Var:
        """What the variable begins with."""

    def write(self, t: ProgramTarget, held: Var, step: Var, element: Var) -> Var:
        """The variable with an element at the step (int32, no dimensions)."""

    def result(self, t: ProgramTarget, held: Var, steps: Var) -> Var:
        """The scan output after so many steps."""


def collector(shape: tuple[int, ...], kind: str, known: bool) -> Collector:
    """What collects a scan output.

    Args:
        shape: of the scan output.
        kind: MIL's name of its dtype.
        known: whether there will be exactly as many steps as the shape says.

    Raises:
        Refused: Core ML has no such tensors.
    """
    check_shape("the scan output", shape)
    return Rows(shape, kind) if known else List(shape, kind)


@dataclass(frozen=True)
class Rows:
    """A tensor whose rows are overwritten; truth values are held as numbers."""

    shape: tuple[int, ...]
    kind: str

    def begin(self, t: ProgramTarget) -> Var:
        zero = np.float32(0) if self.kind == "fp32" else np.float16(0) if self.kind == "fp16" else np.int32(0)
        return t.op("fill", shape=np.asarray(self.shape, np.int32), value=zero)

    def write(self, t: ProgramTarget, held: Var, step: Var, element: Var) -> Var:
        number = t.cast(element, "int32") if self.kind == "bool" else element
        row = t.reshape(number, (1, *self.shape[1:]))
        return t.op("scatter", data=held, indices=t.reshape(step, (1,)), updates=row, axis=0, mode="update")

    def result(self, t: ProgramTarget, held: Var, steps: Var) -> Var:
        return t.cast(held, self.kind)


@dataclass(frozen=True)
class List:
    """A list of elements; one without dimensions is held as a row of one."""

    shape: tuple[int, ...]
    kind: str

    def begin(self, t: ProgramTarget) -> Var:
        element = self.shape[1:] or (1,)
        return t.op("make_list", init_length=np.int32(1), dynamic_length=True, elem_shape=element, dtype=self.kind)

    def write(self, t: ProgramTarget, held: Var, step: Var, element: Var) -> Var:
        return t.op("list_write", ls=held, index=step, value=t.reshape(element, element.shape or (1,)))

    def result(self, t: ProgramTarget, held: Var, steps: Var) -> Var:
        indices = t.op("range_1d", start=np.int32(0), end=steps, step=np.int32(1))
        found = t.op("list_gather", ls=held, indices=indices)
        if is_measured(self.shape[0]):
            return found if len(self.shape) > 1 else t.op("squeeze", x=found, axes=[1])
        return t.reshape(found, self.shape)
