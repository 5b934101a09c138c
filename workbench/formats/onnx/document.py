"""An ONNX model as a document: its layers as the file states them, and its way into the hub."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from workbench import limits
from workbench.document import Classifier, Document, Layer, Provenance, TensorSpec
from workbench.errors import ExecutionError, ModelError, SaveError, WorkbenchError
from workbench.formats.onnx.states import STATES, put_starts, take_states
from workbench.formats.onnx.stream import write_model
from workbench.hub import IR_VERSION, OPSET, schema_of, spec_of, stamp, subgraphs
from workbench.hub.follow import Follower
from workbench.hub.upgrade import define_newer, type_bodies, upgrade
from workbench.lowering import contradiction

PROVENANCE = "workbench.provenance"
"""Key of the record in the model's ``metadata_props``."""

CLASSIFIER = "workbench.classifier"
"""Key of what makes a label of the probabilities, which ONNX's own tensors do not say."""

AUTHORSHIP = {"author": "model_author", "license": "model_license"}
"""Our word → ONNX's key in ``metadata_props`` (https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md)."""

PROTOBUF_LIMIT = 2**31 - 1
"""Largest protobuf message (https://protobuf.dev/programming-guides/proto-limits/)."""


class OnnxDocument(Document):
    """An ONNX model held in onnx-ir, at the opset of its file.

    Args:
        model: the model as read; it is not changed, except that inferred types are filled in, and that what states
            begin with is taken out until it is written.
        name: display name.
        origin: the file it came from.
    """

    format: ClassVar[str] = "onnx"

    def __init__(self, model: ir.Model, name: str, origin: Path | None = None) -> None:
        self.model = model
        self.name = name
        self.origin = origin
        self.opset = model.graph.opset_imports.get("", OPSET)
        self._names = layer_names(model.graph)
        self.states, self._starts = take_states(model)
        _infer(model.graph, self.opset)
        initializers = model.graph.initializers
        self.inputs: tuple[TensorSpec, ...] = tuple(
            spec_of(value) for value in model.graph.inputs if value.name not in initializers
        )
        self.outputs: tuple[TensorSpec, ...] = tuple(spec_of(value) for value in model.graph.outputs)
        self.provenance: Provenance | None = Provenance.from_json(model.metadata_props.get(PROVENANCE, ""))
        self.metadata = _metadata(model)
        self.classifier = self._classifier()

    def _classifier(self) -> Classifier | None:
        found = Classifier.from_json(self.model.metadata_props.get(CLASSIFIER, ""))
        return found if found is not None and any(spec.name == found.probabilities for spec in self.outputs) else None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:  # type: ignore[override]  # computed when first looked at
        return tuple(
            Layer(
                name=name,
                operator=self._label(node),
                inputs=tuple("" if value is None else value.name or "" for value in node.inputs),
                outputs=tuple(spec_of(value) for value in node.outputs if value.name),
                attributes={key: _readable(attribute) for key, attribute in node.attributes.items()},
                parameters=sum(
                    value.const_value.size
                    for value in node.inputs
                    if value is not None and value.is_initializer() and value.const_value is not None
                ),
            )
            for name, node in zip(self._names, self.model.graph, strict=True)
        )

    def _label(self, node: ir.Node) -> str:
        if node.domain:
            return f"{node.domain}.{node.op_type}"
        schema = schema_of(node.op_type, "", self.opset)
        return node.op_type if schema is None else f"{node.op_type}-{schema.since_version}"

    def hub(self) -> ir.Model:
        return self._hub

    @cached_property
    def _hub(self) -> ir.Model:
        try:
            return self._lowered()
        except (WorkbenchError, MemoryError):
            raise
        except Exception as error:  # onnx-ir's passes meet a malformed graph with many classes
            raise ModelError(f"{self.name}: malformed ONNX model: {contradiction(error)}.") from error

    def _lowered(self) -> ir.Model:
        model = self.model.clone()
        graph = model.graph
        for name, node in zip(self._names, graph, strict=True):
            node.name = name
            stamp(node, [name])
            for inner in _nested(node):
                stamp(inner, [name])
        for value in list(graph.inputs):
            if value.name in graph.initializers:  # a default value; the interface does not offer to override it
                graph.inputs.remove(value)
        _inline(model, self.name)
        if define_newer(model):
            _inline(model, self.name)
            _infer(graph, self.opset)  # the upgrade asks for element types
            type_bodies(graph)
        upgrade(model, OPSET)
        graph.opset_imports[""] = OPSET
        model.ir_version = IR_VERSION
        _infer(graph, OPSET)
        return model

    def start(self, state: str) -> ir.TensorProtocol | None:
        """The default value of the input."""
        return self._starts.get(state)

    def default_feed(self, spec: TensorSpec) -> Any:
        """What a state begins with."""
        if spec.name not in self.states:
            return None
        start = self._starts.get(spec.name)
        shape = [size for size in spec.shape or () if isinstance(size, int)]
        return np.zeros(shape, spec.dtype) if start is None else start.numpy().copy()

    def excerpt(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> OnnxDocument:
        """The nodes between tensors as a model (see :class:`workbench.document.Document`)."""
        from workbench.formats.onnx.excerpt import excerpt

        return OnnxDocument(excerpt(self.model, inputs, outputs), f"part of {self.name}")

    def write(self, path: Path) -> None:
        size = sum(
            value.const_value.nbytes
            for graph in self.model.graphs()
            for value in graph.initializers.values()
            if value.const_value is not None and value.const_value.dtype is not ir.DataType.STRING  # has no width
        )
        size += sum(start.nbytes for start in self._starts.values())
        if size > PROTOBUF_LIMIT:
            raise SaveError(
                f"{path.name}: {size:,} bytes of weights do not fit one ONNX file (2 GB); save as NNEF or Core ML, "
                "whose weights lie in files of their own."
            )
        try:
            model = self.model.clone()
            put_starts(model.graph, self._starts)
            with path.open("wb") as target:
                write_model(model, target)
        except (OSError, WorkbenchError, MemoryError):
            raise
        except Exception as error:  # onnx-ir meets what protobuf cannot hold with many classes
            raise SaveError(f"{path.name}: it cannot be said in ONNX's protobuf: {contradiction(error)}.") from error


def _metadata(model: ir.Model) -> dict[str, str]:
    """``metadata_props`` without our own records, and what the model's fields say beside them."""
    words = {key: ours for ours, key in AUTHORSHIP.items()}
    found = {
        words.get(key, key): text
        for key, text in model.metadata_props.items()
        if text and key not in (PROVENANCE, CLASSIFIER, STATES)
    }
    if model.doc_string:
        found.setdefault("description", model.doc_string)
    if model.model_version:
        found.setdefault("version", str(model.model_version))
    return found


def layer_names(graph: ir.Graph) -> tuple[str, ...]:
    """A unique name for each node: its own, else its first output's, else its operator's.

    A name that is a model input's or output's is left to that tensor, unless the node makes it.
    """
    reserved = {value.name for value in (*graph.inputs, *graph.outputs)}
    taken: set[str] = set()
    names = []
    for node in graph:
        own = {value.name for value in node.outputs}
        base = node.name or next((value.name for value in node.outputs if value.name), None) or node.op_type
        name, count = base, 0
        while name in taken or (name in reserved and name not in own):
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _infer(graph: ir.Graph, opset: int) -> None:
    """Fill in types as far as they follow; a node that contradicts itself leaves its outputs as the file states them.

    The contradiction is reported when the model is run or converted, not when it is looked at.
    """
    follower = Follower(opset=opset)
    for node in graph:
        with contextlib.suppress(ModelError, ExecutionError):
            follower.follow(node)


def _nested(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of a node's subgraphs, at any depth."""
    for graph in subgraphs(node):
        yield from ir.traversal.RecursiveGraphIterator(graph)


def _inline(model: ir.Model, where: str) -> None:
    """Inline the model's functions, once it is known how many nodes that makes."""
    if not model.functions:
        return
    sizes: dict[Any, int] = {}

    def expanded(identifier: Any, depth: int) -> int:
        limits.check("nesting", depth, f"{where} (nested functions)")
        if identifier in sizes:
            return sizes[identifier]
        total = 0
        for node in ir.traversal.RecursiveGraphIterator(model.functions[identifier].graph):
            called = node.op_identifier()
            total += expanded(called, depth + 1) if called in model.functions else 1
            limits.check("nodes", total, f"{where} (nodes after inlining functions)")
        sizes[identifier] = total
        return total

    total = 0
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        called = node.op_identifier()
        total += expanded(called, 1) if called in model.functions else 1
        limits.check("nodes", total, f"{where} (nodes after inlining functions)")
    try:
        passes.InlinePass()(model)
    except Exception as error:  # onnx-ir raises ValueError and its own classes
        raise ModelError(f"{where}: its functions cannot be inlined: {error}.") from error


def _readable(attribute: ir.Attr) -> object:
    """An attribute's value for people; tensors and graphs by their size."""
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    if attribute.type is ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return tensor.numpy().tolist() if tensor.size <= 16 else f"{tensor.dtype.name}{list(tensor.shape)}"
    if attribute.type is ir.AttributeType.GRAPH:
        return f"graph of {len(attribute.as_graph())} nodes"
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return list(attribute.value)
    if attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING):
        return attribute.value
    return attribute.type.name
