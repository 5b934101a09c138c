"""Core ML models as documents: interface, layers and provenance from the protobuf alone; the hub on request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

from workbench.document import Document, Layer, Provenance, TensorSpec
from workbench.errors import ModelError, SaveError
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.interface import Interface, interface_of
from workbench.formats.coreml.package import Package, open_package, write_package

PROVENANCE = "workbench.provenance"
"""The key of our provenance record in the description's user-defined metadata."""

_WEIGHTS = "@model_path/weights/weight.bin"
_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")


class Form(Protocol):
    """What the kinds of Core ML model (ML program, neural network) have in common."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[Any, ...]

    def layers(self) -> tuple[Layer, ...]:
        """The layers as the model states them."""

    def hub(self, name: str) -> ir.Model:
        """Lower the model."""

    def weight_files(self) -> set[str]:
        """The files that the model refers to."""

    def precision_note(self) -> str:
        """What is special about the model's arithmetic."""


class CoreMLDocument(Document):
    """A Core ML model.

    Attributes:
        interface: what the description says, flexible shapes and images included.
        default_shapes: input → the shape that Core ML takes if none is given.
        labels: a classifier's classes, in the order of its probabilities. Its document has the probabilities as an
            array for output; the most probable label itself is for the caller to look up.
    """

    format = "coreml"

    def __init__(self, package: Package, name: str, origin: Path | None) -> None:
        self._package = package
        self.name = name
        self.origin = origin
        message = _parse(package)
        self.specification = int(message.specificationVersion)
        self.interface: Interface = interface_of(message)
        self._form = _form(message, package, self.interface)
        self.inputs = self._form.inputs
        self.outputs = self._form.outputs
        self.labels = self._form.labels
        self.layers = self._form.layers()
        self.default_shapes: Mapping[str, tuple[int, ...]] = {
            feature.name: feature.shape for feature in self.interface.inputs if feature.shape is not None
        }
        record = self.interface.metadata.get(PROVENANCE)
        self.provenance = None if record is None else Provenance.from_json(record)
        self._hub: ir.Model | None = None

    def hub(self) -> ir.Model:
        """The hub graph; lowered once."""
        if self._hub is None:
            self._hub = self._form.hub(self.name)
        return self._hub

    def write(self, path: Path) -> None:
        """Copy specification and weights into a fresh package (``.mlpackage``, its ``.zip``) or a ``.mlmodel``.

        Raises:
            SaveError: the suffix's form cannot hold the model.
        """
        files = self._form.weight_files()
        if files - {_WEIGHTS}:
            raise SaveError(
                f"{self.name}: weights in {sorted(files - {_WEIGHTS})} cannot be copied into a new package."
            )
        weights = self._package.blob(_WEIGHTS) if files else None
        write_package(path, self._package.spec, weights)

    def precision_note(self) -> str:
        """``float16 storage and rounding`` where the model has float16 tensors; or ``""``."""
        return self._form.precision_note()


def read(source: Path | object) -> CoreMLDocument:
    """Read a package, an archive, a ``.mlmodel``, coremltools' ``MLModel`` or a ``Model`` message.

    Raises:
        ModelError: it is damaged, unsafe, or no neural network.
    """
    if isinstance(source, Path):
        return CoreMLDocument(open_package(source), source.name, source)
    return CoreMLDocument(_adopt(source), "model", None)


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


def _form(message: Any, package: Package, interface: Interface) -> Form:
    kind = message.WhichOneof("Type")
    if kind == "mlProgram":
        from workbench.formats.coreml.program_form import ProgramForm

        return ProgramForm(message, package, interface)
    if kind in _NETWORKS:
        from workbench.formats.coreml.neuralnetwork import NetworkForm

        return NetworkForm(message, package, interface)
    raise ModelError(f"{package.label}: a Core ML model of type {kind} is no neural network and cannot be read.")
