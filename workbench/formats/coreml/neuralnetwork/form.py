"""A neural network as a document sees it: blobs named apart, layers, interface, and the lowering of all of it."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import Layer, TensorSpec
from workbench.errors import ConversionError, ExecutionError, LimitError, ModelError, Refusal
from workbench.formats.coreml.features import Key
from workbench.formats.coreml.interface import Feature, Interface
from workbench.formats.coreml.neuralnetwork.control import nested, touched
from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, floats, lowered
from workbench.formats.coreml.neuralnetwork.weights import weight_count
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.program import unused
from workbench.hub import Emitter, dims_of, set_type
from workbench.lowering import Refused

_CONTRADICTIONS = (
    ModelError, ExecutionError, ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError
)  # fmt: skip
"""What a lowering raises where a damaged model's parameters do not fit together."""

_LEGACY_RANKS = (1, 3)  # the ranks of arrays that the rank-5 mapping is defined for


class NetworkForm:
    """A ``NeuralNetwork``, ``NeuralNetworkClassifier`` or ``NeuralNetworkRegressor`` message."""

    keys: Mapping[str, tuple[Key, ...]] = {}  # a network takes no dictionaries
    defaults: Mapping[str, float] = {}

    def __init__(self, message: Any, package: Package, interface: Interface) -> None:
        self._kind = message.WhichOneof("Type")
        self._network = getattr(message, self._kind)
        self._label = package.label
        self._interface = interface
        limits.check("nodes", len(self._network.layers), package.label)
        self._rank5_arrays = self._network.arrayInputShapeMapping == 0
        self._rank5_images = self._network.imageInputShapeMapping == 0
        self.labels = self._labels()
        self.states: Mapping[str, str] = {}
        names = [feature.name for feature in interface.inputs]
        # the outputs that the caller sees have other shapes than rank-5 blobs
        taken = names + [feature.name for feature in interface.outputs if self._rank5_arrays]
        results = [feature.name for feature in interface.outputs]
        self._steps, self._last = _steps(self._network.layers, names, taken, results)
        self.inputs = tuple(self._input(feature) for feature in interface.inputs)
        outputs = tuple(
            TensorSpec(feature.name, "float32", feature.dims() if feature.kind == "array" else None)
            for feature in interface.outputs
            if not self.labels or feature.name != interface.label_name
        )
        used = {*names, *results, *(name for step in self._steps for name in step.outputs)}
        hub_names = {spec.name: unused(f"{spec.name}_out", used) for spec in outputs if self._shadows(spec)}
        self.own_names: Mapping[str, str] = {other: name for name, other in hub_names.items()}
        self.outputs = tuple(replace(spec, name=hub_names.get(spec.name, spec.name)) for spec in outputs)

    def layers(self) -> tuple[Layer, ...]:
        """The network's layers in their order."""
        return tuple(step.layer() for step in self._steps)

    def weight_files(self) -> set[str]:
        """None: this form's weights are in the message."""
        return set()

    def precision_note(self) -> str:
        """Nothing: the layers are calculated in float32."""
        return ""

    def hub(self, name: str) -> ir.Model:
        """Lower every layer.

        Raises:
            ConversionError: with all refusals.
            ModelError: the network contradicts itself.
        """
        emitter = Emitter(name)
        blobs: dict[str, ir.Value] = {}
        for spec, feature in zip(self.inputs, self._interface.inputs, strict=True):
            value = emitter.input(spec.name, spec.dtype, spec.shape)
            blobs[spec.name] = self._prepared(emitter, value, feature)
        refusals = [refusal for step in self._steps if (refusal := self._lower(step, emitter, blobs)) is not None]
        if refusals:
            raise ConversionError(refusals, name)
        return emitter.finish([self._result(emitter, blobs, spec) for spec in self.outputs])

    # -- inside -------------------------------------------------------------------------------------------------

    def _shadows(self, output: TensorSpec) -> bool:
        """Whether an output has the name of an input, but is not that input as it is fed."""
        fed = next((spec for spec in self.inputs if spec.name == output.name), None)
        if fed is None:
            return False
        prepared = self._rank5_arrays or fed.dtype != "float32"
        images = {feature.name for feature in self._interface.inputs if feature.kind == "image"}
        return self._last[fed.name] != fed.name or prepared or fed.name in images

    def _labels(self) -> tuple[Any, ...]:
        if self._kind != "neuralNetworkClassifier":
            return ()
        kind = self._network.WhichOneof("ClassLabels")
        return tuple(getattr(self._network, kind).vector) if kind else ()

    def _input(self, feature: Feature) -> TensorSpec:
        if feature.kind not in ("array", "image"):
            raise ModelError(
                f"{self._label}: the input {feature.name!r} is a {feature.kind}, not an array or an image."
            )
        return TensorSpec(feature.name, feature.dtype if feature.kind == "array" else "float32", feature.dims())

    def _prepared(self, emitter: Emitter, value: ir.Value, feature: Feature) -> ir.Value:
        """The tensor that the first layers read: float32, preprocessed, and of rank 5 where the network says so."""
        if value.dtype is not ir.DataType.FLOAT:
            value = floats(emitter, value)
        if feature.kind == "image":
            value = self._preprocessed(emitter, value, feature)
            return emitter.op("Unsqueeze", value, emitter.const([0])) if self._rank5_images else value
        if not self._rank5_arrays:
            return value
        rank = 0 if value.shape is None else len(value.shape)
        if rank not in (*_LEGACY_RANKS, 5):
            raise ModelError(f"{self._label}: the input {feature.name!r} is of rank {rank}; this mapping takes 1 or 3.")
        axes = {1: [0, 1, 3, 4], 3: [0, 1]}.get(rank)
        return value if axes is None else emitter.op("Unsqueeze", value, emitter.const(axes))

    def _preprocessed(self, emitter: Emitter, value: ir.Value, feature: Feature) -> ir.Value:
        images = [entry.name for entry in self._interface.inputs if entry.kind == "image"]
        for entry in self._network.preprocessing:
            if (entry.featureName or images[0]) != feature.name:
                continue
            kind = entry.WhichOneof("preprocessor")
            if kind == "scaler":
                scaler = entry.scaler
                colours = {"RGB": ("red", "green", "blue"), "BGR": ("blue", "green", "red")}
                names = colours.get(feature.colours, ("gray",))
                bias = [getattr(scaler, f"{name}Bias") for name in names]
                value = emitter.op("Mul", value, emitter.const(scaler.channelScale or 1.0))
                value = emitter.op("Add", value, emitter.const(np.asarray(bias, np.float32).reshape(-1, 1, 1)))
            elif kind == "meanImage":
                mean = np.asarray(entry.meanImage.meanImage, np.float32).reshape((feature.shape or ())[1:])
                value = emitter.op("Sub", value, emitter.const(mean))
        return value

    def _lower(self, step: Step, emitter: Emitter, blobs: dict[str, ir.Value]) -> Refusal | None:
        where = f"{self._label}: {step.kind} {step.name!r}"
        missing = [name for name in step.inputs if name not in blobs]
        if missing:
            raise ModelError(f"{where}: reads {missing[0]!r}, which nothing before it makes.")
        inputs = [blobs[name] for name in step.inputs]
        view = NetworkLayer(step.kind, step.parameters, inputs, len(step.outputs), step.name)
        if nested(step.message):
            view.message, view.writes = step.message, step.targets
            view.scope = dict(zip(step.sources, inputs, strict=True))
        try:
            with emitter.layer([step.name], hint=step.name):
                values = lowered(view, emitter)
                for name, value in zip(step.outputs, values, strict=True):
                    blobs[name] = emitter.rename(value, name)
        except Refused as refusal:
            for name in step.outputs:
                blobs[name] = set_type(ir.Value(name=name), "float32", None)
            return Refusal("coreml", "onnx", step.kind, step.name, refusal.cause, refusal.way_out)
        except LimitError as error:
            raise LimitError(f"{where}: {error}") from error
        except _CONTRADICTIONS as error:
            raise ModelError(f"{where}: {error}") from error
        return None

    def _result(self, emitter: Emitter, blobs: dict[str, ir.Value], spec: TensorSpec) -> ir.Value:
        """An output: a blob; under the rank-5 mapping without the dimensions that it had to be given."""
        own = self.own_names.get(spec.name, spec.name)
        source = self._last.get(own, "")
        if self.labels and not source and self._steps:  # the probabilities: the last layer's output, unless named
            named = self._network.labelProbabilityLayerName
            source = self._last.get(named, "") or self._steps[-1].outputs[0]
        if source not in blobs:
            raise ModelError(f"{self._label}: no layer makes the output {own!r}.")
        value = blobs[source]
        if source == spec.name:
            return value
        dims = dims_of(value)
        if self.labels:
            value = emitter.op("Reshape", value, emitter.const([-1]))
        elif self._rank5_arrays and dims is not None and len(dims) == 5:
            vector = spec.shape is not None and len(spec.shape) == 1
            value = emitter.op("Squeeze", value, emitter.const([0, 1, 3, 4] if vector else [0, 1]))
        else:
            value = emitter.op("Identity", value)
        return emitter.rename(value, spec.name)


class Step:
    """One layer with its blobs named apart (a network may write a blob twice).

    Attributes:
        sources: of control flow, what the inputs are called in the network; ``targets`` likewise of the outputs.
    """

    def __init__(
        self, message: Any, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...],
        sources: tuple[str, ...] = (), targets: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.kind = message.WhichOneof("layer") or "untyped"
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.sources = sources
        self.targets = targets
        self.message = message
        self.parameters = getattr(message, self.kind) if self.kind != "untyped" else message

    def layer(self) -> Layer:
        """The layer as the document lists it."""
        shapes = [tuple(int(size) for size in tensor.dimValue) for tensor in self.message.outputTensor]
        specs = tuple(
            TensorSpec(name, "float32", shape if shape and min(shape) > 0 else None)
            for name, shape in itertools.zip_longest(self.outputs, shapes[: len(self.outputs)])
        )
        attributes: dict[str, Any] = {}
        count = 0
        for descriptor, value in self.parameters.ListFields() if self.kind != "untyped" else ():
            weights = list(_weights_within(value))
            if descriptor.message_type is None:
                attributes[descriptor.name] = _shown(descriptor, value)
            elif self.kind == "activation":
                attributes["function"] = descriptor.name
                attributes.update({d.name: v for d, v in value.ListFields() if d.message_type is None})
            elif type(value).__name__ == "NeuralNetwork":
                attributes[descriptor.name] = f"{len(value.layers)} layers"
            elif not weights:
                attributes[descriptor.name] = " ".join(str(value).split())[:200]
            count += sum(map(weight_count, weights))
        return Layer(self.name, self.kind, self.inputs, specs, attributes, count)


def _weights_within(value: Any) -> Iterator[Any]:
    """The ``WeightParams`` messages that a parameter is, or holds."""
    if type(value).__name__ == "WeightParams":
        yield value
    elif hasattr(value, "ListFields"):
        for descriptor, part in value.ListFields():
            if descriptor.message_type is not None:
                yield from _weights_within(part)
    elif not isinstance(value, int | float | str | bytes | Mapping):
        for part in value:
            yield from _weights_within(part)


def _shown(descriptor: Any, value: Any) -> Any:
    if descriptor.enum_type is not None and isinstance(value, int):
        return descriptor.enum_type.values_by_number[value].name
    return value if isinstance(value, int | float | str | bool) else list(value)[:64]


def _steps(
    layers: Any, inputs: list[str], taken: list[str], results: list[str]
) -> tuple[tuple[Step, ...], dict[str, str]]:
    """Layers whose names, and whose outputs' names, are unique; and what each blob is called in the end.

    A network may write a blob twice; what is written last keeps the plain name, unless it is taken.
    """
    touches = _touches(layers, inputs, results)
    left = collections.Counter(name for _, written in touches for name in written)
    current = {name: name for name in inputs}
    used = set(taken)
    names = {""}
    steps = []
    for message, (sources, targets) in zip(layers, touches, strict=True):
        reads = tuple(current.get(name, name) for name in sources)
        writes = []
        for name in targets:
            left[name] -= 1
            plain = left[name] == 0 and name not in used
            current[name] = name if plain else unused(name, used | set(left))
            used.add(current[name])
            writes.append(current[name])
        name = unused(message.name, names)
        names.add(name)
        aliases = (sources, targets) if nested(message) else ()
        steps.append(Step(message, name, reads, tuple(writes), *aliases))
    return tuple(steps), current


def _touches(layers: Any, inputs: list[str], results: list[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What each layer reads and writes, in the network's names.

    Control flow reads what its networks read or overwrite, as far as it is there; it writes what they write, as far as
    it was there before or is read behind.
    """
    behind: list[set[str]] = []
    later = set(results)
    for message in reversed(layers):
        behind.append(set(later))
        later |= set(touched(message)[0])
    there = set(inputs)
    found = []
    for message, wanted in zip(layers, reversed(behind), strict=True):
        sources, targets = tuple(message.input), tuple(message.output)
        if nested(message):
            reads, writes = touched(message)
            inner = (name for name in (*reads, *writes) if name in there)
            sources = tuple(dict.fromkeys((*message.input, *inner)))
            targets = tuple(name for name in writes if name in there or name in wanted)
        there.update(targets)
        found.append((sources, targets))
    return found
