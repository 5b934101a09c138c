"""ONNX's backend node tests as cases for a conversion: https://github.com/onnx/onnx/tree/main/onnx/backend/test/case/node.

They are made in process by the ``onnx`` package, each a model of one node (or of the nodes of its function body) with
inputs and the outputs that ONNX's reference gives for them.
"""

from __future__ import annotations

import random
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

VARIANTS = ("as is", "baked")
"""As the test has it; and with all inputs but the first made constants, as weights and axes mostly are."""

REPRESENTABLE = frozenset({"float16", "float32", "float64", "int32", "int64", "bool"})
"""Dtypes of inputs and outputs that any target can be asked for; besides, no rank beyond 5."""

UNCHECKED = {
    r"test_bernoulli.*": "random: the reference draws from a generator of its own",
    r"test_training_dropout(_default|_mask|_default_mask)?": "random: what is dropped is the reference's own draw",
}
"""Names of cases whose numbers no other implementation can give → why; shapes and dtypes are compared, and what the
operator says of the distribution."""


@dataclass(frozen=True)
class Case:
    """One test, ready to be sent to another process.

    Attributes:
        operator: what is tested; of a function body, the operator that it defines.
        model: an ``onnx.ModelProto``, serialised.
        inputs: arrays in the order of the model's inputs; a list or ``None`` where the test has a sequence or nothing.
        representable: whether all inputs and outputs of the test, not of its variant, are tensors of
            :data:`REPRESENTABLE` dtypes and of rank 5 at most.
    """

    name: str
    operator: str
    model: bytes
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    representable: bool

    @property
    def unchecked(self) -> str:
        """Why the numbers cannot be compared; empty if they can."""
        return next((reason for pattern, reason in UNCHECKED.items() if re.fullmatch(pattern, self.name)), "")

    def baked(self) -> Case | None:
        """The test with all inputs but the first as initializers; ``None`` if that is the same, or impossible."""
        if len(self.inputs) < 2 or not all(isinstance(value, np.ndarray) for value in self.inputs[1:]):
            return None
        model = onnx.ModelProto.FromString(self.model)
        names = [value.name for value in model.graph.input]
        for name, array in zip(names[1:], self.inputs[1:], strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        del model.graph.input[1:]
        return replace(self, model=model.SerializeToString(), inputs=self.inputs[:1])


def collect() -> list[Case]:
    """All cases, in the order in which onnx makes them."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases divide by zero on purpose
        found = collect_testcases(None)
    operators = {case.name: case.model.graph.node[0].op_type for case in found if len(case.model.graph.node) == 1}
    cases = []
    for case in found:
        inputs, outputs = (tuple(map(_value, values)) for values in case.data_sets[0])
        operator = operators.get(case.name.partition("_expanded")[0]) or case.model.graph.node[0].op_type
        graph, whole = case.model.graph, case.model.SerializeToString()
        tensors = all(value.type.HasField("tensor_type") for value in (*graph.input, *graph.output))
        fits = tensors and all(map(_representable, (*inputs, *outputs)))
        cases.append(Case(case.name, operator, whole, inputs, outputs, fits))
    return cases


def sample(cases: list[Case], size: int) -> list[Case]:
    """This many of the cases, always the same ones; 0 means all."""
    if not size or size >= len(cases):
        return cases
    chosen = set(random.Random(1884).sample(range(len(cases)), size))
    return [case for index, case in enumerate(cases) if index in chosen]


def _representable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in REPRESENTABLE and value.ndim <= 5


def _value(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list) or value is None:
        return value
    return np.asarray(value)
