"""Runs a hub graph with onnxruntime: as it would be deployed, or with its tensors tapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.errors import ExecutionError, LimitError
from workbench.executors.feeds import check_feeds
from workbench.executors.fragment import Fragment, constant_tensor
from workbench.hub import needed_nodes, spec_of

Array = np.ndarray[Any, Any]


class OnnxRuntimeExecutor:
    """Runs a hub graph.

    Args:
        model: the hub graph.
        subject: the model's name for messages (``"onnx model 'nmp'"``).
        name: the executor's own name.
        threads: of one operator; 0 leaves it to onnxruntime.

    A plain run uses onnxruntime's optimised graph, kept for the next run. A tapped run uses the graph as it stands, so
    that what is seen is what was computed; its session is kept for as long as the same tensors are asked for.
    """

    def __init__(self, model: ir.Model, subject: str, *, name: str = "onnxruntime", threads: int = 0) -> None:
        self.model = model
        self.subject = subject
        self.name = name
        self.threads = threads
        self.inputs: tuple[TensorSpec, ...] = tuple(spec_of(value) for value in model.graph.inputs)
        self._plain: Fragment | None = None
        self._tapped: Fragment | None = None
        self._values: dict[str, ir.Value] | None = None

    def run(self, feeds: Mapping[str, Array], tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model once (see :class:`workbench.executors.Executor`).

        Raises:
            ExecutionError: feeds that do not fit, a tensor that the model does not have, or a failure of onnxruntime;
                the message names this executor, the model and the cause.
            LimitError: it takes longer than ``limits.run_seconds``, or more memory than ``limits.memory_bytes``.
        """
        outputs = [value.name or "" for value in self.model.graph.outputs]
        wanted = outputs if tensors is None else list(tensors)
        try:
            check_feeds(self.inputs, feeds)
            given = {name: self._given(name, feeds) for name in wanted}
            computed = [name for name, array in given.items() if array is None]
            found = self._fragment(computed, set(computed) <= set(outputs)).run(feeds) if computed else {}
        except (ExecutionError, LimitError) as error:
            raise type(error)(f"{self.name} cannot run {self.subject}: {error}") from error.__cause__
        return {name: found[name] if array is None else array for name, array in given.items()}

    def _given(self, name: str, feeds: Mapping[str, Array]) -> Array | None:
        """The tensor, if nothing has to be computed for it: an input or a constant."""
        value = self._value(name)
        if value.is_graph_input():
            return feeds[name]
        tensor = constant_tensor(value)
        return None if tensor is None else tensor.numpy()

    def _value(self, name: str) -> ir.Value:
        if self._values is None:
            graph = self.model.graph
            made = [value for node in graph for value in node.outputs if value.name]
            self._values = {value.name or "": value for value in (*graph.inputs, *graph.initializers.values(), *made)}
        if name not in self._values:
            raise ExecutionError(f"it has no tensor {name!r}.")
        return self._values[name]

    def _fragment(self, tensors: Sequence[str], plain: bool) -> Fragment:
        if plain:
            values = [v for v in self.model.graph.outputs if v.producer() is not None and constant_tensor(v) is None]
            tensors = [value.name or "" for value in values]
            tensors = list(dict.fromkeys(tensors))
        kept = self._plain if plain else self._tapped
        if kept is not None and kept.outputs == tuple(tensors):
            return kept
        made = Fragment(
            needed_nodes(self.model.graph, [self._value(name) for name in tensors]),
            tensors,
            constants="folded" if plain else "shared",
            threads=self.threads,
            optimise=plain,
        )
        if plain:
            self._plain = made
        else:
            self._tapped = made
        return made

    def close(self) -> None:
        """Free the sessions; the next run makes them anew."""
        self._plain = self._tapped = None

    def __enter__(self) -> OnnxRuntimeExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OnnxRuntimeExecutor({self.subject}, {self.name!r})"
