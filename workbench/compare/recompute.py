"""The tensors of one row, made again on demand: a report keeps figures, not tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare.feeds import Feeds
from workbench.compare.layout import Misfit, in_place_of, side_by_side
from workbench.compare.match import Matching, Pair
from workbench.compare.side import Walk, constant_array, fragment, run_fragment
from workbench.errors import WorkbenchError
from workbench.executors import OnnxRuntimeExecutor, executor_name
from workbench.executors.fragment import type_of
from workbench.hub import dims_of, dtype_name

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Part:
    """What makes one tensor of a model out of the matched tensors and inputs above it.

    Attributes:
        nodes: of the hub graph, in order; empty where the tensor is a constant or an input.
        feeds: the tensors above, as the model holds them.
        result: the tensor that is made of them.
    """

    nodes: Sequence[ir.Node]
    feeds: Mapping[str, Array]
    result: Array


def types_of(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The types of arrays that are fed, which the hub does not always know."""
    return {name: type_of(array) for name, array in feeds.items() if isinstance(array, np.ndarray)}


class Source:
    """The two models of a report and the first sample that they were compared on."""

    def __init__(self, reference: Model, target: Model, matching: Matching, feeds: Feeds, threads: int) -> None:
        self.reference, self.target = reference, target
        self.pairs: dict[str, Pair] = {pair.target: pair for pair in matching.pairs}
        self.feeds = feeds
        self.threads = threads

    def require_layers(self, purpose: str, *, reference: bool = True) -> None:
        """Refuse what needs layers that compute, which a recording does not have.

        Args:
            purpose: what they are needed for.
            reference: whether the reference's are needed as well as the target's.

        Raises:
            WorkbenchError: one of the models is a recording.
        """
        for side, model in (("reference", self.reference), ("target", self.target)):
            if not model.document.computes and (reference or side == "target"):
                raise WorkbenchError(
                    f"the {side} {model.name!r} is a recording, whose layers compute nothing; {purpose} needs the "
                    "model itself."
                )

    def tensors(self, tensor: str, target_tensor: str, *, mode: str) -> tuple[Array, Array]:
        """Both tensors in one shape and order.

        Raises:
            WorkbenchError: they cannot be put side by side.
            ExecutionError: a model cannot be run up to there.
        """
        if mode == "isolated":
            self.require_layers("feeding a layer", reference=False)
        reference = self.run_reference([tensor])[tensor]
        if mode == "isolated":
            target = self.target_part(target_tensor).result
        else:
            target = self.run_target([target_tensor])[target_tensor]
        return self.side_by_side(target_tensor, reference, target)

    def side_by_side(self, target_tensor: str, reference: Any, target: Any) -> tuple[Array, Array]:
        """A pair's tensors in the shape and order that they are compared in.

        Raises:
            WorkbenchError: they cannot be put side by side.
        """
        pair = self.pairs[target_tensor]
        try:
            return side_by_side(pair, reference, target)
        except Misfit as error:
            raise WorkbenchError(
                f"{pair.reference!r} and {target_tensor!r} cannot be put side by side: {error}."
            ) from error

    def run_reference(self, tensors: Collection[str]) -> dict[str, Array]:
        """Tensors of the reference."""
        return self._run(self.reference, self.feeds.reference, list(dict.fromkeys(tensors)))

    def run_target(self, tensors: Collection[str]) -> dict[str, Array]:
        """Tensors of the target from its own inputs."""
        return self._run(self.target, self.feeds.target, list(dict.fromkeys(tensors)))

    def _run(self, model: Model, feeds: dict[str, Array], tensors: list[str]) -> dict[str, Array]:
        if not tensors:
            return {}
        subject = f"{model.format} model {model.name!r}"
        name = executor_name(model.document)
        with OnnxRuntimeExecutor(model.graph, subject, name=name, threads=self.threads) as executor:
            return executor.run(feeds, tensors)

    def reference_part(self, tensor: str) -> Part:
        """The reference's own part between this tensor and the matched ones above it."""
        walk = Walk(self.reference.graph, [tensor], f"{self.reference.format} model {self.reference.name!r}")
        nodes, above = walk.region(tensor, {pair.reference for pair in self.pairs.values()})
        found = self.run_reference([tensor, *sorted(above)])
        return Part(nodes, {name: found[name] for name in sorted(above)}, found[tensor])

    def target_part(self, target_tensor: str) -> Part:
        """The target's part between this tensor and the matched ones above it, fed the reference's tensors.

        Raises:
            WorkbenchError: a tensor above it does not take the reference's.
        """
        walk = Walk(self.target.graph, [target_tensor], f"{self.target.format} model {self.target.name!r}")
        nodes, above = walk.region(target_tensor, set(self.pairs))
        if not nodes:
            value = walk.values[target_tensor]
            held = self.feeds.target[target_tensor] if value.is_graph_input() else constant_array(value)
            return Part(nodes, {}, held)
        matched = [name for name in above if name in self.pairs]
        given = self.in_place(walk.values, matched)
        feeds = {name: given[name] if name in given else self.feeds.target[name] for name in sorted(above)}
        runner = fragment(walk, nodes, [target_tensor], self.threads, inputs=types_of(feeds))
        return Part(nodes, feeds, run_fragment(walk, nodes, runner, feeds)[target_tensor])

    def in_place(self, values: Mapping[str, ir.Value], names: Sequence[str]) -> dict[str, Array]:
        """The reference's tensors as the target holds them, for target tensors that are matched.

        Raises:
            WorkbenchError: one does not take the reference's tensor.
        """
        found = self.run_reference([self.pairs[name].reference for name in names])
        own = self.run_target(names)
        given = {}
        for name in names:
            dtype = own[name].dtype if isinstance(own[name], np.ndarray) else None
            dims = own[name].shape if dtype is not None else dims_of(values[name])
            array = in_place_of(self.pairs[name], found[self.pairs[name].reference], dtype, dims)
            if array is None:
                raise WorkbenchError(
                    f"the target's tensor {name!r} ({dtype_name(values[name].dtype)}) does not take the reference's "
                    f"{self.pairs[name].reference!r}: another kind of dtype or number of elements."
                )
            given[name] = array
        return given
