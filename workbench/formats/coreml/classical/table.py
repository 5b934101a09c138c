"""The table of the kinds of model that are no neural network, and what their lowerings are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.errors import ModelError
from workbench.formats.coreml.features import Key
from workbench.formats.coreml.interface import Feature, Interface
from workbench.hub import Emitter, dims_of
from workbench.lowering import Table

Array = np.ndarray[Any, Any]

DOUBLE = ir.DataType.DOUBLE.value
INT64 = ir.DataType.INT64.value


@dataclass
class Kind:
    """A model of one kind, as a lowering sees it.

    Attributes:
        name: the kind (``scaler``): the field of the ``Model`` message that holds it.
        parameters: its message.
        interface: its description.
        layer: its layer's name.
        inputs: the tensors of the description's inputs, by name and in their order.
    """

    name: str
    parameters: Any
    interface: Interface
    layer: str
    inputs: dict[str, ir.Value] = field(default_factory=dict)

    def only(self) -> tuple[Feature, ir.Value]:
        """The input of a kind that has one.

        Raises:
            ModelError: it has another number of inputs.
        """
        if len(self.interface.inputs) != 1:
            raise self.error(f"it takes one input, {len(self.interface.inputs)} are described")
        feature = self.interface.inputs[0]
        return feature, self.inputs[feature.name]

    def output(self) -> Feature:
        """The output of a kind that has one.

        Raises:
            ModelError: it has another number of outputs.
        """
        if len(self.interface.outputs) != 1:
            raise self.error(f"it has one output, {len(self.interface.outputs)} are described")
        return self.interface.outputs[0]

    def vector(self, emit: Emitter) -> ir.Value:
        """All inputs behind one another in the description's order, float64 ``[N]``.

        Raises:
            ModelError: there are none, or one of them is a text.
        """
        if not self.inputs:
            raise self.error("no inputs are described")
        parts = [flat(emit, self.numbers(emit, value)) for value in self.inputs.values()]
        return parts[0] if len(parts) == 1 else emit.op("Concat", *parts, axis=0)

    def numbers(self, emit: Emitter, value: ir.Value) -> ir.Value:
        """The tensor in float64.

        Raises:
            ModelError: it is a text.
        """
        if value.dtype is ir.DataType.STRING:
            raise self.error(f"the input {value.name!r} is a text, numbers are needed")
        return value if value.dtype is ir.DataType.DOUBLE else emit.op("Cast", value, to=DOUBLE)

    def check_size(self, value: ir.Value, size: int, what: str) -> None:
        """Check a vector's length, where it is known.

        Raises:
            ModelError: it is another one.
        """
        dims = dims_of(value)
        if dims is not None and len(dims) == 1 and isinstance(dims[0], int) and dims[0] != size:
            raise self.error(f"{what} {size} values, the inputs have {dims[0]}")

    def bounded(self, elements: int, what: str) -> None:
        """Check the size of a table that is made of the parameters.

        Raises:
            LimitError: it is beyond the limit of what is calculated while reading.
        """
        limits.check("folded_elements", elements, what)

    def error(self, cause: str) -> ModelError:
        """What to raise where the model contradicts itself."""
        return ModelError(f"{cause}.")


Lowering = Callable[[Kind, Emitter], Mapping[str, ir.Value] | ir.Value]

kinds: Table[Lowering] = Table("coreml", "onnx")
"""Kind → its lowering. It returns the outputs by name, or the one output there is."""


def flat(emit: Emitter, value: ir.Value) -> ir.Value:
    """All elements as a vector."""
    dims = dims_of(value)
    return value if dims is not None and len(dims) == 1 else emit.op("Reshape", value, emit.const([-1]))


def class_labels(parameters: Any) -> tuple[Key, ...]:
    """The labels of a classifier; ``()`` where the message has none."""
    kind = parameters.WhichOneof("ClassLabels")
    return tuple(getattr(parameters, kind).vector) if kind else ()


def doubles(emit: Emitter, values: float | Sequence[float] | Array) -> ir.Value:
    """A float64 constant."""
    return emit.const(np.asarray(values, dtype=np.float64))


def two_classes(emit: Emitter, second: ir.Value) -> ir.Value:
    """The probabilities of two classes, of which the second's is given: ``[1]`` → ``[2]``."""
    return emit.op("Concat", emit.op("Sub", doubles(emit, [1.0]), second), second, axis=0)
