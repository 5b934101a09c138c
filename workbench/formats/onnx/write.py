"""Writing ONNX: the hub is ONNX already, what is added is the record of where the model came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from workbench.document import Document, Progress, Provenance, TensorLink
from workbench.formats.base import Draft, Source
from workbench.formats.onnx.document import AUTHORSHIP, CLASSIFIER, PROVENANCE, OnnxDocument, layer_names
from workbench.formats.onnx.quantized import spell_out
from workbench.formats.onnx.states import give_states
from workbench.hub import OPSET, Specialized, layers_of
from workbench.hub.bodies import expand_bodies
from workbench.hub.downgrade import downgrade, existed
from workbench.hub.stamps import approximations_of
from workbench.lowering import Outcome, Refused, approximations
from workbench.plan import Verdict


class OnnxDraft(Draft):
    """A hub graph about to become an ONNX model: as it is, or at an older opset where that says the same."""

    def __init__(self, hub: Specialized, source: Source, opset: int) -> None:
        refusals: dict[ir.Node, Refused] = {}
        if opset < OPSET:
            expanded = expand_bodies(hub, lambda node: existed(node, opset))
            _keep_shapes(expanded.model.graph, hub.model.graph)
            hub = replace(expanded, model=expanded.model.clone())
            refusals = downgrade(hub.model, opset)
            _tidy(hub.model.graph)
            hub.model.ir_version = _ir_version(opset)
        self._hub = hub
        self._source = source
        self.outcomes = [_outcome(node, refusals.get(node)) for node in hub.model.graph]

    def finish(self, progress: Progress) -> Document:
        progress("writing ONNX", 0.0)
        model = self._hub.model.clone()
        _name_as_trained(model.graph)
        spell_out(model)
        record = _provenance(model.graph, self._source, self._hub.folded, approximations(self.outcomes))
        model.producer_name = "exchange-workbench"
        _describe(model, self._source)
        give_states(model, self._source)
        model.metadata_props[PROVENANCE] = record.to_json()
        progress("writing ONNX", 1.0)
        return OnnxDocument(model, self._source.name_with(".onnx"))


def _tidy(graph: ir.Graph) -> None:
    """What has been put in the place of nodes gets names of its own, and leaves no constants that nothing reads."""
    for inner in (graph, *graph.subgraphs()):
        for node, name in zip(inner, layer_names(inner), strict=True):
            node.name = name
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _keep_shapes(graph: ir.Graph, before: ir.Graph) -> None:
    """What the source says of its outputs' shapes, where it does not follow: ONNX wants at least the rank."""
    for value, output in zip(graph.outputs, before.outputs, strict=True):
        if value.shape is None:
            value.shape = output.shape


def _outcome(node: ir.Node, refused: Refused | None) -> Outcome:
    layers = layers_of(node) or (node.name or "",)
    if refused is not None:
        return Outcome(layers, node.op_type, Verdict.REFUSED, refused.cause, refused.way_out)
    bounds = approximations_of(node)
    return Outcome(layers, node.op_type, Verdict.APPROXIMATE if bounds else Verdict.EXACT, "; ".join(bounds))


def _ir_version(opset: int) -> int:
    """The oldest IR version that goes with the opset (https://github.com/onnx/onnx/blob/main/docs/Versioning.md)."""
    import onnx

    needed: int = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return needed


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


def _provenance(graph: ir.Graph, source: Source, folded: tuple[str, ...], approximate: Mapping[str, str]) -> Provenance:
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
        approximate=approximate,
        constants=source.constants,
    )
