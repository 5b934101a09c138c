"""Specialisation: a hub graph with its input shapes fixed, everything that follows from them computed.

Before: any hub graph. After: inputs have static shapes; nodes whose inputs are all known are constants (the arithmetic
of shapes vanishes); an ``If`` whose condition is known is replaced by its branch; dead nodes are gone; values have
inferred types. Stamps and the names of values survive.

For a target that says what becomes of control flow (:class:`Control`) there is more: loops of a known number of steps
are written out, sequences and optionals are resolved, and what stays of control flow has bodies specialised likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.errors import LimitError, ModelError, OptionError
from workbench.hub import branches, loops, sequences
from workbench.hub.emitter import Emitter
from workbench.hub.replay import Control, Replay, every_node
from workbench.hub.stamps import layers_of
from workbench.hub.values import dims_of, dtype_name, spec_of

RESOLVING = (branches, loops, sequences)
"""The modules whose operators a replay resolves; each registers its own."""


@dataclass(frozen=True)
class Specialized:
    """A specialised graph, the layers that became constants or turned out to be unused, and for what kind of target."""

    model: ir.Model
    folded: tuple[str, ...]
    control: Control | None = None


def open_dimensions(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> list[TensorSpec]:
    """Inputs that still have a dynamic dimension once ``shapes`` is applied."""
    return [
        spec_of(value)
        for value in model.graph.inputs
        if isinstance(value.type, ir.TensorType) and value.name not in shapes and not spec_of(value).is_static
    ]


def check_shapes(inputs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> None:
    """Check the option ``shapes`` against the model's inputs.

    Raises:
        OptionError: an unknown name, another rank, or another size than the model has fixed.
    """
    by_name = {spec.name: spec for spec in inputs}
    for name, shape in shapes.items():
        if name not in by_name:
            raise OptionError(f"shapes: the model has no input {name!r}; its inputs are {', '.join(map(str, inputs))}.")
        spec = by_name[name]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise OptionError(f"shapes: {name!r} takes non-negative integers, not {tuple(shape)}.")
        if not spec.takes(shape):
            raise OptionError(f"shapes: {name!r} is {spec.describe()}; {tuple(shape)} does not fit it.")


CONSTANT_ELEMENTS = 1024
"""What :func:`fixed_inputs` takes; a larger value belongs into the model."""


def fixed_inputs(inputs: Sequence[TensorSpec], constants: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The option ``constants`` as arrays of the inputs' dtypes.

    Raises:
        OptionError: an unknown name, another shape, or values that the input's dtype cannot hold.
    """
    by_name = {spec.name: spec for spec in inputs}
    found = {}
    for name, value in constants.items():
        if name not in by_name:
            raise OptionError(
                f"constants: the model has no input {name!r}; its inputs are {', '.join(map(str, inputs))}."
            )
        spec = by_name[name]
        try:
            given = np.asarray(value)
            array = given.astype(spec.dtype)
            same = np.array_equal(array, given) or (given.dtype.kind == "f" == array.dtype.kind)
        except (TypeError, ValueError) as error:
            raise OptionError(f"constants: {name!r} is {spec.describe()}, not {value!r} ({error}).") from error
        if not same or not spec.takes(array.shape) or array.size > CONSTANT_ELEMENTS:
            raise OptionError(
                f"constants: {name!r} is {spec.describe()}; {given.dtype.name}{list(array.shape)} does not fit it, "
                f"or is of more than {CONSTANT_ELEMENTS} elements."
            )
        found[name] = array
    return found


def specialize(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None = None,
    control: Control | None = None,
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Specialized:
    """Fix the input shapes and compute what follows from them.

    Args:
        model: a hub graph; it is not changed.
        shapes: input name → sizes, for the inputs with dynamic dimensions.
        constants: of :func:`fixed_inputs`: inputs that become constants.
        control: what becomes of control flow and sequences; by default only branches that are known are chosen.

    Raises:
        OptionError: ``shapes`` does not fit the inputs.
        ModelError: with these shapes, the inputs of some node do not fit together.
        LimitError: subgraphs lie too deep in one another.
    """
    graph = model.graph
    shapes = shapes or {}
    check_shapes([spec_of(value) for value in graph.inputs], shapes)
    emitter = Emitter(graph.name or "model", fold=True)
    given = {value.name for value in graph.inputs}
    emitter.reserve(value.name for value in graph.outputs if value.name and value.name not in given)
    replay = Replay(emitter, control)
    for value in graph.inputs:
        if constants and value.name and value.name in constants:
            replay.values[value] = emitter.const(constants[value.name])
        elif isinstance(value.type, ir.TensorType):
            shape = shapes.get(value.name or "", dims_of(value))
            replay.values[value] = emitter.input(value.name or "", dtype_name(value.dtype), shape)
    try:
        replay.graph(graph)
    except RecursionError as error:
        raise LimitError(f"{graph.name}: its subgraphs lie too deep in one another to be followed.") from error
    for value in graph.outputs:
        if value not in replay.values and value not in replay.held:
            raise ModelError(f"the output {value.name!r} is an input that is no tensor; it cannot be converted.")
    specialized = replay.finish(model)
    kept = {layer for node in every_node(emitter.nodes) for layer in layers_of(node)}
    named = [layer for node in every_node(graph) for layer in layers_of(node)]
    folded = tuple(dict.fromkeys(layer for layer in named if layer not in kept))
    return Specialized(specialized, folded, control)
