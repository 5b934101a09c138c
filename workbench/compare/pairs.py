"""Tensors of two models that should hold the same values, and what is known of how the models are related."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from workbench.document import Pixels


@dataclass(frozen=True)
class Pair:
    """A tensor of the reference and the tensor of the target that should hold the same values.

    ``reference.transpose(reference_perm)`` and ``target.transpose(target_perm)`` are equal up to the shape.

    Attributes:
        reference: name of the hub value; ``target`` likewise.
        evidence: ``"provenance"``, ``"name"``, ``"numbers"`` (they agree numerically) or ``"place"`` (the same operator
            on tensors that are paired).
        output: whether it is an output of the reference.
        same_shape: whether another shape is a mistake (a conversion may reshape inner tensors; nobody else may).
    """

    reference: str
    target: str
    reference_perm: tuple[int, ...] | None = None
    target_perm: tuple[int, ...] | None = None
    evidence: str = "provenance"
    output: bool = False
    same_shape: bool = False
    rivals: tuple[str, ...] = ()
    """Other tensors of the reference that hold the same numbers."""


@dataclass(frozen=True)
class Matching:
    """What is known of two models' relation.

    Attributes:
        pairs: matched tensors.
        inputs: (reference's input, target's input) that take the same values.
        perms: target's input → the permutation of it that gives the reference's.
        layers: target layer → the reference layers that it stands for, as far as it is recorded.
        folded: reference layers that became constants in the target.
        relation: how it is known, for people.
        approximate: reference layer → the bound that a conversion between the two has declared for it.
        recorded: whether a record of a conversion tells how the two are related.
        pictures: of the reference, and of the target: its inputs that take pictures in the place of values, where the
            values are what the other takes, or what their common source took.
    """

    pairs: tuple[Pair, ...]
    inputs: tuple[tuple[str, str], ...]
    perms: Mapping[str, tuple[int, ...]]
    layers: Mapping[str, tuple[str, ...]]
    folded: frozenset[str]
    relation: str
    approximate: Mapping[str, str] = field(default_factory=dict)
    recorded: bool = True
    pictures: tuple[Mapping[str, Pixels], Mapping[str, Pixels]] = ({}, {})


def values_of(model: ir.Model) -> dict[str, ir.Value]:
    """Every named value of a hub graph: inputs, constants, what the nodes make."""
    graph = model.graph
    found = {value.name: value for value in (*graph.inputs, *graph.initializers.values()) if value.name}
    found.update({value.name: value for node in graph for value in node.outputs if value.name})
    return found


def is_computed(value: ir.Value) -> bool:
    """Whether a node other than Constant makes the value."""
    node = value.producer()
    return node is not None and not (node.op_type == "Constant" and not node.domain)


def kind_of_dtype(name: str) -> str:
    """``float``, ``integer``, ``bool``, or the dtype itself."""
    for kind, prefixes in {"float": ("float", "bfloat"), "integer": ("int", "uint")}.items():
        if name.startswith(prefixes):
            return kind
    return name
