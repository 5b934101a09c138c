"""The upgrade steps by operator and the version they reach. Explicit; a duplicate is an error."""

from __future__ import annotations

import functools
from collections.abc import Callable

from workbench.errors import WorkbenchError
from workbench.hub.upgrade.site import Site
from workbench.hub.upgrade.supersets import SUPERSETS

Step = Callable[[Site], None]

RETIRED_IN = 10
"""The experimental operators were removed from ONNX with 1.5, that is, no model of opset 10 or newer has them."""

_steps: dict[tuple[str, int], Step] = {}
_retired: dict[str, Step] = {}
_newer: dict[str, Step] = {}


def step(*operators: str, to: int) -> Callable[[Step], Step]:
    """Register a function that brings a node of the operators from the version before ``to`` to ``to``.

    The step changes ``site.node`` in place (name and output values stay) and may emit nodes around it, in the form
    that they have at the hub's opset: those are not upgraded further.
    """

    def register(function: Step) -> Step:
        for operator in operators:
            if (operator, to) in _steps:
                raise WorkbenchError(f"The upgrade step {operator}-{to} is registered twice.")
            _steps[operator, to] = function
        return function

    return register


def retired(*operators: str) -> Callable[[Step], Step]:
    """Register a function that says an experimental operator of early ONNX in operators of the hub's opset."""

    def register(function: Step) -> Step:
        for operator in operators:
            if operator in _retired:
                raise WorkbenchError(f"The retired operator {operator} is registered twice.")
            _retired[operator] = function
        return function

    return register


def newer(*operators: str) -> Callable[[Step], Step]:
    """Register a function that says what is new of an operator above the hub's opset in operators that the hub has.

    It may leave a node as it is: the node is then taken as any other of those opsets is, or refused.
    """

    def register(function: Step) -> Step:
        for operator in operators:
            if operator in _newer:
                raise WorkbenchError(f"The newer operator {operator} is registered twice.")
            _newer[operator] = function
        return function

    return register


def find_newer(operator: str) -> Step | None:
    """The rewriting of an operator above the hub's opset; ``None`` if there is none."""
    return _newer.get(operator)


def find_step(operator: str, to: int) -> Step | None:
    """The step that reaches that version; ``None`` if there is none."""
    return _steps.get((operator, to))


def find_retired(operator: str) -> Step | None:
    """The rewriting of an experimental operator; ``None`` if it is not one that is known."""
    return _retired.get(operator)


def registered_steps() -> frozenset[tuple[str, int]]:
    """All (operator, version reached) that have a step."""
    return frozenset(_steps)


def is_superset(operator: str, version: int) -> bool:
    """Whether that version accepts every node of the version before it, with the same meaning."""
    return version in SUPERSETS.get(operator, ())


@functools.cache
def versions() -> dict[str, tuple[int, ...]]:
    """Every version at which onnx defines each default-domain operator, ascending."""
    import onnx

    found: dict[str, set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, set()).add(schema.since_version)
    return {operator: tuple(sorted(numbers)) for operator, numbers in found.items()}
