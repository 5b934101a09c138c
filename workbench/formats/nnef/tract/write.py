"""Writing the tract dialect: sizes that the model leaves open stay open."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from workbench.document import Document, Progress
from workbench.errors import ExecutionError, ModelError, Refusal, WorkbenchError
from workbench.formats.base import Draft, Source
from workbench.formats.nnef.graph import NnefOperation
from workbench.formats.nnef.tract import rewritings
from workbench.formats.nnef.tract.builder import TractBuilder
from workbench.formats.nnef.tract.extents import factor_of
from workbench.formats.nnef.tract.from_onnx import TABLE
from workbench.formats.nnef.tract.indexed import computed_variable
from workbench.formats.nnef.tract.unify import ROUNDED_SAMPLES, SAMPLES, Differs, Sizes, differing, unified
from workbench.formats.nnef.write import Emission, NnefDraft, lower
from workbench.hub import Control, Specialized, dims_of, specialize
from workbench.plan import Verdict

__all__ = ["draft", "rewritings"]

_ATTEMPTS = ((1, 11, 6), (1, 3, 3), *((step, 2, 2) for step in (2, 4, 8, 16, 32)))
"""What sizes to try: multiples of (for the axes of images, which are often halved), from, and how far apart at most.

They are drawn at random, so that none follows from another and what is rounded is not taken for what is exact.
"""


@dataclass(frozen=True)
class Open:
    """A size that is open: so many times a symbol."""

    symbol: str
    step: int = 1


Axes = Mapping[str, Sequence[int | Open]]
"""Input → its sizes."""


def draft(hub: Specialized, source: Source, control: Control, progress: Progress) -> Draft:
    """Lower a hub graph; every node gets an outcome."""
    if not _open_axes(hub.model.graph, 1):
        ready = hub if hub.control is not None else specialize(hub.model, {}, control)
        return lower(_with_folded(ready, hub), source, progress, TractBuilder, TABLE)
    refused: NnefDraft | None = None
    tried: Sizes = {}
    unfit: WorkbenchError | None = None
    for step, lowest, spread in _ATTEMPTS:
        axes = _open_axes(hub.model.graph, step)
        samples = _samples(axes, lowest, spread)
        try:
            drafts = [_lowered(hub, axes, sizes, source, control, progress) for sizes in samples]
        except (ModelError, ExecutionError) as error:
            unfit = error  # the model does not take these sizes
            continue
        if all(_is_whole(found) for found in drafts):
            return OpenDraft(drafts, samples, source, hub.model.graph)
        if refused is None:
            index = next(index for index, found in enumerate(drafts) if not _is_whole(found))
            refused, tried = drafts[index], samples[index]
    if refused is None:
        message = f"no sizes were found for its open dimensions that fit together; fix them with shapes={{…}} ({unfit})"
        raise ModelError(f"{source.name}: {message}.") from unfit
    sizes = ", ".join(f"{symbol} = {size}" for symbol, size in sorted(tried.items()))
    refused.general = [*refused.general, _refusal(source, tried, f"layers are refused, at {sizes} for one")]
    return refused


def _is_whole(found: NnefDraft) -> bool:
    return not found.general and all(outcome.verdict is not Verdict.REFUSED for outcome in found.outcomes)


def _with_folded(ready: Specialized, before: Specialized) -> Specialized:
    """What an earlier specialisation has folded is folded."""
    return replace(ready, folded=tuple(dict.fromkeys((*before.folded, *ready.folded))))


def _open_axes(graph: ir.Graph, step: int) -> Axes:
    """The inputs with open sizes; axes of the same name have the same size. ``step`` is for the axes of images."""
    inputs = {value.name or "": dims_of(value) for value in graph.inputs if isinstance(value.type, ir.TensorType)}
    found = {name: dims for name, dims in inputs.items() if dims and not all(isinstance(dim, int) for dim in dims)}
    named = {
        name: [dim if isinstance(dim, int) else _identifier(dim or f"{name}_{axis}") for axis, dim in enumerate(dims)]
        for name, dims in found.items()
    }
    images = {symbol for dims in named.values() if len(dims) > 2 for symbol in dims[2:] if isinstance(symbol, str)}
    stepped = {symbol: Open(f"{symbol}_by_{step}", step) for symbol in images if step > 1}
    return {
        name: [dim if isinstance(dim, int) else stepped.get(dim, Open(dim)) for dim in dims]
        for name, dims in named.items()
    }


def _identifier(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "size"
    return f"n_{name}" if name[0].isdigit() else name


def _samples(axes: Axes, lowest: int, spread: int) -> list[Sizes]:
    """Sizes for each symbol, several times over, all different."""
    symbols = sorted({dim.symbol for dims in axes.values() for dim in dims if isinstance(dim, Open)})
    images = any(isinstance(dim, Open) for dims in axes.values() for dim in dims[2:])
    count = ROUNDED_SAMPLES if images else SAMPLES
    total = count * len(symbols)
    numbers = iter(random.Random(total).sample(range(lowest, lowest + spread * total), total))
    return [{symbol: next(numbers) for symbol in symbols} for _ in range(count)]


def _lowered(
    hub: Specialized, axes: Axes, sizes: Sizes, source: Source, control: Control, progress: Progress
) -> NnefDraft:
    shapes = {
        name: tuple(dim if isinstance(dim, int) else dim.step * sizes[dim.symbol] for dim in dims)
        for name, dims in axes.items()
    }
    found = _with_folded(specialize(hub.model, shapes, control), hub)
    return lower(found, source, progress, TractBuilder, TABLE)


class OpenDraft(Draft):
    """The same model lowered at several sizes, about to become one model with open sizes."""

    def __init__(
        self,
        drafts: Sequence[NnefDraft],
        samples: Sequence[Sizes],
        source: Source,
        graph: ir.Graph,
    ) -> None:
        self._first = drafts[0]
        self.outcomes = self._first.outcomes
        self.general: Sequence[Refusal] = ()
        self._emission: Emission | None = None
        emissions = [found.emission() for found in drafts]
        constants = [value.const_value for value in graph.initializers.values() if value.const_value is not None]
        try:
            self._emission = _merged(emissions, samples, constants)
        except Differs as differs:
            self.general = [_refusal(source, samples[0], str(differs))]

    def finish(self, progress: Progress) -> Document:
        assert self._emission is not None
        return self._first.written(self._emission, progress)


def _merged(
    emissions: Sequence[Emission], samples: Sequence[Sizes], constants: Sequence[ir.TensorProtocol]
) -> Emission:
    """One emission with symbols. Raises :class:`Differs`."""
    first = emissions[0]
    graph = unified([emission.graph for emission in emissions], samples)
    declared = [op.arguments["shape"] for op in graph.operations if op.name in ("external", "tract_core_external")]
    if not all(isinstance(size, int) or factor_of(size) for shape in declared for size in shape):
        raise Differs("the sizes of the inputs follow from one another")
    tables = [emission.finished.variables for emission in emissions]
    labels = set(differing(tables))
    variables = {label: tensor for label, tensor in tables[0].items() if label not in labels}
    operations: list[NnefOperation] = []
    for operation in graph.operations:
        label = operation.arguments.get("label") if operation.name == "variable" else None
        if label not in labels:
            operations.append(operation)
            continue
        arrays = [table[label].numpy() for table in tables]
        made = computed_variable(operation.outputs[0], arrays, operation.arguments["shape"], samples, constants)
        if made is None:
            raise Differs(f"the constant {label!r} depends on it")
        operations += made.operations
        variables.update({name: ir.Tensor(array, name=name) for name, array in made.variables.items()})
    names = [name for operation in operations for name in operation.outputs]
    taken = (set(names) & set(samples[0])) | {name for name in names if names.count(name) > 1}
    if taken:
        raise Differs(f"another tensor is named {min(taken)!r}")
    symbols = tuple(("tract_symbol", symbol) for symbol in sorted(samples[0]))
    whole = replace(graph, operations=tuple(operations), extensions=(*graph.extensions, *symbols))
    return replace(first, graph=whole, finished=replace(first.finished, variables=variables))


def _refusal(source: Source, sizes: Sizes, cause: str) -> Refusal:
    names = ", ".join(sorted(sizes))
    open_input = next((spec for spec in source.inputs if not spec.is_static), source.inputs[0])
    return Refusal(
        source.format,
        "nnef",
        "input",
        open_input.name,
        f"the size {names} cannot stay open: {cause}",
        f"fix it with shapes={{{open_input.name!r}: (…)}}",
    )
