"""Specialisation: a hub graph with its input shapes fixed, or their ranges known, and what follows from them computed.

Before: any hub graph. After: inputs have static shapes; nodes whose inputs are all known are constants (the arithmetic
of shapes vanishes); an ``If`` whose condition is known is replaced by its branch; dead nodes are gone; values have
inferred types. Stamps and the names of values survive.

Sizes that are given a range stay open: they have names, shapes are made of those, and constant becomes only what is the
same for every size in the range.

For a target that says what becomes of control flow (:class:`Control`) there is more: loops of a known number of steps
are written out, sequences and optionals are resolved, and what stays of control flow has bodies specialised likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Dim, TensorSpec
from workbench.errors import LimitError, ModelError, OptionError
from workbench.hub import branches, loops, sequences
from workbench.hub.emitter import Emitter
from workbench.hub.ranges import Flexible, ShapeOption, check_shapes, fixed_shape, flexible_inputs
from workbench.hub.replay import Control, Replay, every_node
from workbench.hub.stamps import layers_of
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import dims_of, dtype_name, spec_of

RESOLVING = (branches, loops, sequences)
"""The modules whose operators a replay resolves; each registers its own."""


@dataclass(frozen=True)
class Specialized:
    """A specialised graph, the layers that became constants or turned out to be unused, and for what kind of target."""

    model: ir.Model
    folded: tuple[str, ...]
    control: Control | None = None
    open_shapes: OpenShapes | None = None
    """What is known of the sizes that are left open; ``None`` where all are fixed."""
    flexible: Mapping[str, Flexible] = field(default_factory=dict)
    """The inputs that have open sizes."""


def open_dimensions(model: ir.Model, shapes: Mapping[str, Any]) -> list[TensorSpec]:
    """Inputs that still have a dynamic dimension once ``shapes`` is applied."""
    return [
        spec_of(value)
        for value in model.graph.inputs
        if isinstance(value.type, ir.TensorType) and value.name not in shapes and not spec_of(value).is_static
    ]


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
    shapes: Mapping[str, ShapeOption] | None = None,
    control: Control | None = None,
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Specialized:
    """Fix the input shapes and compute what follows from them.

    Args:
        model: a hub graph; it is not changed.
        shapes: input name → sizes, for the inputs with dynamic dimensions; with ranges, or several, for sizes that are
            left open.
        constants: of :func:`fixed_inputs`: inputs that become constants.
        control: what becomes of control flow and sequences; by default only branches that are known are chosen.

    Raises:
        OptionError: ``shapes`` does not fit the inputs.
        ModelError: with these shapes, the inputs of some node do not fit together.
        LimitError: subgraphs lie too deep in one another.
    """
    graph = model.graph
    shapes = shapes or {}
    specs = [spec_of(value) for value in graph.inputs]
    check_shapes(specs, shapes)
    flexible = flexible_inputs(specs, shapes)
    emitter = Emitter(graph.name or "model", fold=True, open_shapes=_open_shapes(flexible))
    given = {value.name for value in graph.inputs}
    emitter.reserve(value.name for value in graph.outputs if value.name and value.name not in given)
    replay = Replay(emitter, control)
    for value in graph.inputs:
        if value.type is None:
            raise ModelError(f"the input {value.name!r} has no type; the file is damaged.")
        if constants and value.name and value.name in constants:
            replay.values[value] = emitter.const(constants[value.name])
        elif isinstance(value.type, ir.TensorType):
            name = value.name or ""
            shape = fixed_dims(shapes[name], flexible.get(name)) if name in shapes else dims_of(value)
            replay.values[value] = emitter.input(value.name or "", dtype_name(value.dtype), shape)
        elif control is None:
            raise OptionError(
                f"shapes: the input {value.name!r} is no tensor; the sizes of such a model cannot be fixed. "
                "Leave shapes and constants out."
            )
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
    return Specialized(specialized, folded, control, emitter.open_shapes, flexible)


def fixed_dims(shape: ShapeOption, flexible: Flexible | None) -> tuple[Dim, ...]:
    """The dimensions of an input that a shape was given for; what is open goes by its name."""
    return flexible.dims if flexible is not None else fixed_shape(shape)


def _open_shapes(flexible: Mapping[str, Flexible]) -> OpenShapes | None:
    """The open sizes, where there are some."""
    if not flexible:
        return None
    made = OpenShapes()
    for shapes in flexible.values():
        for dim, (low, high) in zip(shapes.dims, shapes.bounds, strict=True):
            if isinstance(dim, str):
                made.add(dim, low, high)
    return made
