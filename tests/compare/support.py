"""Models for the tests of the comparison: hub graphs with the documents around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Document, Layer, Provenance, TensorLink
from workbench.hub import Emitter, layers_of, spec_of
from workbench.model import Model


class FakeDocument(Document):
    """A document that is its hub graph; each hub node is a layer unless it is stamped otherwise."""

    def __init__(
        self,
        hub: ir.Model,
        name: str = "net",
        format: str = "onnx",
        provenance: Provenance | None = None,
        note: str = "",
    ) -> None:
        self.format = format  # type: ignore[misc]
        self.name = name
        self.origin = None
        self.provenance = provenance
        self.note = note
        self._hub = hub
        self.inputs = tuple(spec_of(value) for value in hub.graph.inputs)
        self.outputs = tuple(spec_of(value) for value in hub.graph.outputs)
        layers: dict[str, Layer] = {}
        for node in hub.graph:
            for layer in layers_of(node):
                outputs = tuple(spec_of(value) for value in node.outputs if value.name)
                inputs = tuple((value.name or "") if value is not None else "" for value in node.inputs)
                layers[layer] = Layer(layer, node.op_type, inputs, outputs)  # its last node makes its output
        self.layers = tuple(layers.values())

    def hub(self) -> ir.Model:
        return self._hub

    def write(self, path: Path) -> None:
        raise NotImplementedError

    def precision_note(self) -> str:
        return self.note


def build(make: Callable[[Emitter], Iterable[ir.Value]], name: str = "net") -> ir.Model:
    """A hub graph made by a function that emits it and returns its outputs."""
    emitter = Emitter(name)
    return emitter.finish(list(make(emitter)))


def source(hub: ir.Model, **options: Any) -> Model:
    return Model(FakeDocument(hub, **options))


def converted(
    hub: ir.Model,
    origin: Model,
    links: Mapping[str, str | tuple[str, tuple[int, ...] | None]],
    *,
    layers: Mapping[str, tuple[str, ...]] | None = None,
    folded: tuple[str, ...] = (),
    inputs: Mapping[str, str] | None = None,
    format: str = "onnx",
    note: str = "",
) -> Model:
    """A model that records where it came from.

    Args:
        links: own tensor → source tensor, or (source tensor, perm).
        inputs: own input → the source's, where the names differ.
    """
    source_inputs = {spec.name: spec for spec in origin.inputs}
    source_outputs = {spec.name: spec for spec in origin.outputs}
    tensors = {
        own: TensorLink(link) if isinstance(link, str) else TensorLink(link[0], link[1]) for own, link in links.items()
    }
    provenance = Provenance(
        source_format=origin.format,
        source_name=origin.name,
        layers=layers or {},
        tensors=tensors,
        inputs={
            value.name or "": source_inputs[(inputs or {}).get(value.name or "", value.name or "")]
            for value in hub.graph.inputs
        },
        outputs={
            value.name or "": source_outputs[tensors[value.name or ""].source]
            for value in hub.graph.outputs
            if value.name in tensors and tensors[value.name or ""].source in source_outputs
        },
        folded=folded,
    )
    return Model(FakeDocument(hub, name="converted", format=format, provenance=provenance, note=note))


def chain(depth: int = 12, fault: int | None = None, width: int = 16, factor: float = 1.02) -> ir.Model:
    """Dense layers with Tanh between; the weight of the layer ``fault`` is too large by ``factor``."""
    generator = np.random.default_rng(7)

    def make(emitter: Emitter) -> list[ir.Value]:
        value = emitter.input("x", "float32", [2, width])
        for index in range(depth):
            weight = (generator.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
            if index == fault:
                weight = (weight * np.float32(factor)).astype(np.float32)
            with emitter.layer([f"dense_{index}"]):
                value = emitter.rename(
                    emitter.op("MatMul", value, emitter.const(weight, name=f"w_{index}")), f"d_{index}"
                )
            with emitter.layer([f"tanh_{index}"]):
                value = emitter.rename(emitter.op("Tanh", value), f"t_{index}")
        return [value]

    return build(make)


def same_names(hub: ir.Model) -> dict[str, str]:
    """Links of every tensor to the source's of the same name."""
    return {value.name: value.name for node in hub.graph for value in node.outputs if value.name}
