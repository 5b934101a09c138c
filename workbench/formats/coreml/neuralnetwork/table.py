"""The table of NeuralNetwork layers, and how a layer looks to its lowering.

Every tensor of this form holds float32: shapes, indices and truth values too. Layers that speak of channels, height and
width mean the last three dimensions; what is before them is batch.
Layer reference: ``NeuralNetwork.proto`` in https://apple.github.io/coremltools/mlmodel/Format/NeuralNetwork.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.formats.coreml.neuralnetwork.weights import weight_array
from workbench.formats.coreml.tensors import rank_of
from workbench.hub import Emitter, dims_of
from workbench.lowering import Refused, Table

Array = np.ndarray[Any, Any]
Results = ir.Value | Sequence[ir.Value]


class NetworkLayer:
    """One layer; every parameter that it sets has to be read (:meth:`leftover` names those that were not).

    Attributes:
        name: unique among the layers.
        message: of control flow, the whole layer as the protobuf has it.
        scope: of control flow, the blobs that its networks may read, by the names that they have there.
        writes: of control flow, the names of the blobs that are its outputs.
        turn: inside a loop, a word that differs from iteration to iteration (for random numbers).
    """

    def __init__(self, kind: str, parameters: Any, inputs: Sequence[ir.Value], outputs: int, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.message: Any = None
        self.scope: Mapping[str, ir.Value] = {}
        self.writes: Sequence[str] = ()
        self.turn: ir.Value | None = None
        self.inputs = inputs
        self.outputs = outputs
        self._parameters = parameters
        self._unread = {descriptor.name for descriptor, _ in parameters.ListFields()}

    def leftover(self) -> tuple[str, ...]:
        """Parameters that nobody has read."""
        return tuple(sorted(self._unread))

    def ignore(self, *names: str) -> None:
        """Declare that the parameters carry no meaning here."""
        self._unread.difference_update(names)

    def x(self, index: int = 0) -> ir.Value:
        """An input.

        Raises:
            ModelError: the layer has fewer.
        """
        if index >= len(self.inputs):
            raise ModelError(f"the layer has {len(self.inputs)} inputs, {index + 1} are needed.")
        return self.inputs[index]

    def get(self, name: str) -> Any:
        """A parameter as the protobuf has it (a message, a repeated field)."""
        self._unread.discard(name)
        return getattr(self._parameters, name)

    def has(self, name: str) -> bool:
        """Whether the message parameter is set."""
        return bool(self._parameters.HasField(name))

    def which(self, group: str) -> str:
        """The member of a oneof that is set, or ``""``."""
        name = self._parameters.WhichOneof(group)
        if name is not None:
            self._unread.discard(name)
        return name or ""

    def integer(self, name: str, default: int = 0) -> int:
        """An integer; 0, which the file cannot tell from unset, stands for the default."""
        return int(self.get(name)) or default

    def number(self, name: str, default: float = 0.0) -> float:
        """A float; 0, which the file cannot tell from unset, stands for the default."""
        return float(self.get(name)) or default

    def flag(self, name: str) -> bool:
        """A boolean."""
        return bool(self.get(name))

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """A list of integers (or booleans)."""
        return [int(item) for item in self.get(name)] or list(default)

    def choice(self, name: str) -> str:
        """The name of an enumeration's value."""
        number = self.get(name)
        found = self._parameters.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number.get(number)
        if found is None:
            raise Refused(f"{name} = {number} is not known")
        return str(found.name)

    def weights(self, emit: Emitter, name: str, shape: Sequence[int]) -> ir.Value:
        """A weight parameter of a shape, as a constant."""
        return emit.const(self.array(name, shape))

    def array(self, name: str, shape: Sequence[int]) -> Array:
        """A weight parameter as float32."""
        return weight_array(self.get(name), shape, name)

    def optional_bias(self, emit: Emitter, count: int) -> ir.Value | None:
        """``bias`` of shape [count], if ``hasBias``."""
        return self.weights(emit, "bias", [count]) if self.flag("hasBias") else None


Lowering = Callable[[NetworkLayer, Emitter], Results]

network: Table[Lowering] = Table("coreml", "onnx")


def lowered(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """The values of the layer's outputs.

    Raises:
        Refused: nobody lowers its kind, or one of its parameters was not read.
        ModelError: it has another number of outputs than declared.
    """
    if layer.kind == "custom":
        raise Refused(f"it is implemented outside the model, by the class {layer.get('className')!r} of an app")
    lowering = network.find(layer.kind)
    if lowering is None:
        raise Refused("the hub has no counterpart for it in this version of the workbench")
    found = lowering(layer, emit)
    if layer.leftover():
        raise Refused(f"the parameters {', '.join(map(repr, layer.leftover()))} are not understood")
    values = [found] if isinstance(found, ir.Value) else list(found)
    if len(values) != layer.outputs:
        raise ModelError(f"{layer.outputs} outputs are declared, the layer has {len(values)}.")
    # This form has no tensors without dimensions: what is reduced or squeezed to one number is of shape [1].
    return [emit.op("Unsqueeze", value, emit.const([0])) if dims_of(value) == () else value for value in values]


def integers(emit: Emitter, value: ir.Value) -> ir.Value:
    """A float tensor of integers as int64."""
    return emit.op("Cast", value, to=ir.DataType.INT64.value)


def floats(emit: Emitter, value: ir.Value) -> ir.Value:
    """A tensor of integers or truth values as float32."""
    return emit.op("Cast", value, to=ir.DataType.FLOAT.value)


def batched(emit: Emitter, x: ir.Value, lower: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Apply a lowering for [N, C, H, W] to a tensor of any rank from 3 on: what is before C is one batch to it."""
    rank = rank_of(x)
    if rank == 4:
        return lower(x)
    if rank == 3:
        return emit.op("Squeeze", lower(emit.op("Unsqueeze", x, emit.const([0]))), emit.const([0]))
    if rank < 3:
        raise Refused(f"a tensor of rank {rank} has no channels, height and width")
    inner = emit.op("Shape", x, start=-3)
    y = lower(emit.op("Reshape", x, emit.op("Concat", emit.const([-1]), inner, axis=0)))
    outer = emit.op("Shape", x, start=0, end=-3)
    return emit.op("Reshape", y, emit.op("Concat", outer, emit.op("Shape", y, start=1), axis=0))
