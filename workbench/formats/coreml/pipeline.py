"""Pipelines: models behind one another, that hand each other features by name.

https://apple.github.io/coremltools/mlmodel/Format/Model.html#pipeline

Each model has a form of its own, whose hub graph is put into the pipeline's. Layers and tensors of a model are named
``<model>/<name>``; a tensor that is an output of the pipeline has the feature's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import Dim, Layer, TensorSpec
from workbench.errors import ConversionError, ModelError, Refusal
from workbench.formats.coreml.classical.encoders import texts
from workbench.formats.coreml.features import Key, feature_spec
from workbench.formats.coreml.forms import Form, form_of
from workbench.formats.coreml.inline import inline
from workbench.formats.coreml.interface import Feature, Interface, interface_of
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.program import unused
from workbench.hub import Emitter, dims_of, dtype_name, dtype_named, set_type

_Model = tuple[str, Form, Interface]
"""A model's name in the pipeline, its form and its description."""


@dataclass(frozen=True)
class _Stage:
    """One model of the pipeline.

    Attributes:
        name: unique in the pipeline.
        sources: its inputs → the tensors of the pipeline that they are.
        tensors: its outputs → what they are called in the pipeline.
    """

    name: str
    form: Form
    interface: Interface
    sources: Mapping[str, str]
    tensors: Mapping[str, str]

    def tensor(self, name: str) -> str:
        """What a tensor of the model is called in the pipeline."""
        return self.tensors.get(name) or self.sources.get(name) or f"{self.name}/{name}"

    def edge(self, index: int) -> list[str]:
        """The first layer (0) or the last one (-1), if there are any: what is done to features is stamped with it."""
        layers = self.form.layers()
        return [f"{self.name}/{layers[index].name}"] if layers else []


class PipelineForm:
    """A ``Pipeline``, ``PipelineClassifier`` or ``PipelineRegressor`` message."""

    def __init__(self, message: Any, package: Package, interface: Interface, widened: bool, depth: int) -> None:
        kind = message.WhichOneof("Type")
        pipeline = message.pipeline if kind == "pipeline" else getattr(message, kind).pipeline
        self._label = package.label
        self._interface = interface
        self.states: Mapping[str, str] = {}
        if not len(pipeline.models):
            raise ModelError(f"{self._label}: the pipeline holds no model.")
        limits.check("nodes", len(pipeline.models), self._label)
        models = [
            self._model(sub, name, package, widened, depth)
            for sub, name in zip(pipeline.models, _names(pipeline), strict=True)
        ]
        self._final = self._producers(models)
        self._outputs = self._output_names()
        self._classifier = self._classified(models)
        self._stages = self._wired(models)
        self.labels: tuple[Key, ...] = () if self._classifier < 0 else self._stages[self._classifier].form.labels
        self.own_names: Mapping[str, str] = {tensor: name for name, tensor in self._outputs.items() if tensor != name}
        self.inputs = tuple(map(self._input, interface.inputs))
        self.outputs = tuple(self._spec(feature) for feature in self._features())
        self.keys: Mapping[str, tuple[Key, ...]] = self._collected("keys")
        self.defaults: Mapping[str, float] = self._collected("defaults")

    def layers(self) -> tuple[Layer, ...]:
        """The layers of all models."""
        return tuple(
            replace(
                layer,
                name=f"{stage.name}/{layer.name}",
                inputs=tuple(name and stage.tensor(name) for name in layer.inputs),
                outputs=tuple(replace(spec, name=stage.tensor(spec.name)) for spec in layer.outputs),
            )
            for stage in self._stages
            for layer in stage.form.layers()
        )

    def weight_files(self) -> set[str]:
        """Those of all models."""
        return {file for stage in self._stages for file in stage.form.weight_files()}

    def precision_note(self) -> str:
        """Those of all models."""
        return "; ".join(dict.fromkeys(note for stage in self._stages if (note := stage.form.precision_note())))

    def hub(self, name: str) -> ir.Model:
        """Lower every model.

        Raises:
            ConversionError: with the refusals of all models.
            ModelError: one of them contradicts itself, or they do not fit together.
        """
        emitter = Emitter(name)
        held = {spec.name: emitter.input(spec.name, spec.dtype, spec.shape) for spec in self.inputs}
        pictures = {feature.name: feature for feature in self._interface.inputs if feature.kind == "image"}
        refusals: list[Refusal] = []
        for stage in self._stages:
            try:
                model = stage.form.hub(stage.name)
            except ConversionError as error:
                refusals += [replace(refusal, layer=f"{stage.name}/{refusal.layer}") for refusal in error.refusals]
                made = {spec.name: set_type(ir.Value(name=spec.name), spec.dtype, None) for spec in stage.form.outputs}
            else:
                given = [self._handed(emitter, stage, spec, held, pictures) for spec in stage.form.inputs]
                results = inline(emitter, model, stage.name, given, stage.tensor)
                made = {spec.name: value for spec, value in zip(stage.form.outputs, results, strict=True)}
            self._hand_on(emitter, stage, made, held, pictures)
        if refusals:
            raise ConversionError(refusals, name)
        return emitter.finish(
            [
                emitter.rename(held[feature.name], spec.name)
                for feature, spec in zip(self._features(), self.outputs, strict=True)
            ]
        )

    # -- what is known before anything is lowered --------------------------------------------------------------

    def _model(self, message: Any, name: str, package: Package, widened: bool, depth: int) -> _Model:
        label = f"{self._label}: model {name!r} of the pipeline"
        if not message.WhichOneof("Type"):
            raise ModelError(f"{label}: it is empty, it says of no type what it is.")
        inner, interface = replace(package, label=label), interface_of(message)
        form = form_of(message, inner, interface, widened, depth + 1)
        if form.states:
            raise ModelError(f"{label}: it has a state, which Core ML's pipelines have not.")
        return name, form, interface

    def _producers(self, models: Sequence[_Model]) -> dict[str, int]:
        """Feature → the last model that makes it; -1 for what is only an input."""
        found = dict.fromkeys((feature.name for feature in self._interface.inputs), -1)
        for index, (name, _, interface) in enumerate(models):
            for feature in interface.inputs:
                if feature.name not in found:
                    raise ModelError(
                        f"{self._label}: model {name!r} of the pipeline takes {feature.name!r}, which is neither an "
                        "input of the pipeline nor made by a model before it."
                    )
            found.update((feature.name, index) for feature in interface.outputs)
        for feature in self._interface.outputs:
            if feature.name not in found and feature.name != self._interface.undescribed:
                raise ModelError(f"{self._label}: nothing in the pipeline makes the output {feature.name!r}.")
        return found

    def _output_names(self) -> dict[str, str]:
        """Output → its tensor: another name where an input is called the same and is something else."""
        inputs = {feature.name for feature in self._interface.inputs}
        names = [feature.name for feature in self._interface.outputs]
        shadowing = {name for name in names if name in inputs and self._final.get(name, -1) >= 0}
        return {name: unused(f"{name}_out", inputs | set(names)) if name in shadowing else name for name in names}

    def _classified(self, models: Sequence[_Model]) -> int:
        """The model that makes the probabilities, if the pipeline is a classifier; else -1.

        Where the description has no probabilities, those of the last classifier are the pipeline's.
        """
        interface = self._interface
        if not interface.label_name or not interface.probabilities_name:
            return -1
        for index in reversed(range(len(models))):
            _, form, inner = models[index]
            if form.labels and interface.probabilities_name in (inner.probabilities_name, interface.undescribed):
                self._final[interface.probabilities_name] = index
                return index
        return -1

    def _wired(self, models: Sequence[_Model]) -> tuple[_Stage, ...]:
        """The models, each with what its features are called."""
        current = {feature.name: feature.name for feature in self._interface.inputs}
        stages = []
        for index, (name, form, interface) in enumerate(models):
            sources = {feature.name: current[feature.name] for feature in interface.inputs}
            tensors = {}
            current.update({feature.name: f"{name}/{feature.name}" for feature in interface.outputs})  # labels too
            for made, own in _made(form, interface).items():
                plain = self._outputs.get(made) if self._final[made] == index else None
                tensors[own] = current[made] = plain or f"{name}/{own}"
            if self._interface.undescribed and index == self._classifier:
                tensors[interface.probabilities_name] = self._interface.undescribed
            stages.append(_Stage(name, form, interface, sources, tensors))
        return tuple(stages)

    def _features(self) -> list[Feature]:
        """The outputs that are tensors: a classifier's label is left to the document."""
        interface = self._interface
        return [
            feature
            for feature in interface.outputs
            if not (self.labels and feature.name == interface.label_name) and feature.name in self._final
        ]

    def _input(self, feature: Feature) -> TensorSpec:
        """As the first model that takes it has it."""
        for stage in self._stages:
            if stage.sources.get(feature.name) == feature.name:
                found = next((spec for spec in stage.form.inputs if spec.name == feature.name), None)
                if found is not None:
                    return found
        return feature_spec(feature)

    def _spec(self, feature: Feature) -> TensorSpec:
        name, index = self._outputs[feature.name], self._final[feature.name]
        if index < 0:
            return replace(next(spec for spec in self.inputs if spec.name == feature.name), name=name)
        stage = self._stages[index]
        own = _made(stage.form, stage.interface).get(feature.name, "")
        if feature.name == self._interface.undescribed:
            own = stage.interface.probabilities_name
        found = next((spec for spec in stage.form.outputs if spec.name == own), None)
        return replace(feature_spec(feature) if found is None else found, name=name)

    def _collected(self, attribute: str) -> dict[str, Any]:
        """What the models say of those of their inputs that are the pipeline's."""
        found: dict[str, Any] = {}
        for stage in self._stages:
            for name, value in getattr(stage.form, attribute).items():
                if stage.sources.get(name) == name and name in self._final and found.setdefault(name, value) != value:
                    raise ModelError(f"{self._label}: the models of the pipeline do not agree about {name!r}.")
        return found

    # -- handing on ---------------------------------------------------------------------------------------------

    def _handed(
        self, emitter: Emitter, stage: _Stage, spec: TensorSpec, held: Mapping[str, ir.Value],
        pictures: Mapping[str, Feature],
    ) -> ir.Value:  # fmt: skip
        """A feature as a model takes it: in its dtype and shape; a picture in its order of colours."""
        value = held[spec.name]
        feature = next(feature for feature in stage.interface.inputs if feature.name == spec.name)
        where = f"{self._label}: model {stage.name!r} of the pipeline takes {spec}"
        with emitter.layer(stage.edge(0), hint=stage.name):
            made = pictures.get(spec.name)
            if feature.kind == "image" and made is not None and made.colours != feature.colours:
                if {made.colours, feature.colours} != {"RGB", "BGR"}:
                    raise ModelError(f"{where}, a picture of layout {feature.colours}; it is given {made.colours}.")
                value = emitter.op("Gather", value, emitter.const([2, 1, 0]), axis=-3)
            given = dtype_name(value.dtype)
            if given != spec.dtype:
                if "string" in (given, spec.dtype):
                    raise ModelError(f"{where}; it is given {given}.")
                value = emitter.op("Cast", value, to=dtype_named(spec.dtype).value)
            return _shaped(emitter, value, spec, where)

    def _hand_on(
        self, emitter: Emitter, stage: _Stage, made: dict[str, ir.Value], held: dict[str, ir.Value],
        pictures: dict[str, Feature],
    ) -> None:  # fmt: skip
        """What a model has made replaces what was there under the same names."""
        interface, names = stage.interface, _made(stage.form, stage.interface)
        for feature in interface.outputs:
            pictures.pop(feature.name, None)
            if feature.name in names:
                held[feature.name] = made[names[feature.name]]
            elif stage.form.labels and feature.name == interface.label_name:
                with emitter.layer(stage.edge(-1), hint=stage.name):
                    held[feature.name] = _label(emitter, self._probabilities(stage, made), stage.form.labels)
            if feature.kind == "image":
                held[feature.name] = self._pictured(emitter, stage, held[feature.name], feature)
                pictures[feature.name] = feature
        if self._interface.undescribed and stage is self._stages[self._classifier]:
            held[self._interface.undescribed] = self._probabilities(stage, made)

    def _probabilities(self, stage: _Stage, made: Mapping[str, ir.Value]) -> ir.Value:
        name = stage.interface.probabilities_name
        if name not in made:
            raise ModelError(f"{self._label}: model {stage.name!r} of the pipeline does not make {name!r}.")
        return made[name]

    def _pictured(self, emitter: Emitter, stage: _Stage, value: ir.Value, feature: Feature) -> ir.Value:
        """A picture between two models: whole numbers from 0 to 255, as its pixels hold them."""
        read = any(feature.name in later.sources for later in self._stages[self._stages.index(stage) + 1 :])
        if not read or feature.colours == "GRAYSCALE_FLOAT16" or value.dtype is None:
            return value
        with emitter.layer(stage.edge(-1), hint=stage.name):
            low, high = (emitter.const(np.asarray(bound, dtype_name(value.dtype))) for bound in (0, 255))
            return emitter.op("Floor", emitter.op("Clip", value, low, high))


def _names(pipeline: Any) -> list[str]:
    """A unique name for each model: its own, else ``model0``, ``model1``, …"""
    given = list(pipeline.names)
    found: list[str] = []
    for index in range(len(pipeline.models)):
        name = given[index] if index < len(given) and given[index] else f"model{index}"
        found.append(unused(name, found))
    return found


def _made(form: Form, interface: Interface) -> dict[str, str]:
    """Feature → the tensor of the form; a classifier's label is none."""
    tensors = {form.own_names.get(spec.name, spec.name): spec.name for spec in form.outputs}
    return {feature.name: tensors[feature.name] for feature in interface.outputs if feature.name in tensors}


def _label(emitter: Emitter, probabilities: ir.Value, labels: Sequence[Key]) -> ir.Value:
    """The most probable class, ``[1]``: what a model behind a classifier reads."""
    place = emitter.op("ArgMax", emitter.op("Reshape", probabilities, emitter.const([-1])), axis=0)
    if isinstance(labels[0], str):
        return emitter.op("Gather", texts(emitter, list(map(str, labels))), place)
    return emitter.op("Gather", emitter.const(np.asarray(labels, np.int64)), place)


def _shaped(emitter: Emitter, value: ir.Value, spec: TensorSpec, where: str) -> ir.Value:
    """The value in the shape that is taken; the same elements in another one are put into it.

    Raises:
        ModelError: it has another number of elements.
    """
    dims = dims_of(value)
    if dims is None or spec.shape is None or _fits(dims, spec.shape):
        return value
    static = [size for size in dims if isinstance(size, int)]
    wanted = [size for size in spec.shape if isinstance(size, int)]
    open_sizes = len(dims) - len(static) + len(spec.shape) - len(wanted)
    if not open_sizes and int(np.prod(static)) == int(np.prod(wanted)):
        return emitter.op("Reshape", value, emitter.const(wanted))
    raise ModelError(f"{where}; it is given the shape {list(dims)}.")


def _fits(dims: Sequence[Dim], wanted: Sequence[Dim]) -> bool:
    return len(dims) == len(wanted) and all(
        not isinstance(one, int) or not isinstance(other, int) or one == other
        for one, other in zip(dims, wanted, strict=True)
    )
