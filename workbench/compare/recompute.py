"""The tensors of one row, made again on demand: a report keeps figures, not tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare.feeds import Feeds
from workbench.compare.layout import Misfit, in_place_of, side_by_side
from workbench.compare.match import Matching
from workbench.compare.side import Walk, constant_array, fragment, run_fragment
from workbench.errors import WorkbenchError
from workbench.executors import OnnxRuntimeExecutor, executor_name
from workbench.hub import dims_of, dtype_name

if TYPE_CHECKING:
    from workbench.model import Model

Array = np.ndarray[Any, Any]


class Source:
    """The two models of a report and the first sample that they were compared on."""

    def __init__(self, reference: Model, target: Model, matching: Matching, feeds: Feeds, threads: int) -> None:
        self.reference, self.target = reference, target
        self.pairs = {pair.target: pair for pair in matching.pairs}
        self.feeds = feeds
        self.threads = threads

    def tensors(self, tensor: str, target_tensor: str, *, mode: str) -> tuple[Array, Array]:
        """Both tensors in one shape and order.

        Raises:
            WorkbenchError: they cannot be put side by side.
            ExecutionError: a model cannot be run up to there.
        """
        pair = self.pairs[target_tensor]
        if mode == "isolated":
            reference, target = self._isolated(tensor, target_tensor)
        else:
            reference = self._run(self.reference, self.feeds.reference, [tensor])[tensor]
            target = self._run(self.target, self.feeds.target, [target_tensor])[target_tensor]
        try:
            return side_by_side(pair, reference, target)
        except Misfit as error:
            raise WorkbenchError(f"{tensor!r} and {target_tensor!r} cannot be put side by side: {error}.") from error

    def _run(self, model: Model, feeds: dict[str, Array], tensors: list[str]) -> dict[str, Array]:
        subject = f"{model.format} model {model.name!r}"
        name = executor_name(model.document)
        with OnnxRuntimeExecutor(model.graph, subject, name=name, threads=self.threads) as executor:
            return executor.run(feeds, tensors)

    def _isolated(self, tensor: str, target_tensor: str) -> tuple[Any, Any]:
        """The target's part between this tensor and the matched ones above it, fed the reference's tensors."""
        walk = Walk(self.target.graph, [target_tensor], f"{self.target.format} model {self.target.name!r}")
        nodes, above = walk.region(target_tensor, set(self.pairs))
        if not nodes:
            found = self._run(self.reference, self.feeds.reference, [tensor])
            return found[tensor], constant_array(walk.values[target_tensor])
        matched = [name for name in above if name in self.pairs]
        sources = list(dict.fromkeys([tensor, *(self.pairs[name].reference for name in matched)]))
        found = self._run(self.reference, self.feeds.reference, sources)
        own = self._run(self.target, self.feeds.target, matched) if matched else {}
        feeds: dict[str, Any] = dict(self.feeds.target)
        for name in matched:
            dtype = own[name].dtype if isinstance(own[name], np.ndarray) else None
            dims = own[name].shape if dtype is not None else dims_of(walk.values[name])
            given = in_place_of(self.pairs[name], found[self.pairs[name].reference], dtype, dims)
            if given is None:
                raise WorkbenchError(
                    f"{target_tensor!r} cannot be isolated: {name!r} ({dtype_name(walk.values[name].dtype)}) above it "
                    "does not take the reference's tensor."
                )
            feeds[name] = given
        runner = fragment(walk, nodes, [target_tensor], self.threads)
        return found[tensor], run_fragment(walk, nodes, runner, feeds)[target_tensor]
