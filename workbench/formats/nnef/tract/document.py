"""An NNEF model in the tract dialect: every tensor has the dtype that tract gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.errors import ConversionError
from workbench.formats.nnef.document import NnefDocument
from workbench.formats.nnef.excerpt import excerpt
from workbench.formats.nnef.tract.extents import substituted
from workbench.formats.nnef.tract.to_onnx import TractEngine
from workbench.hub import spec_of

_KINDS = {"integer": "int64", "logical": "bool"}


class TractDocument(NnefDocument):
    """See :class:`NnefDocument`."""

    def _known_shapes(self) -> dict[str, tuple[Any, ...]]:
        return {}  # the hub's inference knows them, symbols included

    @cached_property
    def _lowered(self) -> TractEngine:
        contents = self.contents
        tensors = {name: variable.value for name, variable in contents.variables.items()}
        engine = TractEngine(contents.graph, tensors, contents.quantization, self._subject)
        engine.run()
        return engine

    def excerpt(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> NnefDocument:
        """As :meth:`NnefDocument.excerpt`; sizes that follow from those of the inputs are fixed."""
        sizes: dict[str, int] = {}
        for spec in inputs:
            dims = self._spec(spec.name).shape if spec.name in self.contents.graph.dtypes else None
            pairs = zip(dims or (), spec.shape or (), strict=False)
            sizes.update({dim: size for dim, size in pairs if isinstance(dim, str) and isinstance(size, int)})
        graph = self.contents.graph
        fixed = [
            replace(
                operation, arguments={name: substituted(value, sizes) for name, value in operation.arguments.items()}
            )
            for operation in graph.operations
        ]
        contents = replace(self.contents, graph=replace(graph, operations=tuple(fixed)))
        return excerpt(contents, f"part of {self.name}", inputs, outputs)

    @property
    def _subject(self) -> str:
        return f"nnef model {self.name!r}"

    def _spec(self, name: str) -> TensorSpec:
        value = self._lowered.values.get(name)
        if value is None:  # what makes it was refused
            kind = self.contents.graph.dtypes[name]
            return TensorSpec(name, _KINDS.get(kind, "float32"), None)
        spec = spec_of(value)
        return TensorSpec(name, spec.dtype, spec.shape)

    @cached_property
    def _hub(self) -> ir.Model:
        engine = self._lowered
        if engine.refusals:
            raise ConversionError(engine.refusals, self._subject)
        return engine.emitter.finish([engine.values[name] for name in self.contents.graph.outputs])
