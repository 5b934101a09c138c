"""Which form a model has: what the kinds of Core ML model have in common, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import onnx_ir as ir

from workbench import limits
from workbench.document import Layer, TensorSpec
from workbench.formats.coreml.features import Key
from workbench.formats.coreml.interface import Interface
from workbench.formats.coreml.package import Package

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")


class Form(Protocol):
    """What the kinds of Core ML model (ML program, neural network, pipeline, tree ensemble, …) have in common.

    Attributes:
        labels: the classes of a classifier, in the order of its probabilities.
        states: inputs that are states → the output with the value after the run.
        own_names: outputs that the model itself calls otherwise → what it calls them.
        keys: inputs that are dictionaries → the keys whose values the hub's tensor holds.
        defaults: inputs that need not be given → what they are then.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[Any, ...]
    states: Mapping[str, str]
    own_names: Mapping[str, str]
    keys: Mapping[str, tuple[Key, ...]]
    defaults: Mapping[str, float]

    def layers(self) -> tuple[Layer, ...]:
        """The layers as the model states them."""

    def hub(self, name: str) -> ir.Model:
        """Lower the model."""

    def weight_files(self) -> set[str]:
        """The files that the model refers to."""

    def precision_note(self) -> str:
        """What is special about the model's arithmetic."""


def form_of(message: Any, package: Package, interface: Interface, widened: bool, depth: int = 0) -> Form:
    """The form of a ``Model`` message.

    Args:
        message: the message.
        package: where it is from.
        interface: its description.
        widened: take float16 tensors of a program for float32.
        depth: how many pipelines it is inside of.

    Raises:
        ModelError: it contradicts itself.
        LimitError: pipelines are nested too deep.
    """
    kind = message.WhichOneof("Type")
    if kind == "mlProgram":
        from workbench.formats.coreml.program_form import ProgramForm

        return ProgramForm(message, package, interface, widened)
    if kind in NETWORKS:
        from workbench.formats.coreml.neuralnetwork import NetworkForm

        return NetworkForm(message, package, interface)
    if kind in PIPELINES:
        from workbench.formats.coreml.pipeline import PipelineForm

        limits.check("nesting", depth, f"{package.label}: pipelines in pipelines")
        return PipelineForm(message, package, interface, widened, depth)
    from workbench.formats.coreml.classical import ClassicalForm

    return ClassicalForm(message, package, interface)
