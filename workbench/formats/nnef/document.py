"""An NNEF model: flat graph, tensors, quantisation, and the record of its origin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir

from workbench.document import Classifier, Document, Layer, Provenance, TensorSpec
from workbench.errors import ModelError, SaveError
from workbench.files import inner_parts, shown
from workbench.formats.nnef.archive import ARCHIVE_SUFFIXES, GRAPH, ModelFolder, pack
from workbench.formats.nnef.binding import Mismatch
from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef, Value
from workbench.formats.nnef.parser import located
from workbench.formats.nnef.quantization import Quantization
from workbench.formats.nnef.shapes import Shape, result_shapes
from workbench.formats.nnef.tensors import write_tensor
from workbench.formats.nnef.to_onnx import lower_to_hub
from workbench.formats.nnef.to_onnx.engine import DECLARATIONS
from workbench.formats.nnef.to_onnx.node import INTEGER

SIDECAR = "workbench.json"
QUANT = "graph.quant"


@dataclass(frozen=True)
class Sidecar:
    """What NNEF has no place for.

    Attributes:
        scalar: the precision of ``scalar``.
        provenance: where the model came from.
        placeholder: the input that a graph without inputs is written with.
        classifier: the classes of an output with probabilities.
        metadata: what is said of the model in words.
    """

    scalar: str | None = None
    provenance: Provenance | None = None
    placeholder: str | None = None
    classifier: Classifier | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``workbench.json``."""
        record = None if self.provenance is None else json.loads(self.provenance.to_json())
        data: dict[str, Any] = {"version": 1, "scalar": self.scalar, "provenance": record}
        if self.placeholder is not None:
            data["placeholder"] = self.placeholder
        if self.classifier is not None:
            data["classifier"] = json.loads(self.classifier.to_json())
        if self.metadata:
            data["metadata"] = dict(self.metadata)
        return json.dumps(data, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Sidecar:
        """Read it; what cannot be read is left out (the record is a help, never a reason to fail)."""
        try:
            data = json.loads(text)
            scalar, placeholder = data.get("scalar"), data.get("placeholder")
            provenance = Provenance.from_json(json.dumps(data["provenance"])) if data.get("provenance") else None
            classifier = Classifier.from_json(json.dumps(data.get("classifier")))
            metadata = {str(key): str(text) for key, text in (data.get("metadata") or {}).items()}
        except (ValueError, KeyError, AttributeError, RecursionError, TypeError):
            return cls()
        known = scalar if scalar in ("float16", "float32", "float64") else None
        return cls(known, provenance, placeholder if isinstance(placeholder, str) else None, classifier, metadata)


@dataclass(frozen=True)
class Variable:
    """The data of one variable: as stored, and as the hub computes with it."""

    label: str
    stored: ir.TensorProtocol
    value: ir.TensorProtocol
    quantized: bool = False


@dataclass(frozen=True)
class Contents:
    """Everything that makes an NNEF model."""

    text: str
    graph: NnefGraph
    variables: Mapping[str, Variable]
    quantization: Mapping[str, Quantization] = field(default_factory=dict)
    quantization_text: str = ""
    sidecar: Sidecar = field(default_factory=Sidecar)
    scalar: str = "float32"


class NnefDocument(Document):
    """An NNEF model.

    Args:
        contents: what was read or written.
        name: display name.
        origin: the folder or archive it came from.
        folder: what the memory-mapped tensors lie in; kept alive with the document.
    """

    format: ClassVar[str] = "nnef"

    def __init__(
        self, contents: Contents, name: str, origin: Path | None = None, folder: ModelFolder | None = None
    ) -> None:
        self.contents = contents
        self.name = name
        self.origin = origin
        self._folder = folder
        graph = contents.graph
        self._shapes = self._known_shapes()
        self.states: Mapping[str, str] = {} if graph.is_tract else _states(graph, name)
        after = (replace(self._spec(variable), name=output) for variable, output in self.states.items())
        self.inputs: tuple[TensorSpec, ...] = tuple(self._spec(name) for name in (*graph.inputs, *self.states))
        self.outputs: tuple[TensorSpec, ...] = (*(self._spec(name) for name in graph.outputs), *after)
        self.provenance: Provenance | None = contents.sidecar.provenance
        self.metadata = contents.sidecar.metadata
        classifier = contents.sidecar.classifier
        known = classifier is not None and any(spec.name == classifier.probabilities for spec in self.outputs)
        self.classifier = classifier if known else None

    def _known_shapes(self) -> Mapping[str, Shape | tuple[Any, ...]]:
        return _shapes(self.contents.graph, self.name)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:  # type: ignore[override]  # computed when first looked at
        return tuple(
            self._layer(operation) for operation in self.contents.graph.operations if operation.name not in DECLARATIONS
        )

    def _layer(self, operation: NnefOperation) -> Layer:
        variables = self.contents.variables
        return Layer(
            name=operation.outputs[0],
            operator=operation.name,
            inputs=operation.inputs,
            outputs=tuple(self._spec(name) for name in operation.outputs),
            attributes={key: value for key, value in operation.arguments.items() if not _holds_tensor(value)},
            parameters=sum(variables[name].value.size for name in operation.inputs if name in variables),
        )

    def _spec(self, name: str) -> TensorSpec:
        kind = self.contents.graph.dtypes[name]
        dtype = {"integer": INTEGER, "logical": "bool"}.get(kind, self.contents.scalar)
        return TensorSpec(name, dtype, self._shapes.get(name))

    def hub(self) -> ir.Model:
        return self._hub

    @cached_property
    def _hub(self) -> ir.Model:
        contents = self.contents
        tensors = {name: variable.value for name, variable in contents.variables.items()}
        return lower_to_hub(
            contents.graph, tensors, contents.quantization, contents.scalar, f"nnef model {self.name!r}", self.states
        )

    def default_feed(self, spec: TensorSpec) -> Any:
        """What the file holds for a variable that is updated."""
        return self.contents.variables[spec.name].value.numpy().copy() if spec.name in self.states else None

    def start(self, state: str) -> ir.TensorProtocol | None:
        """What the file holds, by its label."""
        return self.contents.variables[state].value

    def excerpt(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> NnefDocument:
        """The operations between tensors as a model (see :class:`workbench.document.Document`)."""
        from workbench.formats.nnef.excerpt import excerpt

        return excerpt(self.contents, f"part of {self.name}", inputs, outputs)

    def write(self, path: Path) -> None:
        if not path.name.endswith(ARCHIVE_SUFFIXES):
            self._write_folder(path)
            return
        folder = path.with_name(path.name + ".folder")
        try:
            self._write_folder(folder)
            pack(folder, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_folder(self, folder: Path) -> None:
        folder.mkdir()
        contents = self.contents
        _write_text(folder / GRAPH, contents.text)
        if contents.quantization:
            _write_text(folder / QUANT, contents.quantization_text)
        if contents.sidecar != Sidecar():
            _write_text(folder / SIDECAR, contents.sidecar.to_json())
        written: set[str] = set()
        for variable in contents.variables.values():
            if variable.label in written:
                continue  # two variables may share their data
            written.add(variable.label)
            parts = inner_parts(f"{variable.label.removeprefix('/')}.dat")
            if parts is None:
                raise SaveError(f"the label {shown(variable.label)} would lie outside the model's folder.")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_tensor(target, variable.stored, variable.quantized)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _states(graph: NnefGraph, where: str) -> dict[str, str]:
    """Variables that the graph updates → a name for what they hold after a run.

    Raises:
        ModelError: what is updated is no variable, or is updated twice (NNEF 1.0.5, section 4.8).
    """
    variables = {operation.outputs[0] for operation in graph.operations if operation.name == "variable"}
    found: dict[str, str] = {}
    for operation in graph.operations:
        if operation.name != "update":
            continue
        variable = operation.arguments["variable"]
        name = variable.name if isinstance(variable, TensorRef) else str(variable)
        if name not in variables or name in found:
            message = f"update '{operation.outputs[0]}': {name!r} is "
            message += "updated a second time." if name in found else "no variable."
            raise ModelError(f"{where}: {located(GRAPH, operation.position, message)}")
        found[name] = carried_name(name, {*graph.dtypes, *found.values()})
    return found


def carried_name(variable: str, taken: Collection[str]) -> str:
    """A name for what a variable holds after a run."""
    output = f"{variable}_out"
    while output in taken:
        output += "_"
    return output


def _holds_tensor(value: Value) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_tensor, value))
    return isinstance(value, TensorRef)


def _shapes(graph: NnefGraph, where: str) -> dict[str, Shape | tuple[Any, ...]]:
    """The shape of every tensor as far as it follows; an external with an extent 0 has an unknown one there.

    Raises:
        ModelError: an operation's shapes or attributes contradict one another.
    """
    shapes: dict[str, Shape] = {}
    unknown: dict[str, tuple[int | None, ...]] = {}
    for operation in graph.operations:
        if operation.name == "external" and 0 in operation.arguments["shape"]:
            unknown[operation.outputs[0]] = tuple(extent or None for extent in operation.arguments["shape"])
        elif all(name in shapes for name in operation.inputs):
            if operation.name not in _KNOWN:
                continue
            try:
                shapes.update(result_shapes(operation, shapes))
            except Mismatch as mismatch:
                message = f"{operation.name} '{operation.outputs[0]}': {mismatch}."
                raise ModelError(f"{where}: {located(GRAPH, operation.position, message)}") from None
    return {**shapes, **unknown}


def _known() -> frozenset[str]:
    from workbench.formats.nnef.binding import standard_operations

    return frozenset(standard_operations())


_KNOWN = _known()
