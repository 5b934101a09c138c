"""The signature of a layer's error: what relation to the reference, or which changed reference, gives the same tensor.

Asked first are the simple relations between the two tensors, then the reference itself with one thing changed in the
layer, then relations with parameters. An answer counts if it leaves nearly nothing of the difference.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.compare import inner
from workbench.compare.constants import other_constants
from workbench.compare.fits import Fit, local, parametric, rearranged, structural
from workbench.compare.layout import Misfit, side_by_side
from workbench.compare.replay import Replay
from workbench.compare.signature import Signature
from workbench.compare.variants import Variant, variants_of
from workbench.errors import ExecutionError, WorkbenchError
from workbench.executors import constant_tensor
from workbench.hub.half import LARGEST

if TYPE_CHECKING:
    from workbench.compare.recompute import Part, Source
    from workbench.compare.rows import Row
    from workbench.model import Model

Array = np.ndarray[Any, Any]

SECONDS = 5.0
"""After this long no further changes are tried on one layer."""
INSIDE = 1.5
"""So long each of two things is tried inside of layers that are compared together."""
_LEFT, _LEFT_ADJUSTED = 0.03, 0.15
"""Share of the difference that an answer may leave, without and with parameters that were adjusted."""
_FEWEST = 16
"""Of fewer elements nearly any relation leaves little by chance: only one that leaves nothing counts."""
_FEW = 0.01  # share of the elements


def diagnose(row: Row, source: Source) -> Signature:
    """What the row's error looks like, in the first sample.

    Raises:
        ExecutionError: a model cannot be run.
    """
    for kind in ("shape", "dtype"):
        if row.reason.startswith((kind, "rank")):
            return Signature(kind, row.reason)
    mode = "isolated" if row.isolated is not None else "accumulated"
    try:
        x, y = source.tensors(row.tensor, row.target_tensor, mode=mode)
        return _Case(row, source, x, y).signature()
    except WorkbenchError as error:
        return Signature("unknown", f"the tensors cannot be looked at: {error}")


class _Case:
    """One row's two tensors, and what is known around them."""

    def __init__(self, row: Row, source: Source, reference: Array, target: Array) -> None:
        self.row, self.source = row, source
        self.x, self.y = (np.asarray(array, np.float64) for array in (reference, target))
        self.dtype = reference.dtype
        self.special = ~np.isfinite(self.y) & np.isfinite(self.x)
        both = np.isfinite(self.x) & np.isfinite(self.y)
        self.finite = np.where(both, self.x, 0.0), np.where(both, self.y, 0.0)
        self.difference = float(np.linalg.norm((self.finite[1] - self.finite[0]).reshape(-1)))
        # A few huge elements of the reference make a difference that anything explains: what is left has to be small
        # against the target's tensor as well.
        self.scale = min(self.difference, float(np.linalg.norm(self.finite[1].reshape(-1))) or self.difference)
        bound = (
            0.0
            if row.allowance is None
            else (row.allowance.isolated if row.isolated is not None else row.allowance.accumulated)
        )
        self.allowed = min(bound * float(np.linalg.norm(self.finite[0].reshape(-1))), 0.3 * self.difference)

    def signature(self) -> Signature:
        """The first answer that explains the difference."""
        if self.special.any():
            return self._special()
        if not self.difference:
            return Signature("unknown", "nothing differs in the first sample")
        x, y = self.finite
        stages: tuple[Callable[[], Fit | None], ...] = (
            lambda: self._best(structural(x, y, self.allowed)),
            self._changed,
            self._constants,
            lambda: self._best(local(x, y, self.allowed)),
            lambda: self._first(parametric(x, y)),
            lambda: self._best(rearranged(x, y, self.allowed)),
            self._inside,
        )
        for stage in stages:
            found = stage()
            if found is not None:
                return Signature(found.kind, found.text, (*found.evidence, self._share(found.left)))
        return self._unexplained()

    def _best(self, fits: Iterable[Fit]) -> Fit | None:
        """The fit that leaves least, of those that leave nearly nothing; the earlier of equals."""
        limit = max(self.allowed, _LEFT * self.scale if self.x.size >= _FEWEST else 0.0)
        good = [fit for fit in fits if fit.left <= limit]
        return min(good, key=lambda fit: max(fit.left, self.allowed), default=None)

    def _first(self, fits: Iterable[Fit]) -> Fit | None:
        """The fit with fewest parameters that leaves nearly nothing more than the best one does."""
        good = [fit for fit in fits if fit.left <= max(self.allowed, _LEFT_ADJUSTED * self.scale)]
        least = min((fit.left for fit in good), default=0.0)
        return next((fit for fit in good if fit.left <= max(2 * least, self.allowed, 0.01 * self.difference)), None)

    def _share(self, left: float) -> str:
        return f"explains all but {left / self.difference:.1e} of the difference"

    # The reference with one thing changed

    def _changed(self) -> Fit | None:
        replay = self._replay()
        return None if replay is None else self._best(self._variants(replay))

    @functools.cache  # noqa: B019 - a case lives as long as its diagnosis
    def _replay(self) -> Replay | None:
        """The reference's part; ``None`` where it cannot be run by itself."""
        if not self.source.reference.document.computes:
            return None
        part = self.source.reference_part(self.row.tensor)
        try:
            return self._replay_of(self.source.reference, self.row.tensor, part)
        except ValueError:  # a tensor above is not enough to compute it from
            return None

    def _variants(self, replay: Replay) -> Iterator[Fit]:
        start = time.monotonic()
        for place, node in replay.nodes():
            for variant in variants_of(node):
                if time.monotonic() - start > SECONDS:
                    return
                yield from self._tried(replay, place, node, variant)

    def _constants(self) -> Fit | None:
        """The numbers that the target's layer holds, in the reference's."""
        replay = self._replay()
        if replay is None:
            return None
        nodes = list(replay.nodes())
        others = other_constants(nodes, self.source.target_part(self.row.target_tensor).nodes)
        named = dict(nodes)
        return self._best(fit for place, variant in others for fit in self._tried(replay, place, named[place], variant))

    # Inside of layers that are compared together

    def _inside(self) -> Fit | None:
        reference, target = self._replay(), self._target_replay()
        if reference is None or target is None or len(list(reference.nodes())) + len(list(target.nodes())) <= 2:
            return None
        distance = functools.partial(self._distance_of_target, self.source.reference_part(self.row.tensor).result)
        found = self._best(inner.changed_target(target, distance, INSIDE))
        if found is not None:
            return found
        allowance = self.row.allowance
        relative = 0.0 if allowance is None else allowance.isolated
        limit = max(self.allowed, _LEFT * self.scale)
        return inner.wrong_tensor(reference, target, self._distance, relative, limit, INSIDE)

    def _target_replay(self) -> Replay | None:
        """The target's part; ``None`` where it cannot be run by itself."""
        if not self.source.target.document.computes:
            return None
        part = self.source.target_part(self.row.target_tensor)
        try:
            return self._replay_of(self.source.target, self.row.target_tensor, part)
        except (ExecutionError, ValueError):
            return None

    def _replay_of(self, model: Model, tensor: str, part: Part) -> Replay | None:
        """``None`` where there is nothing to run, or it is fed with something else than arrays."""
        if not part.nodes or any(not isinstance(array, np.ndarray) for array in part.feeds.values()):
            return None
        return Replay(model.graph.graph, tensor, part.feeds, self.source.threads)

    def _distance_of_target(self, reference: Array, changed: Array) -> float | None:
        """How far a changed target's tensor is from the reference's; ``None`` where they cannot be compared."""
        pair = self.source.pairs[self.row.target_tensor]
        try:
            _, y = side_by_side(pair, reference, changed)
        except (Misfit, ValueError):
            return None
        if y.shape != self.x.shape or not np.isfinite(y).all():
            return None
        return float(np.linalg.norm((np.asarray(y, np.float64) - self.finite[0]).reshape(-1)))

    def _tried(self, replay: Replay, place: int, node: ir.Node, variant: Variant) -> Iterator[Fit]:
        found = replay.run(place, variant.change)
        left = None if found is None else self._distance(found)
        if left is not None:
            yield Fit(variant.kind, variant.text, left, (f"in {node.op_type}",))

    def _distance(self, found: Array) -> float | None:
        """How far the target's tensor is from the changed reference's; ``None`` where they cannot be compared."""
        pair = self.source.pairs[self.row.target_tensor]
        try:
            changed, _ = side_by_side(
                pair, found, found if pair.target_perm is None else found.transpose(np.argsort(pair.target_perm))
            )
        except (Misfit, ValueError):
            return None
        if changed.shape != self.y.shape or not np.isfinite(changed).all():
            return None
        return float(np.linalg.norm((changed - self.y).reshape(-1)))

    # What no relation says

    def _special(self) -> Signature:
        """Where NaN and infinities come from."""
        nan, infinite = int(np.isnan(self.y).sum()), int(np.isinf(self.y).sum())
        counts = f"{nan} NaN and {infinite} infinities among {self.y.size} elements"
        part = self.source.target_part(self.row.target_tensor)
        if _computes_in_half(part):
            peak = self._peak()
            if peak > LARGEST:
                text = "a value is beyond what float16 holds"
                return Signature("overflow", text, (counts, f"the reference reaches {peak:.4g}, float16 {LARGEST:g}"))
        spoiled = [value for value in _constants(part) if not _is_finite(value)]
        kind = "NaN" if nan else "infinity"
        if spoiled:
            return Signature(kind, f"the constant {spoiled[0].name!r} of the target is not finite", (counts,))
        where = [node.op_type for node in part.nodes]
        return Signature(kind, f"finite inputs give them in {', '.join(where[-3:])}", (counts,))

    def _peak(self) -> float:
        """The largest magnitude that the reference reaches on the way from the matched tensors above."""
        nodes = self.source.reference_part(self.row.tensor).nodes
        names = [value.name for node in nodes for value in node.outputs if value.name]
        arrays = self.source.run_reference(names).values() if names else ()
        peaks = [
            float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in arrays if array.dtype.kind == "f"
        ]
        return max([*peaks, float(np.abs(self.finite[0]).max(initial=0.0)), float(np.abs(self.x[self.special]).max())])

    def _unexplained(self) -> Signature:
        x, y = self.finite
        differing = np.abs(y - x) > 1e-6 * max(float(np.abs(x).max()), 1e-30)
        share = float(np.count_nonzero(differing)) / x.size
        gain = float(np.vdot(x, y)) / max(float(np.vdot(x, x)), 1e-300)
        figures = (f"{share:.1%} of the elements differ", f"best factor {gain:.4g}")
        if 0 < share <= _FEW:
            return Signature("few elements", "few elements differ", figures)
        return Signature("unknown", "no simple relation to the reference was found", figures)


def _computes_in_half(part: Part) -> bool:
    return any(value.dtype is ir.DataType.FLOAT16 for node in part.nodes for value in node.outputs)


def _constants(part: Part) -> Iterator[ir.Value]:
    for node in part.nodes:
        for value in node.inputs:
            if value is not None and constant_tensor(value) is not None:
                yield value


def _is_finite(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    array = None if tensor is None else tensor.numpy()
    return array is None or array.dtype.kind != "f" or bool(np.isfinite(array).all())


def with_signature(row: Row, source: Source) -> Row:
    """The row with its signature."""
    return replace(row, signature=diagnose(row, source))
