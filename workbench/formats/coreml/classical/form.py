"""A model that is no neural network as a document sees it: one layer, of the model's kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from workbench.document import Layer, TensorSpec
from workbench.errors import ConversionError, ExecutionError, LimitError, ModelError, Refusal
from workbench.formats.coreml.classical.encoders import dictionary_keys
from workbench.formats.coreml.classical.suppression import thresholds
from workbench.formats.coreml.classical.table import Kind, class_labels, flat, kinds
from workbench.formats.coreml.features import Key, feature_spec
from workbench.formats.coreml.interface import Feature, Interface
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.program import unused
from workbench.hub import Emitter, dims_of, dtype_name, dtype_named
from workbench.lowering import Refused

_CONTRADICTIONS = (
    ModelError, ExecutionError, ValueError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError
)  # fmt: skip
"""What a lowering raises where a damaged model's parameters do not fit together."""

_OWN_CODE = "it is calculated by code of the operating system that its file does not hold"
_CAUSES = {
    "textClassifier": _OWN_CODE,
    "wordTagger": _OWN_CODE,
    "gazetteer": _OWN_CODE,
    "wordEmbedding": _OWN_CODE,
    "visionFeaturePrint": _OWN_CODE,
    "audioFeaturePrint": _OWN_CODE,
    "soundAnalysisPreprocessing": _OWN_CODE,
    "serializedModel": "its content is private to Core ML",
}
"""Why kinds without a lowering have none, where there is a reason of their own."""


class ClassicalForm:
    """A model of any kind but networks, programs and pipelines; of a kind without a lowering, all but its hub."""

    def __init__(self, message: Any, package: Package, interface: Interface) -> None:
        self._kind: str = message.WhichOneof("Type")
        self._parameters = getattr(message, self._kind)
        self._where = f"{package.label}: {self._kind}"
        self._interface = interface
        self.labels = self._labels()
        self.states: Mapping[str, str] = {}
        self.keys: Mapping[str, tuple[Key, ...]] = {
            feature.name: keys
            for feature in interface.inputs
            if feature.kind == "dictionary" and (keys := self._keys(feature)) is not None
        }
        self.defaults: Mapping[str, float] = (
            thresholds(self._parameters) if self._kind == "nonMaximumSuppression" else {}
        )
        self.inputs = tuple(feature_spec(feature, self.keys.get(feature.name)) for feature in interface.inputs)
        taken = {spec.name for spec in self.inputs} if self._kind != "identity" else set()
        self._results = {
            feature.name: self._output(feature, taken)
            for feature in interface.outputs
            if not self.labels or feature.name != interface.label_name
        }
        self.outputs = tuple(self._results.values())
        self.own_names: Mapping[str, str] = {
            spec.name: name for name, spec in self._results.items() if spec.name != name
        }

    def layers(self) -> tuple[Layer, ...]:
        """The one layer."""
        attributes = {
            descriptor.name: value
            for descriptor, value in self._parameters.ListFields()
            if isinstance(value, int | float | str | bool)
        }
        names = tuple(spec.name for spec in self.inputs)
        return (Layer(self._kind, self._kind, names, self.outputs, attributes, _count(self._parameters)),)

    def hub(self, name: str) -> ir.Model:
        """Lower the model.

        Raises:
            ConversionError: it is of a kind that cannot be lowered, or says something that cannot.
            ModelError: it contradicts itself.
        """
        emitter = Emitter(name)
        inputs = {spec.name: emitter.input(spec.name, spec.dtype, spec.shape) for spec in self.inputs}
        kind = Kind(self._kind, self._parameters, self._interface, self._kind, inputs)
        try:
            with emitter.layer([self._kind], hint=self._kind):
                return emitter.finish(self._lowered(kind, emitter))
        except Refused as refusal:
            refused = Refusal("coreml", "onnx", self._kind, self._kind, refusal.cause, refusal.way_out)
            raise ConversionError([refused], name) from refusal
        except LimitError as error:
            raise LimitError(f"{self._where}: {error}") from error
        except _CONTRADICTIONS as error:
            raise ModelError(f"{self._where}: {error}") from error

    def weight_files(self) -> set[str]:
        """None: these models are in the message."""
        return set()

    def precision_note(self) -> str:
        """Nothing: they are calculated in float64, as their parameters are stated."""
        return ""

    # -- inside -------------------------------------------------------------------------------------------------

    def _labels(self) -> tuple[Key, ...]:
        """The classes of a classifier; of trees that name none, their numbers."""
        if not self._kind.endswith("Classifier") or "ClassLabels" not in self._parameters.DESCRIPTOR.oneofs_by_name:
            return ()
        found = class_labels(self._parameters)
        if found or self._kind != "treeEnsembleClassifier":
            return found
        dimensions = self._parameters.treeEnsemble.numPredictionDimensions
        return tuple(range(max(2, min(dimensions, 1 << 20))))

    def _keys(self, feature: Feature) -> tuple[Key, ...] | None:
        """The keys of a dictionary that is an input, where the model knows them."""
        if self._kind == "dictVectorizer":
            return dictionary_keys(self._parameters)
        if self._kind == "featureVectorizer":
            for column in self._parameters.inputList:
                if column.inputColumn == feature.name and column.inputDimensions <= 1 << 20:
                    return tuple(range(column.inputDimensions))
        return None

    def _output(self, feature: Feature, taken: set[str]) -> TensorSpec:
        """An output; one that is named like an input has another name in the hub, where a name means one tensor."""
        keys: tuple[Key, ...] | None = self.labels or None
        if self._kind in ("dictVectorizer", "oneHotEncoder"):
            which = self._parameters.WhichOneof("Map" if self._kind == "dictVectorizer" else "CategoryType")
            keys = tuple(getattr(self._parameters, which).vector) if which else None
        spec = feature_spec(feature, keys if feature.kind == "dictionary" else None)
        name = unused(f"{spec.name}_out", taken) if spec.name in taken else spec.name
        return TensorSpec(name, spec.dtype, spec.shape)

    def _lowered(self, kind: Kind, emitter: Emitter) -> list[ir.Value]:
        lowering = kinds.find(self._kind)
        if lowering is None:
            raise Refused(self._cause())
        found = lowering(kind, emitter)
        if isinstance(found, ir.Value):
            if len(self._results) != 1:
                raise kind.error(f"{len(self._results)} outputs are described, there is one")
            found = dict.fromkeys(self._results, found)
        absent = next((name for name in self._results if name not in found), None)
        if absent is not None:
            raise kind.error(f"nothing makes the output {absent!r}")
        features = {feature.name: feature for feature in self._interface.outputs}
        return [_described(kind, emitter, found[name], features[name], spec) for name, spec in self._results.items()]

    def _cause(self) -> str:
        if self._kind == "customModel":
            return f"it is calculated by the class {self._parameters.className!r} of an app"
        if self._kind == "linkedModel":
            file = self._parameters.linkedModelFile.linkedModelFileName.defaultValue
            return f"it stands for another model, {file!r}, which belongs to an app"
        return _CAUSES.get(self._kind, "the hub has no counterpart for it in this version of the workbench")


def _described(kind: Kind, emitter: Emitter, value: ir.Value, feature: Feature, spec: TensorSpec) -> ir.Value:
    """A result in the dtype and shape of the description."""
    if dtype_name(value.dtype) != spec.dtype:
        found = dtype_name(value.dtype)
        if "string" in (found, spec.dtype):
            raise kind.error(f"the output {feature.name!r} is a {feature.kind}, it comes out as {found}")
        value = emitter.op("Cast", value, to=dtype_named(spec.dtype).value)
    dims = dims_of(value)
    if spec.shape is not None and dims is not None and dims != spec.shape and spec.is_static:
        if all(isinstance(size, int) for size in dims):
            value = emitter.op("Reshape", value, emitter.const([int(size or 0) for size in spec.shape]))
        elif len(dims) != len(spec.shape):
            value = flat(emitter, value)
    return emitter.rename(value, spec.name) if value.name != spec.name else value


def _count(message: Any) -> int:
    """The numbers that a message holds in lists, the nodes of trees among them."""
    total = 0
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            total += 0 if isinstance(value, int | float | str | bytes | bool) else len(value)
        elif descriptor.name == "nodes" or isinstance(value, Mapping):
            total += len(value)
        elif hasattr(value, "ListFields"):
            total += _count(value)
        else:
            total += sum(map(_count, value))
    return total
