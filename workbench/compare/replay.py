"""The reference's part behind one tensor, run again with something changed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ExecutionError
from workbench.executors import Fragment, constant_tensor
from workbench.executors.fragment import type_of
from workbench.hub import Emitter

Array = np.ndarray[Any, Any]
Change = Callable[[ir.Node], None]
KNOWN = "workbench_known"
"""Key of a value's array among its notes, where it was computed."""
SMALL, LARGE = 64, 1 << 24  # elements


class Replay:
    """Nodes of a hub graph between some tensors and one that follows from them.

    Args:
        graph: the hub graph; it is not changed.
        tensor: what is computed.
        feeds: the tensors that it is computed from, by name.
        threads: of one operator; 0 leaves it to onnxruntime.

    Raises:
        ValueError: the tensor does not follow from the feeds and constants alone.
    """

    def __init__(self, graph: ir.Graph, tensor: str, feeds: Mapping[str, Array], threads: int) -> None:
        self.tensor, self.feeds, self.threads = tensor, feeds, threads
        self._part = ir.convenience.extract(graph, list(feeds), [tensor])
        self._types = {name: type_of(array) for name, array in feeds.items()}
        self._look()

    def _look(self) -> None:
        """Note what the tensors are on these feeds: shapes that an open model leaves open, and what is known of them.

        Sizes, axes and pads that are computed are given to the variants as if they were constants, and so are weights
        that are a constant reshaped or dequantised.
        """
        values = [value for node in self._part for value in node.outputs if value.name]
        names = [value.name for value in values if value.name]
        found: dict[str, Any] = dict(self.feeds)
        found |= Fragment(list(self._part), names, inputs=self._types, threads=self.threads).run(self.feeds)
        fixed = self._fixed()
        for value in (*values, *self._part.inputs):
            array = found.get(value.name or "")
            if isinstance(array, np.ndarray):
                value.shape = ir.Shape(array.shape)
                small = array.dtype.kind in "iu" and array.size <= SMALL
                if small or (array.size <= LARGE and value.name in fixed):
                    value.meta[KNOWN] = array

    def _fixed(self) -> set[str]:
        """The names of what follows from constants alone."""
        found: set[ir.Value] = set()
        for node in self._part:
            reads = [value for value in Emitter.reads(node) if value is not None]
            if reads and all(value in found or constant_tensor(value) is not None for value in reads):
                found.update(node.outputs)
        return {value.name for value in found if value.name}

    def nodes(self) -> Iterator[tuple[int, ir.Node]]:
        """The nodes with their places, the nearest to the tensor first."""
        yield from reversed(list(enumerate(self._part)))

    def run(self, place: int, change: Change) -> Array | None:
        """The tensor when the node at that place is changed; ``None`` where the changed node cannot be run."""
        part = self._part.clone()
        change(list(part)[place])
        try:
            found = Fragment(list(part), [self.tensor], inputs=self._types, threads=self.threads).run(self.feeds)
        except (ExecutionError, ValueError):
            return None
        result = found[self.tensor]
        return result if isinstance(result, np.ndarray) else None

    def tensors(self) -> dict[str, Any]:
        """What the part reads and makes, but for the tensor itself, in topological order."""
        names = [value.name for node in self._part for value in node.outputs if value.name]
        made = Fragment(list(self._part), names, inputs=self._types, threads=self.threads).run(self.feeds)
        found = {**self.feeds, **{name: made[name] for name in names if name in made}}
        found.pop(self.tensor, None)
        return found

    def with_tensor(self, name: str, array: Array) -> Array | None:
        """The tensor when another one is what is given; ``None`` where that cannot be run."""
        part, feeds = self._part, dict(self.feeds)
        if name in feeds:
            feeds[name] = array.astype(feeds[name].dtype)
        else:
            part = part.clone()
            value = next(value for node in part for value in node.outputs if value.name == name)
            given = ir.Value(name=f"{name}//given")
            tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), dtype=value.dtype)
            given.const_value, given.type, given.shape = tensor, ir.TensorType(tensor.dtype), ir.Shape(array.shape)
            value.replace_all_uses_with(given)
        try:
            found = Fragment(list(part), [self.tensor], inputs=self._types, threads=self.threads).run(feeds)
        except (ExecutionError, ValueError):
            return None
        result = found[self.tensor]
        return result if isinstance(result, np.ndarray) else None
