"""Writing ONNX: the hub is ONNX already, what is added is the record of where the model came from."""

from __future__ import annotations

import onnx_ir as ir

from workbench.document import Document, Progress, Provenance, TensorLink
from workbench.formats.base import Draft, Source
from workbench.formats.onnx.document import AUTHORSHIP, CLASSIFIER, PROVENANCE, OnnxDocument, layer_names
from workbench.formats.onnx.quantized import spell_out
from workbench.formats.onnx.states import give_states
from workbench.hub import Specialized, layers_of
from workbench.lowering import Outcome
from workbench.plan import Verdict


class OnnxDraft(Draft):
    """A hub graph about to become an ONNX model; every node is exact, since it is the hub's own."""

    def __init__(self, hub: Specialized, source: Source) -> None:
        self._hub = hub
        self._source = source
        self.outcomes = [
            Outcome(layers_of(node) or (node.name or "",), node.op_type, Verdict.EXACT) for node in hub.model.graph
        ]

    def finish(self, progress: Progress) -> Document:
        progress("writing ONNX", 0.0)
        model = self._hub.model.clone()
        _name_as_trained(model.graph)
        spell_out(model)
        record = _provenance(model.graph, self._source, self._hub.folded)
        model.producer_name = "exchange-workbench"
        _describe(model, self._source)
        give_states(model, self._source)
        model.metadata_props[PROVENANCE] = record.to_json()
        progress("writing ONNX", 1.0)
        return OnnxDocument(model, self._source.name_with(".onnx"))


def _name_as_trained(graph: ir.Graph) -> None:
    """Give the weights the names that their tensors have, which are those that they were trained under."""
    taken = {value.name for value in graph.inputs} | {value.name for node in graph for value in node.outputs}
    for value in list(graph.initializers.values()):
        label = value.const_value.name if value.const_value is not None else None
        if label and label not in taken and label not in graph.initializers and not value.is_graph_output():
            value.name = label


def _describe(model: ir.Model, source: Source) -> None:
    """What the source says in words, under the keys that ONNX has for it."""
    model.metadata_props.clear()
    for key, text in source.metadata.items():
        if key == "description":
            model.doc_string = text
        else:
            model.metadata_props[AUTHORSHIP.get(key, key)] = text
    if source.classifier is not None:
        model.metadata_props[CLASSIFIER] = source.classifier.to_json()


def _provenance(graph: ir.Graph, source: Source, folded: tuple[str, ...]) -> Provenance:
    """The hub keeps the source's tensor names, so a tensor stands for the source tensor of the same name."""
    inputs = {spec.name: spec for spec in source.inputs}
    outputs = {spec.name: spec for spec in source.outputs}
    made = [value.name for node in graph for value in node.outputs]
    tensors = [value.name for value in graph.inputs] + [name for name in made if name in source.tensors]
    return Provenance(
        source_format=source.format,
        source_name=source.name,
        layers={name: layers_of(node) for name, node in zip(layer_names(graph), graph, strict=True)},
        tensors={name: TensorLink(name) for name in tensors if name},
        inputs={value.name or "": inputs[value.name or ""] for value in graph.inputs if value.name in inputs},
        outputs={value.name or "": outputs[value.name or ""] for value in graph.outputs if value.name in outputs},
        folded=folded,
        constants=source.constants,
    )
