"""Constants that depend on an open size, told by what they are: positions, masks of a triangle, one value everywhere.

A lowering with known sizes has computed them. From several such the rule is found that gives the element at any index,
and operations are written that compute it: it is the rule only if it gives every element of every sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench.formats.nnef.binding import bind
from workbench.formats.nnef.graph import NnefOperation, TensorRef
from workbench.formats.nnef.tract.declarations import DATUM_NAMES, tract_operations
from workbench.formats.nnef.tract.extents import Extent
from workbench.formats.nnef.tract.unify import Differs, Sizes, extent_of

Array = NDArray[Any]


@dataclass
class Computed:
    """Operations in the place of a variable, and the small constants that they read, by label."""

    name: str
    operations: list[NnefOperation] = field(default_factory=list)
    variables: dict[str, Array] = field(default_factory=dict)

    def emit(self, operation: str, *tensors: TensorRef | Extent, last: bool = False, **attributes: Any) -> TensorRef:
        """Append an operation; the last one has the variable's own name."""
        declaration = tract_operations()[operation]
        wanted = [parameter.name for parameter in declaration.parameters]
        arguments = [*zip(wanted, tensors, strict=False), *attributes.items()]
        bound, resolved = bind(declaration, arguments, None, {}, loose=True)
        made = TensorRef(self.name if last else f"{self.name}_part{len(self.operations)}")
        self.operations.append(NnefOperation(operation, bound, {declaration.results[0].name: made}, resolved))
        return made

    def constant(self, array: Array) -> TensorRef:
        """A variable of a few elements."""
        label = f"{self.name}_number{len(self.variables)}"
        self.variables[label] = array
        made = TensorRef(f"{self.name}_part{len(self.operations)}")
        arguments = {"shape": list(array.shape), "label": label}
        kind = {"b": "logical", "f": "scalar"}.get(array.dtype.kind, "integer")
        self.operations.append(NnefOperation("variable", arguments, {"output": made}, kind))
        return made

    def positions(self, extent: Extent, axis: int, rank: int) -> TensorRef:
        """0, 1, 2, … along an axis, as int64."""
        line = self.emit("tract_core_range", start=0, end=extent, step=1)
        others = [other for other in range(rank) if other != axis]
        return self.emit("unsqueeze", line, axes=others) if others else line


def computed_variable(
    name: str,
    arrays: Sequence[Array],
    shape: Sequence[Extent],
    samples: Sequence[Sizes],
    tables: Iterable[ir.TensorProtocol],
) -> Computed | None:
    """Operations that compute a constant at any size; ``None`` if no rule is found.

    Args:
        name: of the variable.
        arrays: its data in each sample.
        shape: its sizes, as expressions of the symbols.
        samples: the sizes of the samples.
        tables: constants of the source model, of which it may be the beginning.
    """
    if len({array.ndim for array in arrays}) > 1 or any(array.size == 0 for array in arrays):
        return None
    for rule in (_filled, _linear, _repeated, _triangular):
        made = rule(name, arrays, shape, samples)
        if made is not None:
            return made
    return _prefix(name, arrays, shape, tables)


def _filled(name: str, arrays: Sequence[Array], shape: Sequence[Extent], samples: Sequence[Sizes]) -> Computed | None:
    """One value everywhere."""
    value = arrays[0].reshape(-1)[:1]
    if not all((array == value).all() for array in arrays):
        return None
    made = Computed(name)
    made.emit("tract_core_broadcast", made.constant(value.reshape((1,) * len(shape))), shape=list(shape), last=True)
    return made


def _grid(shape: Sequence[int]) -> list[Array]:
    """The index along each axis, to be broadcast."""
    return list(np.meshgrid(*(np.arange(extent) for extent in shape), indexing="ij", sparse=True))


def _linear(name: str, arrays: Sequence[Array], shape: Sequence[Extent], samples: Sequence[Sizes]) -> Computed | None:
    """A sum of whole multiples of the indices and a number: positions, forwards and backwards."""
    rank = len(shape)
    if any(array.dtype.kind not in "fiu" or not np.array_equal(array, np.rint(array)) for array in arrays):
        return None
    steps = []
    for axis in range(rank):
        second = tuple(int(axis == other) for other in range(rank))
        found = {int(array[second] - array.reshape(-1)[0]) if array.shape[axis] > 1 else None for array in arrays}
        if len(found - {None}) > 1:
            return None
        steps.append(next(iter(found - {None}), 0) or 0)
    for array in arrays:
        wanted = sum(step * index for step, index in zip(steps, _grid(array.shape), strict=True))
        if not np.array_equal(array, np.broadcast_to(wanted + int(array.reshape(-1)[0]), array.shape)):
            return None
    try:
        first = extent_of([int(array.reshape(-1)[0]) for array in arrays], samples)
    except Differs:
        return None
    made = Computed(name)
    total: TensorRef | None = None
    for axis, step in enumerate(steps):
        if step:
            line = made.positions(shape[axis], axis, rank)
            line = line if step == 1 else made.emit("mul", line, made.constant(np.full((1,) * rank, step)))
            total = line if total is None else made.emit("add", total, line)
    if total is None:
        return None
    if isinstance(first, int):
        total = made.emit("add", total, made.constant(np.full((1,) * rank, first))) if first else total
    else:
        shift = made.emit("tract_core_cast", first, to="i64")
        total = made.emit("add", total, made.emit("unsqueeze", shift, axes=list(range(rank))))
    return _finished(made, total, arrays[0].dtype, steps, shape)


def _finished(
    made: Computed, total: TensorRef, dtype: np.dtype[Any], steps: Sequence[int], shape: Sequence[Extent]
) -> Computed:
    """In the variable's dtype, and repeated along the axes that make no difference."""
    if not all(step or extent == 1 for step, extent in zip(steps, shape, strict=True)):
        total = made.emit("tract_core_broadcast", total, shape=list(shape))
    made.emit("tract_core_cast", total, to=DATUM_NAMES[dtype.name], last=True)
    return made


def _repeated(name: str, arrays: Sequence[Array], shape: Sequence[Extent], samples: Sequence[Sizes]) -> Computed | None:
    """Each position so many times in a row, as enlarging by a whole factor picks them."""
    if len(shape) != 1 or arrays[0].dtype != np.int64:
        return None
    times = int((arrays[0] == 0).sum())
    if times < 2 or not all(np.array_equal(array, np.arange(array.size) // times) for array in arrays):
        return None
    made = Computed(name)
    made.emit("div", made.positions(shape[0], 0, 1), made.constant(np.full(1, times)), last=True)
    return made


def _prefix(
    name: str, arrays: Sequence[Array], shape: Sequence[Extent], tables: Iterable[ir.TensorProtocol]
) -> Computed | None:
    """The beginning of a table of the model, such as the embeddings of the first positions."""
    kept = [axis for axis, extent in enumerate(shape) if extent != 1]
    rows = [array.reshape([array.shape[axis] for axis in kept]) for array in arrays]
    open_axes = [place for place, axis in enumerate(kept) if not isinstance(shape[axis], int)]
    if len(open_axes) != 1:
        return None
    place = open_axes[0]
    longest = max(row.shape[place] for row in rows)
    for table in tables:
        sizes = [int(extent) for extent in table.shape.numpy()]
        fits = len(sizes) == len(kept) and sizes[place] >= longest
        if not fits or any(sizes[a] != rows[0].shape[a] for a in range(len(kept)) if a != place):
            continue
        data = table.numpy()
        begins = [data[(slice(None),) * place + (slice(0, row.shape[place]),)] for row in rows]
        if all(np.array_equal(row, begin.astype(row.dtype)) for row, begin in zip(rows, begins, strict=True)):
            made = Computed(name)
            whole = made.constant(data.astype(rows[0].dtype))
            part = made.emit("slice", whole, axes=[place], begin=[0], end=[shape[kept[place]]])
            ones = [axis for axis in range(len(shape)) if axis not in kept]
            made.emit("unsqueeze", part, last=True, axes=ones)
            return made
    return None


def _triangular(
    name: str, arrays: Sequence[Array], shape: Sequence[Extent], samples: Sequence[Sizes]
) -> Computed | None:
    """One value where the index along an axis exceeds that along another by so much at most, another value beyond."""
    rank = len(shape)
    values = np.unique(arrays[0])
    if len(values) != 2 or any(not np.isin(array, values).all() for array in arrays):
        return None
    for rows, columns in itertools.permutations(range(rank), 2):
        bounds = []
        for array in arrays:
            grid = _grid(array.shape)
            difference = np.broadcast_to(grid[columns] - grid[rows], array.shape)
            inner = array.reshape(-1)[int(np.argmin(difference))]
            within = array == inner
            bound = int(difference[within].max())
            if not np.array_equal(within, difference <= bound):
                break
            bounds.append((bound, inner))
        if len(bounds) == len(arrays) and len({str(inner) for _, inner in bounds}) == 1:
            try:
                limit = extent_of([bound for bound, _ in bounds], samples)
            except Differs:
                continue
            return _mask(name, arrays[0].dtype, shape, (rows, columns), limit, bounds[0][1], values)
    return None


def _mask(
    name: str,
    dtype: np.dtype[Any],
    shape: Sequence[Extent],
    axes: tuple[int, int],
    limit: Extent,
    inner: Any,
    values: Array,
) -> Computed | None:
    if not isinstance(limit, int):
        return None
    rank, made = len(shape), Computed(name)
    lower, upper = (made.positions(shape[axis], axis, rank) for axis in axes)
    distance = made.emit("sub", upper, lower)
    within = made.emit("le", distance, made.constant(np.full((1,) * rank, limit)))
    if dtype == np.bool_:
        within = within if inner else made.emit("not", within)
        made.emit("tract_core_broadcast", within, shape=list(shape), last=True)
        return made
    other = values[values != inner][0]
    chosen = [made.constant(np.full((1,) * rank, value, dtype)) for value in (inner, other)]
    selected = made.emit("select", within, *chosen)
    spread = any(axis not in axes and extent != 1 for axis, extent in enumerate(shape))
    attributes = {"shape": list(shape)} if spread else {}
    made.emit("tract_core_broadcast" if spread else "copy", selected, last=True, **attributes)
    return made
