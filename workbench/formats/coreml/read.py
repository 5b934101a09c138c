"""Core ML models as documents: interface, layers and provenance from the protobuf alone; the hub on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Classifier, Document, Provenance, TensorLink, TensorSpec
from workbench.errors import ExecutionError, ModelError, OptionError, SaveError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.features import fed
from workbench.formats.coreml.forms import form_of
from workbench.formats.coreml.image import is_picture, tensor_of
from workbench.formats.coreml.interface import Interface, interface_of
from workbench.formats.coreml.package import Package, open_package, write_package
from workbench.lowering import Refused

PROVENANCE = "workbench.provenance"
"""The key of our provenance record in the description's user-defined metadata."""

_WEIGHTS = "@model_path/weights/"


class CoreMLDocument(Document):
    """A Core ML model.

    Attributes:
        interface: what the description says, flexible shapes and images included.
        default_shapes: input → the shape that Core ML takes if none is given.
        widened: every float16 tensor of the program is taken for float32; the document's record then relates it to the
            model as it is stored.
    """

    format = "coreml"

    def __init__(
        self, package: Package, name: str, origin: Path | None, *, function: str = "", widened: bool = False
    ) -> None:
        self._package = package
        self.name = name
        self.origin = origin
        message = _parse(package)
        self.specification = int(message.specificationVersion)
        self.interface: Interface = interface_of(message, function)
        self.widened = widened
        self.read_options = {
            **({"function": function} if function else {}),
            **({"precision": "fp32"} if widened else {}),
        }
        self._form = form_of(message, package, self.interface, widened)
        self.inputs = self._form.inputs
        self.outputs = self._form.outputs
        self.classifier = self._classifier()
        self.metadata = {key: text for key, text in self.interface.metadata.items() if key != PROVENANCE}
        self.states = self._form.states
        self.own_names = self._form.own_names
        self.layers = self._form.layers()
        self.default_shapes: Mapping[str, tuple[int, ...]] = {
            feature.name: feature.shape for feature in self.interface.inputs if feature.shape is not None
        }
        self._features = {feature.name: feature for feature in self.interface.inputs}
        self.provenance = self._relation(message) if widened else self._record()
        self._hub: ir.Model | None = None

    def hub(self) -> ir.Model:
        """The hub graph; lowered once."""
        if self._hub is None:
            self._hub = self._form.hub(self.name)
            for name, label in (self.provenance.labels if self.provenance is not None else {}).items():
                weight = self._hub.graph.initializers.get(name)
                if weight is not None and weight.const_value is not None:
                    weight.const_value.name = label
        return self._hub

    def write(self, path: Path) -> None:
        """Copy specification and weights into a fresh package (``.mlpackage``, its ``.zip``) or a ``.mlmodel``.

        Raises:
            SaveError: the suffix's form cannot hold the model, or the file has float16 where the document has float32.
        """
        if self.widened:
            raise SaveError(f"{self.name}: calculated in float32, stored in float16; load it without precision='fp32'.")
        files = {file: file.removeprefix(_WEIGHTS) for file in self._form.weight_files()}
        elsewhere = sorted(file for file, name in files.items() if not file.startswith(_WEIGHTS) or "/" in name)
        if elsewhere:
            raise SaveError(f"{self.name}: weights in {elsewhere} cannot be copied into a new package.")
        write_package(path, self._package.spec, {name: self._package.blob(file) for file, name in files.items()})

    def excerpt(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> CoreMLDocument:
        """The operations of a program between tensors, as a program (see :class:`workbench.document.Document`)."""
        from workbench.formats.coreml.excerpt import excerpt
        from workbench.formats.coreml.program_form import ProgramForm

        if self.widened or not isinstance(self._form, ProgramForm):
            raise Refused("only parts of an ML program can stand alone, calculated as it is stored")
        return excerpt(self._package, f"part of {self.name}", self._form.program.name, inputs, outputs)

    def _classifier(self) -> Classifier | None:
        labels, probabilities = self._form.labels, self.interface.probabilities_name
        if not labels or not any(spec.name == probabilities for spec in self._form.outputs):
            return None
        return Classifier(self.interface.label_name, probabilities, labels)

    def _record(self) -> Provenance | None:
        record = self.interface.metadata.get(PROVENANCE)
        return None if record is None else Provenance.from_json(record)

    def _relation(self, message: Any) -> Provenance:
        """Everything here stands for what the model as it is stored has under the same name."""
        stored = form_of(message, self._package, self.interface, widened=False)
        tensors = [spec.name for spec in (*self.inputs, *(spec for layer in self.layers for spec in layer.outputs))]
        return Provenance(
            source_format=self.format,
            source_name=self.name,
            layers={layer.name: (layer.name,) for layer in self.layers},
            tensors={name: TensorLink(name) for name in tensors},
            inputs={spec.name: spec for spec in stored.inputs},
            outputs={spec.name: spec for spec in stored.outputs},
        )

    def receive(self, name: str, value: Any) -> Any:
        """A PIL image becomes the tensor of an image input, a dictionary a vector; numbers and texts become arrays."""
        if name not in self._features:
            return value
        if not is_picture(value):
            return fed(value, self._features[name], self._form.keys.get(name))
        dtype = next(spec.dtype for spec in self.inputs if spec.name == name)
        return tensor_of(value, self._features[name], dtype)

    def takes_pictures(self, name: str) -> bool:
        """Whether the description says so of the input."""
        return name in self._features and self._features[name].kind == "image"

    def default_feed(self, spec: TensorSpec) -> Any:
        """Zeros for a state, its default value for what is optional; ``None`` for everything else."""
        if spec.name in self.states:
            return np.zeros(_static(spec), spec.dtype)
        feature = self._features.get(spec.name)
        if feature is None or not feature.optional:
            return None
        default = self._form.defaults.get(spec.name, feature.default)
        if default is None:
            return None
        shape = self.default_shapes.get(spec.name)
        return np.full(_static(spec) if shape is None else shape, default, spec.dtype)

    def check_feed(self, name: str, shape: Sequence[int]) -> None:
        """Check a shape against the shapes or ranges of sizes that the description allows."""
        feature = self._features.get(name)
        if feature is not None and not feature.takes(shape):
            raise ExecutionError(
                f"the feed {name!r} has the shape {list(shape)}; the model takes {feature.describe_shapes()}."
            )

    def weights(self) -> Mapping[str, Callable[[], Any]]:
        """The constants of a program under their own names; those of the older form as the hub names them."""
        from workbench.formats.coreml.program_form import ProgramForm

        if not isinstance(self._form, ProgramForm):
            return super().weights()
        return {name: constant.array for name, constant in self._form.weights().items()}

    def precision_note(self) -> str:
        """``float16 storage and rounding`` where the model has float16 tensors; or ``""``."""
        return self._form.precision_note()


def read(source: Path | object, *, function: str = "", precision: str = "stored") -> CoreMLDocument:
    """Read a package, an archive, a ``.mlmodel``, coremltools' ``MLModel`` or a ``Model`` message.

    Args:
        source: what to read.
        function: which, of a model with several; its default function if none is named.
        precision: ``"fp32"`` takes float16 tensors of a program for float32; ``"stored"`` calculates as it is stored.

    Raises:
        ModelError: it is damaged or unsafe.
        OptionError: it has no such function, or the precision is another word.
    """
    if precision not in ("stored", "fp32"):
        raise OptionError(f"precision = {precision!r}: a Core ML model is read with 'stored' or 'fp32'.")
    widened = precision == "fp32"
    if isinstance(source, Path):
        return CoreMLDocument(open_package(source), source.name, source, function=function, widened=widened)
    function = function or getattr(source, "function_name", None) or ""
    return CoreMLDocument(_adopt(source), "model", None, function=function, widened=widened)


def _static(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim for dim in spec.shape or () if isinstance(dim, int))


def _adopt(source: Any) -> Package:
    """The package of an object in memory; the object is kept as long as its weight folder is needed."""
    if hasattr(source, "get_spec"):
        folder = getattr(source, "weights_dir", None)
        return Package(
            "the MLModel", source.get_spec().SerializeToString(), Path(folder).parent if folder else None, source
        )
    data = source.SerializeToString()
    return Package("the model", data)


def _parse(package: Package) -> Any:
    message = toolkit.model_pb2().Model()
    try:
        message.ParseFromString(package.spec)
    except toolkit.decode_error() as error:
        raise ModelError(f"{package.label}: not a Core ML model, or a damaged one ({error}).") from error
    if not message.WhichOneof("Type"):
        raise ModelError(f"{package.label}: the Core ML model is empty: it says of no type what it is.")
    return message
