"""Writing: a specialised hub graph → a lowered program (the draft) → a package, read back."""

from __future__ import annotations

import difflib
import math
import shutil
import tempfile
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Dim, Document, Progress, Provenance, TensorLink, TensorSpec
from workbench.errors import CompressionWarning, OptionError
from workbench.formats.base import Draft, Source
from workbench.formats.coreml import passes, toolkit
from workbench.formats.coreml.compression import SCHEMES, compress, is_compressed
from workbench.formats.coreml.export import export
from workbench.formats.coreml.flexible import check_flexible
from workbench.formats.coreml.from_onnx import TABLE
from workbench.formats.coreml.from_onnx.carrier import held_shape
from workbench.formats.coreml.from_onnx.names import identifier
from workbench.formats.coreml.from_onnx.target import ProgramTarget
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.package import open_package, write_package
from workbench.formats.coreml.pass_list import left_out
from workbench.formats.coreml.presentation import Presentation
from workbench.formats.coreml.read import PROVENANCE, CoreMLDocument
from workbench.hub import OPSET, Specialized, constant_of, layers_of, lower_graph, spec_of
from workbench.hub.bodies import expand_bodies
from workbench.hub.half import BEYOND
from workbench.hub.lengths import with_lengths
from workbench.hub.replay import every_node
from workbench.lowering import Outcome, approximations
from workbench.plan import Verdict

_STATE = "a state is kept in float16: relative 2⁻¹¹"
_LOOKED_AT = 1 << 16
_BOUNDED = f"numbers from ±{BEYOND:.0e} on are held at ±65504".replace("e+0", "e")
_FLOAT16 = "computed in float16: relative 2⁻¹¹ for each operation, infinite beyond ±65504"


def draft(hub: Specialized, source: Source, options: CoreMLOptions, progress: Progress) -> Draft:
    """Lower the graph to an ML program in memory; every node gets an outcome, none is raised for.

    Raises:
        OptionError: ``keep_fp32`` names a layer that the model does not have.
    """
    _check_layers(hub, options)
    check_flexible(hub.flexible)
    presentation = Presentation(options, hub, source)
    hub = expand_bodies(with_lengths(hub), lambda node: TABLE.find(node.op_type, OPSET, node.domain) is not None)
    with toolkit.session():
        target = ProgramTarget(
            hub.model.graph,
            options.specification,
            source.format,
            presentation.names,
            presentation.pictures,
            presentation.reserved,
            presentation.states,
            hub.open_shapes,
        )
        with target.function:
            target.adopt_inputs()
            outcomes = lower_graph(
                hub.model.graph, TABLE, target, progress, open_shapes=hub.open_shapes, elements=target.elements
            )
            target.finish_outputs()
    if presentation.states:
        outcomes = [
            _noted(outcome, _STATE) if _keeps(node, presentation.states) else outcome
            for outcome, node in zip(outcomes, hub.model.graph, strict=True)
        ]
    if options.precision != "fp32":
        outcomes = [_rounded(outcome, node, options) for outcome, node in zip(outcomes, hub.model.graph, strict=True)]
    if options.compress:
        note = SCHEMES[options.compress].note
        outcomes = [
            _noted(outcome, note) if is_compressed(node) else outcome
            for outcome, node in zip(outcomes, hub.model.graph, strict=True)
        ]
    return ProgramDraft(hub, source, options, presentation, target, outcomes)


def _rounded(outcome: Outcome, node: ir.Node, options: CoreMLOptions) -> Outcome:
    """The outcome of a node that will be computed in float16."""
    made = [value for inner in every_node([node]) for value in inner.outputs]
    rounded = any(value.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE) for value in made)
    if outcome.verdict is Verdict.REFUSED or not rounded or not set(outcome.layers).isdisjoint(options.kept):
        return outcome
    note = f"{_FLOAT16}; {_BOUNDED}" if any(map(_has_bound, node.inputs)) else _FLOAT16
    return _noted(outcome, note)


def _has_bound(value: ir.Value | None) -> bool:
    """Whether the value is a constant, of a size that a look costs nothing, with a number that float16 bounds."""
    small = value is not None and value.const_value is not None and value.const_value.size <= _LOOKED_AT
    array = constant_of(value) if small else None
    return array is not None and array.dtype.kind == "f" and bool((np.abs(array[np.isfinite(array)]) >= BEYOND).any())


def _keeps(node: ir.Node, states: Mapping[str, str]) -> bool:
    """Whether the node makes what a state keeps, or reads what it has kept."""
    makes = any(value.name in states.values() for value in node.outputs)
    return makes or any(value is not None and value.name in states for value in node.inputs)


def _noted(outcome: Outcome, note: str) -> Outcome:
    """The outcome of a node that is approximate, by this as well."""
    if outcome.verdict is Verdict.REFUSED:
        return outcome
    note = f"{outcome.note}; {note}" if outcome.note else note
    return Outcome(outcome.layers, outcome.operator, Verdict.APPROXIMATE, note)


def _check_layers(hub: Specialized, options: CoreMLOptions) -> None:
    known = {layer for node in every_node(hub.model.graph) for layer in layers_of(node)} | set(hub.folded)
    for layer in options.kept:
        if layer not in known:
            near = difflib.get_close_matches(layer, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"keep_fp32: the model has no layer {layer!r}.{hint}")


class ProgramDraft(Draft):
    """A program in memory; :meth:`finish` optimises it and writes it out."""

    def __init__(
        self,
        hub: Specialized,
        source: Source,
        options: CoreMLOptions,
        presentation: Presentation,
        target: ProgramTarget,
        outcomes: Any,
    ) -> None:
        self.outcomes = outcomes
        self.general = tuple(target.refusals)
        self._hub = hub
        self._source = source
        self._options = options
        self._presentation = presentation
        self._target = target

    def finish(self, progress: Progress) -> Document:
        """Run the passes, write the package into a folder that lives as long as the document, and read it back.

        Raises:
            Cancelled: by the progress listener.
        """
        folder = Path(tempfile.mkdtemp(prefix="workbench-coreml-"))
        try:
            package = folder / "model.mlpackage"
            weights = folder / "weights"
            weights.mkdir()
            spec = self._serialize(weights, lambda stage, share: progress(stage, share * 0.8))
            progress("writing the package", 0.8)
            blob = weights / "weight.bin"
            write_package(package, spec, blob if blob.exists() else None, move=True)
            shutil.rmtree(weights)
            progress("reading it back", 0.9)
            document = CoreMLDocument(open_package(package), self._source.name_with(".mlpackage"), None)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(document, shutil.rmtree, folder, ignore_errors=True)
        progress("reading it back", 1.0)
        return document

    def _serialize(self, weights: Path, progress: Progress) -> bytes:
        """The model message; large constants go into ``weights/weight.bin``."""
        lineage = passes.Lineage(self._target.nodes, self._target.tensors)
        with toolkit.session():
            program = toolkit.mil().Program()
            program.add_function("main", self._target.function)
            passes.run(program, lineage, self._float32_keeper(), progress, left_out(self._options.passes))
            scheme = SCHEMES.get(self._options.compress)
            left = compress(program, scheme, progress) if scheme is not None else []
            program._check_early_error_out_for_invalid_program()
            provenance = self._provenance(program.functions["main"], lineage)
            classifier = self._presentation.config(self._probabilities())
            message = export(program, weights, self._options.specification, classifier)
        if left:
            warnings.warn(CompressionWarning(self._options.compress, left), stacklevel=2)
        self._presentation.describe(
            message.description, {own: spec.name for own, spec in self._target.input_names.items()}
        )
        message.description.metadata.userDefined[PROVENANCE] = provenance.to_json()
        data: bytes = message.SerializeToString(deterministic=True)
        return data

    def _probabilities(self) -> str:
        """The program's name of the output that a classifier's labels are of."""
        classifier = self._presentation.classifier
        if classifier is None:
            return ""
        return next(own for own, spec in self._target.output_names.items() if spec.name == classifier.probabilities)

    def _float32_keeper(self) -> Any:
        if self._options.precision == "fp32":
            return None
        kept = set(self._options.kept)
        return lambda layers: not kept.isdisjoint(layers)

    def _provenance(self, function: Any, lineage: passes.Lineage) -> Provenance:
        """What stands in the program, in terms of the source; a tensor is linked only if its shape agrees."""
        shapes = {spec.name: spec.shape for spec in self._hub_values()}
        tensors = {}
        operations = [operation for operation in function.operations if operation.op_type != "const"]
        for var in [*function.inputs.values(), *(var for operation in operations for var in operation.outputs)]:
            name = lineage.source(var)
            if name is not None and _same_shape(tuple(var.shape), shapes.get(name)):
                tensors[var.name] = TensorLink(name)
        layers = {operation.outputs[0].name: found for operation, found in lineage.layers(function).items()}
        outputs = dict(self._target.output_names)
        classifier = self._presentation.classifier
        if classifier is not None:
            outputs[self._presentation.reserved[1]] = outputs.pop(self._probabilities())
        inputs = self._target.input_names
        taken = self._presentation.pictures
        return Provenance(
            source_format=self._source.format,
            source_name=self._source.name,
            layers=layers,
            tensors=tensors,
            inputs=_source_specs(inputs, self._source.inputs),
            outputs=_source_specs(outputs, self._source.outputs),
            folded=self._hub.folded,
            approximate=approximations(self.outcomes),
            constants=self._source.constants,
            labels=self._labels(function),
            pictures={own: taken[spec.name].pixels for own, spec in inputs.items() if spec.name in taken},
        )

    def _labels(self, function: Any) -> dict[str, str]:
        """The constants of the program that are weights as they were trained → what they were called then."""
        held = {op.outputs[0].name: op.outputs[0] for op in function.operations if op.op_type == "const"}
        weights = self._hub.model.graph.initializers.values()
        names = Counter(identifier(weight.name or "") for weight in weights)
        found = {}
        for weight in weights:
            own, label = identifier(weight.name or ""), weight.const_value.name if weight.const_value else None
            size = math.prod(weight.shape.numpy()) if weight.shape is not None else 0
            for name in (own, f"{own}_to_fp16"):
                var = held.get(name)
                if label and label != name and names[own] == 1 and var is not None and math.prod(var.shape) == size:
                    found[name] = label
        return found

    def _hub_values(self) -> list[TensorSpec]:
        graph = self._hub.model.graph
        return [spec_of(value) for value in graph.inputs] + [spec_of(value) for node in graph for value in node.outputs]


def _source_specs(own: dict[str, TensorSpec], source: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    """Own interface name → the source's name and dtype with the shape that the conversion has fixed."""
    by_name = {spec.name: spec for spec in source}
    return {
        name: TensorSpec(spec.name, by_name[spec.name].dtype if spec.name in by_name else spec.dtype, spec.shape)
        for name, spec in own.items()
    }


def _same_shape(own: tuple[int, ...], source: tuple[Dim, ...] | None) -> bool:
    """Whether a program value has the shape in which the source's tensor is held; a scalar may be a row of one."""
    if source is None:
        return False
    if any(isinstance(size, str) for size in source):  # open sizes, which go by names of their own in the program
        return len(own) == len(source)
    if not all(isinstance(size, int) for size in source):
        return False
    sizes = tuple(size for size in source if isinstance(size, int))
    return own == held_shape(sizes) or (not sizes and own == (1,))
