"""Every version change of an operator is accounted for: a step, or a superset."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import onnx
import pytest

from workbench.errors import WorkbenchError
from workbench.hub.opset import OPSET
from workbench.hub.upgrade import FAMILIES
from workbench.hub.upgrade.newer import SAME_MEANING
from workbench.hub.upgrade.registry import registered_steps, retired, step, versions
from workbench.hub.upgrade.supersets import SUPERSETS


def transitions() -> Iterator[tuple[str, int, int]]:
    for operator, numbers in versions().items():
        below = [number for number in numbers if number <= OPSET]
        yield from ((operator, old, new) for old, new in itertools.pairwise(below))


def test_every_transition_is_either_a_step_or_a_superset() -> None:
    steps = registered_steps()
    supersets = {(operator, version) for operator, numbers in SUPERSETS.items() for version in numbers}
    existing = {(operator, new) for operator, _, new in transitions()}
    assert not steps & supersets
    assert existing == steps | supersets


def _allowed(formal: Any) -> set[str]:
    return set(formal.types)


def _loses(old: Any, new: Any) -> Iterator[str]:
    """What the newer schema does not take of what the older one takes."""
    kinds = onnx.defs.OpSchema.FormalParameterOption
    for side in ("inputs", "outputs"):
        before, after = getattr(old, side), getattr(new, side)
        if len(after) < len(before):
            yield f"{side} went"
        for index, (was, now) in enumerate(zip(before, after, strict=False)):
            if _allowed(was) - _allowed(now):
                yield f"{side}[{index}] loses {_allowed(was) - _allowed(now)}"
            if was.option != now.option and not (
                was.option == kinds.Single and now.option in (kinds.Optional, kinds.Variadic)
            ):
                yield f"{side}[{index}] {was.option} → {now.option}"
            if now.is_homogeneous and not was.is_homogeneous:
                yield f"{side}[{index}] must be homogeneous now"
        if any(formal.option == kinds.Single for formal in after[len(before) :]):
            yield f"{side}: a new one is required"
    for name, was_attribute in old.attributes.items():
        now_attribute = new.attributes.get(name)
        if now_attribute is None:
            yield f"attribute {name} went"
        elif was_attribute.type != now_attribute.type or (now_attribute.required and not was_attribute.required):
            yield f"attribute {name} changed"
        elif was_attribute.default_value != now_attribute.default_value:
            yield f"default of {name} changed"
    for name, now_attribute in new.attributes.items():
        if name not in old.attributes and now_attribute.required:
            yield f"attribute {name} is required now"
    if new.deprecated:
        yield "deprecated"


def _ties(old: Any, new: Any) -> Iterator[str]:
    """Inputs and outputs that must have one element type in the newer schema only."""
    was_formals = [*old.inputs, *old.outputs]
    now_formals = [*new.inputs[: len(old.inputs)], *new.outputs[: len(old.outputs)]]
    for i, first in enumerate(now_formals):
        for j, second in enumerate(now_formals[:i]):
            tied = first.type_str == second.type_str and "(" not in first.type_str
            if tied and was_formals[i].type_str != was_formals[j].type_str:
                yield f"the types of {first.name} and {second.name} are tied"


@pytest.mark.parametrize("operator", sorted(SUPERSETS))
def test_superset_takes_everything_the_older_version_takes(operator: str) -> None:
    for name, old, new in transitions():
        if name == operator and new in SUPERSETS[operator]:
            get = functools.partial(onnx.defs.get_schema, domain="")
            assert not list(_loses(get(name, old), get(name, new))), (name, old, new)
            if not any(step_name == name and reached > old for step_name, reached in registered_steps()):
                # Against the hub's version: QuantizeLinear-19 to -22 tie two types that are free before and after.
                assert not list(_ties(get(name, old), get(name, OPSET))), (name, old)


def test_versions_above_the_hub_with_the_same_meaning_exist_and_follow_the_hubs_version() -> None:
    for operator, version in SAME_MEANING.items():
        above = [number for number in versions()[operator] if number > OPSET]
        assert above[:1] == [version], operator


def test_registering_twice_is_an_error() -> None:
    assert FAMILIES
    with pytest.raises(WorkbenchError, match=r"Softmax-13 is registered twice"):
        step("Softmax", to=13)(lambda site: None)
    with pytest.raises(WorkbenchError, match=r"Affine is registered twice"):
        retired("Affine")(lambda site: None)
