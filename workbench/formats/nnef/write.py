"""Writing NNEF: the hub lowered to flat standard operations, the record of its origin beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from workbench.document import Classifier, Document, Progress, Provenance, TensorLink
from workbench.errors import Refusal
from workbench.formats.base import Draft, Source
from workbench.formats.nnef.document import Sidecar
from workbench.formats.nnef.from_onnx import TABLE, Builder, Tensor
from workbench.formats.nnef.from_onnx.builder import Lowering
from workbench.formats.nnef.from_onnx.finish import Finished, finish
from workbench.formats.nnef.from_onnx.precision import scalar_for
from workbench.formats.nnef.from_onnx.tensor import KINDS
from workbench.formats.nnef.graph import NnefGraph
from workbench.formats.nnef.labels import Names
from workbench.formats.nnef.placeholder import with_placeholder
from workbench.formats.nnef.printer import print_graph
from workbench.formats.nnef.quantization import print_quantization
from workbench.formats.nnef.read import assemble, document_of
from workbench.formats.nnef.states import States, carried_names, copies_for, states_of, update_states
from workbench.hub import OPSET, Specialized, dtype_name, lower_graph, spec_of
from workbench.hub.bodies import expand_bodies
from workbench.hub.stored import Stored
from workbench.lowering import Outcome, Refused, Table, approximations

_MAX_RANK = 8


def lower(
    hub: Specialized,
    source: Source,
    progress: Progress,
    make: Callable[[str], Builder] = Builder,
    table: Table[Lowering] = TABLE,
) -> NnefDraft:
    """Lower a specialised hub graph; every node gets an outcome.

    Args:
        make: makes the dialect's builder, given the dtype of ``scalar``.
        table: the dialect's lowerings.
    """
    hub = expand_bodies(hub, lambda node: table.find(node.op_type, OPSET, node.domain) is not None)
    graph = hub.model.graph
    builder = make(_scalar_of(graph))
    states = states_of(graph, source) if builder.keeps_states else {}
    builder.nameless = copies_for(states)
    general = _declare(graph, builder, source, states)
    outcomes = lower_graph(graph, table, builder, progress, "lowering to NNEF")
    return NnefDraft(hub, source, builder, outcomes, general, states)


def _scalar_of(graph: ir.Graph) -> str:
    """The dtype that ``scalar`` stands for: one that holds all floating-point tensors of the graph."""
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    return scalar_for(dtype_name(value.dtype) for value in values)


def _declare(graph: ir.Graph, builder: Builder, source: Source, states: States) -> list[Refusal]:
    """Declare the inputs; returns the refusals of the interface."""
    refusals = []
    for value in (*graph.inputs, *graph.outputs):
        try:
            _check_interface(value)
        except Refused as refused:
            where = "input" if value in graph.inputs else "output"
            refusals.append(Refusal(source.format, "nnef", where, value.name or "", refused.cause, refused.way_out))
    for value in graph.inputs:
        spec = spec_of(value)
        shape = tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape or ())
        try:
            if value in states:
                builder.add_state(value, spec.dtype, shape, source.starts.get(spec.name))
            else:
                builder.add_input(value, spec.dtype, shape)
        except Refused as refused:
            refusals.append(Refusal(source.format, "nnef", "input", spec.name, refused.cause, refused.way_out))
            builder.add_input(value, "float32", shape)
    return refusals


def _check_interface(value: ir.Value) -> None:
    spec = spec_of(value)
    if spec.shape is None or not spec.is_static:
        raise Refused(f"its shape {spec.describe()} depends on values at run time")
    if 0 in spec.shape:
        raise Refused(f"its shape {spec.describe()} holds no elements, which NNEF cannot say")
    if len(spec.shape) > _MAX_RANK:
        raise Refused(f"its rank is {len(spec.shape)}, NNEF has at most {_MAX_RANK}")


@dataclass(frozen=True)
class Emission:
    """A graph that is ready to be printed, the data of its variables, and where it came from."""

    graph: NnefGraph
    finished: Finished
    provenance: Provenance


class NnefDraft(Draft):
    """Emitted operations about to become an NNEF model."""

    def __init__(
        self,
        hub: Specialized,
        source: Source,
        builder: Builder,
        outcomes: Sequence[Outcome],
        general: Sequence[Refusal],
        states: States,
    ) -> None:
        self.outcomes = outcomes
        self.general = general
        self._hub = hub
        self._source = source
        self._builder = builder
        self._states = states

    def finish(self, progress: Progress) -> Document:
        return self.written(self.emission(), progress)

    def emission(self) -> Emission:
        """The flat graph with what belongs to it. Called once, and only if nothing was refused."""
        graph = self._hub.model.graph
        builder = self._builder
        outputs = self._outputs([value for value in graph.outputs if value not in self._states.values()])
        updates = update_states(builder, self._states)
        finished = finish(builder, [tensor for _, tensor in outputs], list(updates.values()))
        flat = NnefGraph(
            Names().identifier(graph.name or self._source.name.rsplit(".", 1)[0]),
            tuple(tensor.name for _, tensor in builder.inputs if tensor not in builder.states),
            tuple(tensor.name for _, tensor in outputs),
            tuple(finished.operations),
            {},
            builder.extensions(finished.operations),
        )
        named = {tensor.name: value for value, tensor in outputs}
        carried = carried_names(flat)
        named.update({carried[builder.values[before].name]: after for before, after in self._states.items()})
        return Emission(flat, finished, self._provenance(finished, named))

    def written(self, emission: Emission, progress: Progress) -> Document:
        """The document of what was emitted, read back."""
        progress("writing NNEF", 0.0)
        builder, finished = self._builder, emission.finished
        graph, placeholder = with_placeholder(emission.graph)
        sidecar = Sidecar(
            builder.scalar_dtype,
            emission.provenance,
            placeholder,
            _classifier(self._source, emission.provenance),
            self._source.metadata,
        )
        text, quant = print_graph(graph, builder.declared), print_quantization(finished.quantization)
        contents = assemble(text, quant, sidecar.to_json(), lambda label: _opened(finished, label), self._source.name)
        progress("writing NNEF", 1.0)
        return document_of(contents, self._source.name_with(".nnef"))

    def _outputs(self, wanted: Sequence[ir.Value]) -> list[tuple[ir.Value, Tensor]]:
        """A tensor of its own for each output, in the type that the output has."""
        builder = self._builder
        made = {tensor for operation in builder.emitted for tensor in _results(operation.results)}
        inputs = [tensor for _, tensor in builder.inputs]  # which keep their names
        outputs: list[tuple[ir.Value, Tensor]] = []
        for value in wanted:
            tensor = builder.as_output(builder.tensor(value), value)
            made.update(_results(builder.emitted[-1].results) if builder.emitted else ())
            taken = [*inputs, *(tensor for _, tensor in outputs)]
            if (tensor not in made and tensor.data is None) or tensor in taken:
                tensor = builder.op("copy", tensor)
            made.update(_results(builder.emitted[-1].results) if builder.emitted else ())
            tensor.hint = value.name or tensor.hint
            outputs.append((value, tensor))
        return outputs

    def _provenance(self, finished: Finished, outputs: Mapping[str, ir.Value]) -> Provenance:
        """
        Args:
            outputs: the outputs of the model by their names in it.
        """
        source = self._source
        specs = {spec.name: spec for spec in (*source.inputs, *source.outputs)}
        alive = {name for operation in finished.operations for name in operation.outputs}
        tensors = {
            tensor.name: TensorLink(value.name)
            for value, tensor in self._builder.values.items()
            if value.name
            and (value.name in source.tensors or value.name in specs)
            and tensor.name in alive
            and tensor.kind == KINDS.get(dtype_name(value.dtype))
        }
        return Provenance(
            source_format=source.format,
            source_name=source.name,
            layers=finished.layers,
            tensors=tensors,
            inputs={
                tensor.name: specs[value.name or ""] for value, tensor in self._builder.inputs if value.name in specs
            },
            outputs={name: specs[value.name or ""] for name, value in outputs.items() if value.name in specs},
            folded=self._hub.folded,
            approximate=approximations(self.outcomes),
            constants=source.constants,
        )


def _opened(finished: Finished, label: str) -> tuple[ir.TensorProtocol, bool]:
    """A variable as its file holds it, and whether that is as levels."""
    tensor = finished.variables[label]
    if isinstance(tensor, Stored) and label in finished.levels:
        return ir.Tensor(tensor.grid.data, name=label), True
    return tensor, False


def _results(values: dict[str, object]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values.values():
        items = value if isinstance(value, list) else [value]
        found += [item for item in items if isinstance(item, Tensor)]
    return found


def _classifier(source: Source, provenance: Provenance) -> Classifier | None:
    """The source's classes, of the output as it is called here."""
    if source.classifier is None:
        return None
    own = (name for name, spec in provenance.outputs.items() if spec.name == source.classifier.probabilities)
    name = next(own, None)
    return None if name is None else replace(source.classifier, probabilities=name)
