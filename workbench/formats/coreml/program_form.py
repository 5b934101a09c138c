"""An ML program as a document sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from workbench.document import Layer, TensorSpec
from workbench.errors import ModelError
from workbench.formats.coreml.features import Key
from workbench.formats.coreml.interface import Feature, Interface
from workbench.formats.coreml.package import Package
from workbench.formats.coreml.program import Program, block_outputs, layer_name, unused
from workbench.formats.coreml.values import Constant


class ProgramForm:
    """One function of a program, with the interface that the description gives it.

    A state is an input with its value before the run, and an output, behind the others, with its value after it.
    """

    keys: Mapping[str, tuple[Key, ...]] = {}  # a program takes no dictionaries
    defaults: Mapping[str, float] = {}

    def __init__(self, message: Any, package: Package, interface: Interface, widen: bool = False) -> None:
        self._message = message.mlProgram
        self.program = Program(message.mlProgram, package, interface.function, widen)
        self._specs = block_outputs(self.program)
        declared = {spec.name: spec for spec in self.program.inputs}
        made = {named.name for operation in self.program.block.operations for named in operation.outputs}
        self._hub_names = {name: unused(f"{name}_out", {*self._specs}) for name in declared if name in made}
        self._layers = tuple(map(self._layer, self.program.layers()))
        self.inputs = tuple(
            self._input(name, declared) for name in (*(feature.name for feature in interface.inputs), *interface.states)
        )
        classified = self._classify()
        self.labels = classified[1]
        label_names = (interface.label_name,) if self.labels else ()
        self._results = tuple(
            self._output(feature, classified[0]) for feature in interface.outputs if feature.name not in label_names
        )
        self.own_names: Mapping[str, str] = {other: name for name, other in self._hub_names.items()}
        taken = {*self._specs, *(spec.name for spec in self._results)}
        self.states: Mapping[str, str] = {name: unused(f"{name}_out", taken) for name in interface.states}
        self.outputs: tuple[TensorSpec, ...] = (
            *self._results,
            *(replace(declared[name], name=out) for name, out in self.states.items()),
        )

    def layers(self) -> tuple[Layer, ...]:
        """Every operation but the constants."""
        return self._layers

    def hub(self, name: str) -> ir.Model:
        """Lower the function."""
        from workbench.formats.coreml.to_onnx import lower_program

        return lower_program(self.program, name, self.inputs, self._results, self.states, self._hub_names)

    def weights(self) -> Mapping[str, Constant]:
        """Every constant that operations work with, by its name in the program."""
        from workbench.formats.coreml.to_onnx import program_weights

        return program_weights(self.program)

    def weight_files(self) -> set[str]:
        """The files that values of any function lie in."""
        return {
            value.blobFileValue.fileName
            for function in self._message.functions.values()
            for block in function.block_specializations.values()
            for value in values_in(block)
            if value.WhichOneof("value") == "blobFileValue"
        }

    def precision_note(self) -> str:
        """Whether float16 tensors are among the results."""
        half = any(spec.dtype == "float16" for layer in self._layers for spec in layer.outputs)
        return "float16 storage and rounding" if half else ""

    # -- inside -------------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer) -> Layer:
        """The layer with the hub's names of tensors: another where one that is made has the name of an input."""
        if not self._hub_names:
            return layer
        outputs = (replace(spec, name=self._hub_names.get(spec.name, spec.name)) for spec in layer.outputs)
        return replace(layer, outputs=tuple(outputs))

    def _input(self, name: str, declared: dict[str, TensorSpec]) -> TensorSpec:
        if name not in declared:
            raise ModelError(f"{self.program.package.label}: the program has no input {name!r}.")
        spec = declared[name]
        if spec.shape is None:
            return spec
        dims = tuple(f"{spec.name}_{axis}" if dim is None else dim for axis, dim in enumerate(spec.shape))
        return TensorSpec(spec.name, spec.dtype, dims)

    def _output(self, feature: Feature, probabilities: str) -> TensorSpec:
        spec = self._specs.get(probabilities if feature.kind == "dictionary" and probabilities else feature.name)
        if spec is None:
            raise ModelError(f"{self.program.package.label}: nothing in the program makes the output {feature.name!r}.")
        return TensorSpec(self._hub_names.get(feature.name, feature.name), spec.dtype, spec.shape)

    def _classify(self) -> tuple[str, tuple[Any, ...]]:
        """The tensor of a classifier's probabilities, and its labels."""
        for operation in self.program.block.operations:
            if operation.type == "classify":
                arguments = self.program.arguments(operation)
                probabilities, classes = (arguments.get(name) for name in ("probabilities", "classes"))
                if not probabilities or not isinstance(probabilities[0], str) or not classes:
                    raise ModelError(
                        f"{self.program.package.label}: classify {layer_name(operation)!r} lacks its probabilities or "
                        "its classes."
                    )
                return probabilities[0], self._classes(classes[0])
        return "", ()

    def _classes(self, given: str | Constant) -> tuple[Any, ...]:
        if isinstance(given, Constant):
            return tuple(given.array().reshape(-1).tolist())
        for operation in self.program.block.operations:
            if operation.type == "const" and operation.outputs and operation.outputs[0].name == given:
                return self._classes(self.program.constant(operation))
        raise ModelError(f"{self.program.package.label}: the classes {given!r} are no constant of the program.")


def values_in(block: Any) -> Iterator[Any]:
    """Every value that stands in a block's operations, or in the blocks inside them."""
    for operation in block.operations:
        yield from operation.attributes.values()
        for argument in operation.inputs.values():
            yield from (binding.value for binding in argument.arguments if binding.WhichOneof("binding") == "value")
        for nested in operation.blocks:
            yield from values_in(nested)
